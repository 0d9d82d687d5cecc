"""Whether a label means the same class in the files, in the config, and in every split."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet_ols.checks.problems import Problems
from mmdet_ols.checks.survey.records import DatasetSurvey, SplitSurvey


def same_meanings(surveys: Sequence[SplitSurvey]) -> Problems:
    """Compare what each label means by the files with its name, and between data sets.

    MMDetection numbers the categories of a COCO file in the file's order whatever the order of
    `metainfo.classes`, and MMPretrain numbers the folders of each split by themselves.
    """
    problems = Problems()
    reference: tuple[DatasetSurvey, str] | None = None
    for survey in surveys:
        for dataset in survey.datasets:
            where = survey.where(dataset)
            if not dataset.meanings:
                continue
            errors: list[str] = []
            if reference:
                errors = _against_other(dataset, where, *reference)
            if not errors and not (reference and _is_alike(dataset, reference[0])):
                errors = _against_config(dataset, where)
            problems.errors += errors
            reference = reference or (dataset, where)
    return problems


def _is_alike(dataset: DatasetSurvey, other: DatasetSurvey) -> bool:
    """Whether one message about both is enough."""
    return dataset.label_names == other.label_names and dataset.classes == other.classes


def _against_config(dataset: DatasetSurvey, where: str) -> list[str]:
    """Labels by the files against the names in the config."""
    names, classes = dataset.label_names, dataset.classes
    # Folders of a classifier may have other names than the classes, as those of ImageNet have.
    places = {name: label for label, name in enumerate(classes)}
    index = next((i for i, name in enumerate(names) if places.get(name, i) != i), None)
    if index is None:
        return []
    absent = [name for name in classes if name not in names]
    order = names if len(absent) > len(names) else names + absent
    remedy = f'Write metainfo=dict(classes={_tuple(order)}) in all data sets.'
    if order is names:  # such as the names that a data set class of the host brings along
        remedy += f' The head then has num_classes={len(names)}.'
    if not set(names) <= set(classes):  # folders, some of which the config does not name
        remedy = 'Give the folders the names of the classes, or leave `classes` out.'
    called = repr(classes[index]) if index < len(classes) else 'nothing'
    return [
        f'{where}: {_source(dataset)} lists the classes in another order than `metainfo.classes` '
        f'of the config, and the host follows the file: {names[index]!r} is label {index}, which '
        f'the config calls {called}. {remedy}'
    ]


def _against_other(
    dataset: DatasetSurvey, where: str, other: DatasetSurvey, other_where: str
) -> list[str]:
    """Labels of one data set against those of another."""
    mine, theirs = dataset.meanings, other.meanings
    if bool(dataset.label_names) != bool(other.label_names) and not set(mine) & set(theirs):
        return []  # folders, and a list with names of its own
    index = next((i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b), None)
    if index is None:
        return []
    only = _only(mine, theirs, where) + _only(theirs, mine, other_where)
    return [
        f'{where} and {other_where} number their classes differently: label {index} is '
        f'{mine[index]!r} in {_source(dataset)} and {theirs[index]!r} in {_source(other)}.{only} '
        'Give both the same classes in the same order.'
    ]


def _only(names: list[str], others: list[str], where: str) -> str:
    absent = [name for name in names if name not in others]
    return f' Only {where} has {", ".join(map(repr, absent[:5]))}.' if absent else ''


def _source(dataset: DatasetSurvey) -> str:
    if dataset.contents is not None and dataset.contents.sources:
        return dataset.contents.sources[0]
    return 'the config'


def _tuple(names: list[str]) -> str:
    shown = tuple(names[:30])
    return repr(shown) if len(names) <= 30 else f'{repr(shown)[:-1]}, ...)'
