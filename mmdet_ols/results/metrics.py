"""How metrics are shown: title, unit and direction, as the classes that log them say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any, NamedTuple

from mmdet_ols.evaluation.descriptions import MetricDescription

_detection = partial(MetricDescription, unit='%', lower_is_better=False, scale=100)
_per_cent = partial(MetricDescription, unit='%', lower_is_better=False)
_accuracy = partial(MetricDescription, unit='%', lower_is_better=True, scale=-1, offset=100)

#: What the metrics of MMDetection and MMPretrain log. Detection logs fractions, classification per
#: cent. Accuracies are shown as errors, as the paper does.
HOST_METRICS = (
    _accuracy(r'accuracy/top(?P<k>\d+)', 'top-{k} error', main=True),
    _accuracy(r'accuracy/top(?P<k>\d+)(?P<threshold>_thr.*)', 'top-{k} error{threshold}'),
    _per_cent(
        r'(?P<group>(single|multi)-label)/(?P<name>(precision|recall|f1-score)\S*)',
        '{group} {name}',
    ),
    _per_cent(r'multi-label/mAP', 'multi-label mAP', main=True),
    _per_cent(r'retrieval/(?P<name>(Recall|mAP)@.+)', '{name}', main=True),
    MetricDescription(r'regression/(?P<name>l[12]_distance)', '{name}', lower_is_better=True),
    _detection(r'(coco|lvis)/(?P<class_name>.+)_precision', '{class_name}'),
    _detection(r'(coco|youtube_vis)/(?P<name>(bbox|segm)_mAP(_50|_75)?)', '{name}', main=True),
    _detection(r'lvis(_fixed_ap)?/(?P<name>(bbox_|segm_)?AP(50|75)?)', '{name}', main=True),
    _detection(r'crowd_human/mMR', 'mMR', lower_is_better=True),
    _detection(
        r'(pascal_voc|openimages|cityscapes|crowd_human)(/.+)?/(?P<name>mAP)', '{name}', main=True
    ),
    # What else these groups log is average precision, recall or a Jaccard index.
    _detection(
        r'(pascal_voc|coco|lvis|lvis_fixed_ap|openimages|cityscapes|crowd_human|youtube_vis)/(.+/)?'
        r'(?P<name>[^/]+)',
        '{name}',
    ),
    _per_cent(r'coco_panoptic/(?P<name>[PSR]Q)', '{name}', main=True),
    _per_cent(r'coco_panoptic/(?P<name>[PSR]Q_.+)', '{name}'),
    _per_cent(r'(?P<name>aAcc|m(IoU|Acc|Dice|Fscore|Precision|Recall))', '{name}', main=True),
)

#: What `benchmarks/label_mistakes.py` measures; no class logs it.
MISTAKE_METRICS = (
    _detection(r'mistakes/average_precision', 'average precision', main=True),
    _detection(r'mistakes/images/average_precision', 'average precision of images', main=True),
    _detection(r'mistakes/(?P<name>precision_at_number)', 'precision at the number of mistakes'),
    _detection(r'mistakes/precision_at_(?P<number>\d+)', 'precision at {number}'),
    _detection(r'mistakes/list_(?P<name>precision|recall)', '{name} of the list'),
)


class Metric(NamedTuple):
    """A logged metric as it is shown: `offset` + `scale` * value, in `unit`."""

    key: str
    title: str
    #: As it is shown; None if that is not known.
    lower_is_better: bool | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ''
    main: bool = False
    class_name: str | None = None

    def shown(self, value: float) -> float:
        """The value as it is shown."""
        return self.offset + self.scale * value

    @property
    def logged_lower_is_better(self) -> bool | None:
        """The direction of the logged value: an accuracy is better higher, its error lower."""
        if self.lower_is_better is None:
            return None
        return self.lower_is_better if self.scale > 0 else not self.lower_is_better

    @property
    def digits(self) -> int:
        """How many decimals are shown."""
        return 2 if self.unit == '%' else 3

    @property
    def names(self) -> tuple[str, str]:
        """What a config may call it: its key, or `top1_error` for `accuracy/top1`."""
        return self.key, f'{self.key.rpartition("/")[2]}_error' if self.offset else self.key

    @property
    def label(self) -> str:
        """Title and unit."""
        return f'{self.title} ({self.unit})' if self.unit else self.title

    @property
    def described(self) -> str:
        """Title, unit and direction."""
        if self.lower_is_better is None:
            return f'{self.label}, direction unknown'
        return f'{self.label}, {"lower" if self.lower_is_better else "higher"} is better'


def metric_of(key: str) -> Metric:
    """Say how the metric that is logged under this key is shown.

    The classes that log it are asked first, then the table of the hosts' metrics. Where the key of
    one of these stands behind the name of a data set, both are shown. A metric without a
    description is shown as it is logged, and its direction is unknown.
    """
    return _described(key, declared_metrics())


@lru_cache(maxsize=4096)  # asked for every key of every line of a log
def _described(key: str, declared: tuple[MetricDescription, ...]) -> Metric:
    for description in (*declared, *HOST_METRICS, *MISTAKE_METRICS):
        match = re.fullmatch(description.key, key)
        if match:
            groups = {name: value or '' for name, value in match.groupdict().items()}
            return Metric(
                key,
                description.title.format(**groups),
                description.lower_is_better,
                description.scale,
                description.offset,
                description.unit,
                description.main,
                groups.get('class_name'),
            )
    dataset, _, rest = key.partition('/')  # as MultiDatasetsEvaluator logs it
    inner = _described(rest, declared) if rest else Metric(rest, rest)
    if inner.lower_is_better is None:
        return Metric(key, key)
    class_name = inner.class_name and f'{dataset}/{inner.class_name}'
    return inner._replace(key=key, title=f'{dataset} {inner.title}', class_name=class_name)


def declared_metrics() -> tuple[MetricDescription, ...]:
    """What the registered metrics and hooks say that they log, the most specific keys first."""
    from mmengine.registry import HOOKS, METRICS

    declared = dict.fromkeys(
        description
        for registry in (METRICS, HOOKS)
        for kind in _registered(registry)
        for description in getattr(kind, 'logged_metrics', ())
    )
    return tuple(sorted(declared, key=lambda description: description.key.count('(')))


def _registered(registry: Any) -> Iterable[Any]:
    yield from registry.module_dict.values()
    for child in registry.children.values():
        yield from _registered(child)


def class_of_key(key: str) -> str | None:
    """The class whose average precision a metric is, or None."""
    return metric_of(key).class_name


def headline_metrics(keys: Iterable[str], first: str | None = None) -> list[Metric]:
    """The metrics that a table shows, the most important one first.

    Args:
        keys: Everything that was logged.
        first: The key to put first; the hosts' own main metrics otherwise.
    """
    metrics = [metric_of(key) for key in dict.fromkeys(keys)]
    metrics = [metric for metric in metrics if metric.class_name is None]
    shown = [metric for metric in metrics if metric.main] or metrics
    # The rest of a main metric's group are variants of it.
    groups = {metric.key.partition('/')[0] for metric in shown}
    shown += [metric for metric in metrics if metric.key.partition('/')[0] not in groups]
    if first is not None:
        shown = [metric_of(first), *(metric for metric in shown if metric.key != first)]
    return shown
