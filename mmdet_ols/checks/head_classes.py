"""Whether the head of a model has as many classes as the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config

from mmdet_ols.checks.problems import Problems
from mmdet_ols.checks.survey.records import DatasetSurvey, SplitSurvey
from mmdet_ols.config_tree import model_config, nested_dicts, type_name


class Head(NamedTuple):
    """The numbers of classes of a model's heads.

    Attributes:
        of_classifier: Of a classifier's head, if there is one.
        of_detector: Of each head of a detector that names classes, by its place in the config.
    """

    of_classifier: int | None
    of_detector: dict[str, int]


def head_of(cfg: Config) -> Head:
    """Read how many classes the heads of a model have."""
    model = model_config(cfg)
    head = model.get('head')
    of_classifier = head.get('num_classes') if isinstance(head, Mapping) else None
    # Models that are told the classes as words have room for any number of them.
    of_detector = {} if 'language_model' in model else dict(_box_heads(model, 'model'))
    detector = model.get('detector')  # of which a semi-supervised one trains two copies
    if isinstance(detector, Mapping):
        of_detector.update(_box_heads(detector, 'model.detector'))
    return Head(of_classifier, of_detector)


def _box_heads(model: Mapping[str, Any], place: str) -> Iterator[tuple[str, int]]:
    heads = model.get('bbox_head')
    for index, head in enumerate(heads if isinstance(heads, (list, tuple)) else [heads]):
        if not isinstance(head, Mapping):
            continue
        number = f'.{index}' if isinstance(heads, (list, tuple)) else ''
        where = f'{place}.bbox_head{number}'
        # MMYOLO's heads say it in the module that makes their scores.
        for name, part in ((where, head), (f'{where}.head_module', head.get('head_module'))):
            if isinstance(part, Mapping) and isinstance(part.get('num_classes'), int):
                yield name, part['num_classes']
    if isinstance(model.get('roi_head'), Mapping):
        yield from _box_heads(model['roi_head'], f'{place}.roi_head')


def check_head_classes(surveys: Sequence[SplitSurvey], cfg: Config) -> Problems:
    """Compare the number of classes of the data with that of the head, and the labels with both."""
    head, problems = head_of(cfg), Problems()
    if head.of_classifier == 1 and _has_softmax(cfg):
        problems.warnings.append(
            'model.head has num_classes=1, of which a softmax is always sure: the loss is 0 from '
            'the first step, and nothing is learned. Add a class for everything else.'
        )
    problems.errors += _of_assigners(model_config(cfg), set(head.of_detector.values()))
    for survey in surveys:
        for dataset in survey.datasets:
            where = survey.where(dataset)
            if head.of_classifier is not None:
                problems.errors += _of_classifier(dataset, head.of_classifier, where)
            else:
                problems += _of_detector(dataset, head.of_detector, where)
    return problems


def _has_softmax(cfg: Config) -> bool:
    """Whether a classifier's scores go through a softmax, as far as its config says."""
    head = model_config(cfg)['head']
    loss = head.get('loss')
    is_sigmoid = isinstance(loss, Mapping) and loss.get('use_sigmoid')
    return not is_sigmoid and not type_name(head).startswith('MultiLabel')


def _of_classifier(dataset: DatasetSurvey, num_classes: int, where: str) -> list[str]:
    count = len(dataset.classes)
    if count and count != num_classes:
        return [
            f'num_classes of model.head must be the {count} classes of {where}, but is '
            f'{num_classes}: set model.head.num_classes={count} (and num_classes of its loss and '
            'of the data_preprocessor), or name other data.'
        ]
    labels = dataset.loaded.objects if dataset.loaded else {}
    if labels and not 0 <= min(labels) <= max(labels) < num_classes:
        return [
            f'{where}: the labels must be in [0, {num_classes - 1}], since num_classes of '
            f'model.head is {num_classes}, but they are {min(labels)} to {max(labels)}.'
        ]
    return []


def _of_assigners(model: Mapping[str, Any], of_heads: set[int]) -> list[str]:
    """MMYOLO's assigners, which make the labels of the head, must know its number of classes."""
    return [
        f'num_classes of model.train_cfg.{name} must be that of the head, but is '
        f'{part["num_classes"]}: set model.train_cfg.{name}.num_classes={min(of_heads)}.'
        for name, part in nested_dicts(model.get('train_cfg'))
        if of_heads and 'num_classes' in part and part['num_classes'] not in of_heads
    ]


def _of_detector(dataset: DatasetSurvey, heads: dict[str, int], where: str) -> Problems:
    problems = Problems()
    count = len(dataset.classes)
    for place, num_classes in heads.items() if count else ():
        message = (
            f'num_classes of {place} is {num_classes}, but {where} has {count} classes: set '
            f'{place}.num_classes={count}, and num_classes of its loss.'
        )
        if num_classes < count:
            problems.errors.append(message)
        elif num_classes > count:
            problems.warnings.append(f'{message} The other outputs learn nothing.')
    return problems
