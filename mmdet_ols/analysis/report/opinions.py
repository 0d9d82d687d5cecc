"""What a method for wrong labels thinks of the labels, and how often it is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from mmdet_ols.analysis.annotations import Annotation
from mmdet_ols.analysis.report.pictures import crop_of
from mmdet_ols.analysis.report.table import write_ranked
from mmdet_ols.engine.hooks.sample_state_hook import OPINIONS

OPINION_TABLE = 'label_opinions.csv'
#: A label that counts less than half of what it would without the method is weighed down.
WEIGHED_DOWN = 0.5
COLUMNS = ('sample', 'image', 'written', 'suggested', 'weight', 'true')


class LabelOpinions(NamedTuple):
    """The opinion of the labels after an epoch; all arrays are of shape (N,)."""

    epoch: int
    given: np.ndarray
    #: The labels that the method would give; -1 where it does not know.
    label: np.ndarray | None
    #: How much it counts the given ones, 1 being what they count without it; NaN: not known.
    weight: np.ndarray | None
    #: The true labels, where the data set knows them.
    true: np.ndarray | None

    @property
    def changed(self) -> np.ndarray:
        """Which labels the method would change, or weighs down if it changes none; bool."""
        known = self.given >= 0
        if self.label is not None:
            return known & (self.label >= 0) & (self.label != self.given)
        assert self.weight is not None
        return known & (self.weight < WEIGHED_DOWN)  # False for NaN

    @property
    def order(self) -> np.ndarray:
        """The changed samples: those first whose given label counts least."""
        (samples,) = np.nonzero(self.changed)
        if self.weight is None:
            return samples
        return samples[np.argsort(self.weight[samples], kind='stable')]


def read_opinions(folder: Path) -> LabelOpinions | None:
    """Read what `SampleStateHook` wrote; None where there is nothing.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / OPINIONS
    if not path.is_file():
        return None
    try:
        with path.open('rb') as stream, np.load(stream) as file:  # which leaves a damaged one open
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f'{path} is damaged ({error}): train one more epoch.') from error
    values = (arrays.get(key) for key in ('label', 'weight', 'true'))
    return LabelOpinions(int(arrays['epoch']), arrays['given'], *values)


def opinion_section(
    opinions: LabelOpinions,
    classes: list[str],
    annotations: dict[int, Annotation],
    top: int,
) -> dict[str, Any]:
    """What the page says about the method's opinion of the labels.

    Args:
        opinions: The opinion.
        classes: Names of the classes.
        annotations: The training images that were read, by the numbers of the samples.
        top: How many changed labels are shown.
    """
    names = _all_names(opinions, classes)
    return dict(
        epoch=opinions.epoch,
        table=OPINION_TABLE,
        changes=opinions.label is not None,
        weighs=opinions.weight is not None,
        weighed_down=WEIGHED_DOWN,
        facts=_facts(opinions),
        cards=[
            _card(opinions, sample, names, annotations[sample], rank)
            for rank, sample in enumerate(opinions.order.tolist(), 1)
            if sample in annotations
        ][:top],
    )


def _all_names(opinions: LabelOpinions, classes: list[str]) -> list[str]:
    """A name for every class that occurs, its number where it has none."""
    arrays = [opinions.given, opinions.label, opinions.true]
    size = 1 + max(int(array.max()) for array in arrays if array is not None and len(array))
    return classes + [str(number) for number in range(len(classes), size)]


def _facts(opinions: LabelOpinions) -> list[tuple[str, str]]:
    """Name and value of what can be counted."""
    given, label, weight, true = opinions[1:]
    known = given >= 0
    changed = opinions.changed
    what = 'given another label' if label is not None else 'weighed down'
    facts = [
        ('Training samples', f'{known.sum()}'),
        (f'Samples that are {what}', _share(changed.sum(), known.sum())),
    ]
    if weight is not None and np.isfinite(weight[known]).any():
        facts.append(('Mean weight of a given label', f'{np.nanmean(weight[known]):.3f}'))
    if true is None:
        return facts
    wrong = (given != true) & known
    rightly = _share((changed & wrong).sum(), changed.sum())
    facts += [
        ('Labels that are wrong in truth', _share(wrong.sum(), known.sum())),
        (f'Of the samples that are {what}, wrong in truth', rightly),
        (f'Of the wrong labels, {what}', _share((changed & wrong).sum(), wrong.sum())),
        (f'Of the right labels, {what}', _share((changed & ~wrong).sum(), (known & ~wrong).sum())),
    ]
    if label is not None:
        told = np.where(label >= 0, label, given)
        right = (told == true) & wrong
        after = (told != true) & known
        facts += [
            ('Of the wrong labels, corrected to the true class', _share(right.sum(), wrong.sum())),
            ('Labels that are wrong after the correction', _share(after.sum(), known.sum())),
        ]
    if weight is not None:
        for name, part in (('wrong', wrong), ('right', known & ~wrong)):
            if np.isfinite(weight[part]).any():
                mean = np.nanmean(weight[part])
                facts.append((f'Mean weight of the {name} labels', f'{mean:.3f}'))
    return facts


def _share(part: Any, whole: Any) -> str:
    return f'{part} of {whole} ({part / whole:.1%})' if whole else f'{part} of {whole}'


def _card(
    opinions: LabelOpinions, sample: int, names: list[str], annotation: Annotation, rank: int
) -> dict[str, Any]:
    """A training image whose label the method changes or weighs down, and its rank in the table."""
    changed = None if opinions.label is None else names[int(opinions.label[sample])]
    return dict(
        rank=rank,
        file=annotation.file,
        number=None,
        written=names[int(opinions.given[sample])],
        suggestion=changed,
        weight=None if opinions.weight is None else f'{opinions.weight[sample]:.2f}',
        agrees=False,
        shares=[],
        crop=crop_of(annotation),
    )


def write_opinions(
    opinions: LabelOpinions, classes: list[str], annotations: dict[int, Annotation], path: Path
) -> None:
    """Write all labels that the method changes or weighs down, as a CSV file.

    Args:
        opinions: The opinion.
        classes: Names of the classes.
        annotations: The training images that were read, by the numbers of the samples.
        path: The file.
    """
    names = _all_names(opinions, classes)

    def name(labels: np.ndarray | None, sample: int) -> str:
        return '' if labels is None or labels[sample] < 0 else names[int(labels[sample])]

    rows = []
    for sample in map(int, opinions.order):
        image = annotations[sample].image if sample in annotations else ''
        weight = '' if opinions.weight is None else f'{opinions.weight[sample]:.4f}'
        labels = (name(opinions.given, sample), name(opinions.label, sample))
        rows.append([sample, image, *labels, weight, name(opinions.true, sample)])
    write_ranked(path, COLUMNS, rows)
