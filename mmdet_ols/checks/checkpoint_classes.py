"""Whether a checkpoint numbers its classes as the data do that it is used on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mmdet_ols.checks.matching import classes_of_checkpoint
from mmdet_ols.checks.option_names import option_names
from mmdet_ols.checks.problems import listed
from mmdet_ols.checks.survey.names import skeleton
from mmdet_ols.checks.weight_report import WeightReport

#: The entry of a config that says: other names for the same classes.
RENAMED = 'classes_renamed'
#: If at least this share of the names differs, the classes count as different ones.
MOST = 0.5
#: Parts by which a model asks the data for the names of their classes, instead of having its own.
TEXT_PARTS = ('language_model', 'text_encoder', 'text_backbone')


def compare_classes(
    report: WeightReport,
    model: nn.Module,
    content: Mapping[str, Any],
    ours: Sequence[str],
    path: str | Path,
    use: str,
    renamed: bool = False,
) -> None:
    """Compare the class names of a checkpoint with those of the data.

    Args:
        report: Gets an error where a score or a label would mean another class, and a warning
            where names are only spelt otherwise or a few of them are others.
        model: What the checkpoint is loaded into.
        content: Of the checkpoint.
        ours: The names of the data, in the order of the labels.
        path: Of the checkpoint.
        use: 'test', 'resume' or 'start' (a new training, where nothing is an error).
        renamed: Whether the user has said that other names are the same classes.
    """
    theirs = classes_of_checkpoint(content)
    ours = tuple(map(str, ours or ()))
    if not theirs or not ours or theirs == ours or any(hasattr(model, p) for p in TEXT_PARTS):
        return
    what = f'{path} was trained on the classes {listed(theirs)}, and the data have {listed(ours)}'
    if len(theirs) != len(ours):
        if use != 'start':  # a new head is the rule there
            report.errors.append(f'{what}: {len(theirs)} against {len(ours)}. {_remedy(use)}')
        return
    plain_theirs, plain_ours = [[skeleton(name) for name in names] for names in (theirs, ours)]
    others = [i for i, (a, b) in enumerate(zip(plain_theirs, plain_ours)) if a != b]
    if not others:
        number = next(i for i, (a, b) in enumerate(zip(theirs, ours)) if a != b)
        report.warnings.append(
            f'{path} and the data spell classes differently, such as {theirs[number]!r} and '
            f'{ours[number]!r} (label {number}). They are taken for the same.'
        )
        return
    _report_others(report, path, use, theirs, ours, others, renamed)


def _report_others(
    report: WeightReport,
    path: str | Path,
    use: str,
    theirs: Sequence[str],
    ours: Sequence[str],
    others: Sequence[int],
    renamed: bool,
) -> None:
    """Say that these labels mean other classes, and tell another order from other names."""
    differ = ', '.join(f'{i} is {theirs[i]!r} there and {ours[i]!r} here' for i in others[:4])
    more = f', and {len(others) - 4} more' if len(others) > 4 else ''
    sentence = f'Labels mean other classes in {path} than in the data: label {differ}{more}.'
    if {skeleton(theirs[i]) for i in others} & {skeleton(ours[i]) for i in others}:
        sentence = f'The classes have another order. {sentence} {_remedy(use)}'
        (report.warnings if use == 'start' else report.errors).append(sentence)
    elif renamed:
        report.notes.append(f'{sentence} They are the same, since {RENAMED} says so.')
    else:
        sentence += (
            f' {_remedy(use)} If they are the same classes under other names: '
            f'{option_names().entries} {RENAMED}=True'
        )
        serious = use != 'start' and len(others) >= MOST * len(ours)
        (report.errors if serious else report.warnings).append(sentence)


def _remedy(use: str) -> str:
    if use == 'start':
        return 'The new training has to unlearn that: name the classes in the order of the file.'
    return (
        'Take the config of that training (in its work directory), or name the classes of all data '
        'sets in its order: metainfo=dict(classes=...).'
    )
