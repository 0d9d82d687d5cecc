"""The table of a survey: what each split gives to the network, and what it leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmdet_ols.checks.survey.records import SplitSurvey

#: Of more classes, only the first and the last are shown: those with most and with fewest objects.
ALL_CLASSES = 24
MOST, FEWEST = 4, 8


def print_survey(surveys: Sequence[SplitSurvey], console: Console | None = None) -> None:
    """Print one table with a column for each split.

    Args:
        surveys: As `survey_data` returns them.
        console: Where to; the standard output by default.
    """
    if not surveys:
        return
    console = console or Console()
    console.print(survey_table(surveys))
    for survey in surveys:
        kinds = [f'{dataset.kind} {dataset.note}' for dataset in survey.datasets if dataset.note]
        for note in [*survey.notes, *kinds]:
            console.print(f'{survey.name}: {note}.', markup=False, soft_wrap=True)


def survey_table(surveys: Sequence[SplitSurvey]) -> Table:
    """Lay a survey out as a table."""
    table = Table(title='What the network will see', title_justify='left')
    table.add_column('data', overflow='fold')
    for survey in surveys:
        table.add_column(survey.name, justify='right')
    for rows in (_summary(surveys), _class_rows(surveys)):
        for name, cells in rows:
            table.add_row(escape(name), *map(escape, cells))
        table.add_section()
    return table


Row = tuple[str, list[str]]


def _summary(surveys: Sequence[SplitSurvey]) -> list[Row]:
    """Images and objects, and what is left out of them."""
    rows = [_row('images', surveys, 'images')]
    if any(s.loaded and s.loaded.epoch != s.loaded.images for s in surveys):
        rows.append(_row('  in an epoch', surveys, 'epoch'))
    rows += _left_out(surveys, 'images_left_out')
    if any(_has_objects(survey) for survey in surveys):
        rows.append(_row('objects', surveys, 'total'))
        rows += _left_out(surveys, 'objects_left_out')
        rows += _ignored(surveys)
    return rows


def _row(name: str, surveys: Sequence[SplitSurvey], count: str) -> Row:
    """What the host loaded of one kind, an attribute of `Loaded`."""
    values = [getattr(survey.loaded, count, None) for survey in surveys]
    return name, ['?' if value is None else f'{value:,}' for value in values]


def _has_objects(survey: SplitSurvey) -> bool:
    """Whether images hold objects, rather than being one sample of a class each."""
    loaded = survey.loaded
    return loaded is not None and (bool(loaded.ignored) or loaded.total != loaded.images)


def _left_out(surveys: Sequence[SplitSurvey], kind: str) -> list[Row]:
    """A row for each reason, the most frequent first."""
    counts = [survey.left_out(kind) for survey in surveys]
    total = sum(counts, Counter())
    return [
        (f'  not: {reason}', [f'{each[reason]:,}' if each[reason] else '-' for each in counts])
        for reason, _ in total.most_common()
    ]


def _ignored(surveys: Sequence[SplitSurvey]) -> list[Row]:
    """What the host marks to be ignored, where no reader of ours knows why."""
    counts = [
        sum(d.loaded.ignored for d in survey.datasets if d.loaded and d.contents is None)
        for survey in surveys
    ]
    return [('  not: ignored', [f'{count:,}' for count in counts])] if any(counts) else []


def _class_rows(surveys: Sequence[SplitSurvey]) -> list[Row]:
    """The number of objects of each class, or of some where there are many."""
    counts = [_by_name(survey) for survey in surveys]
    names = list(dict.fromkeys(name for each in counts if each for name in each))

    def row(name: str) -> Row:
        cells = ['?' if each is None else f'{each.get(name, 0):,}' for each in counts]
        return name, cells

    if len(names) <= ALL_CLASSES:
        return [row(name) for name in names]
    first = next(each for each in counts if each)
    ordered = sorted(names, key=lambda name: -first.get(name, 0))
    left = len(names) - MOST - FEWEST
    return [
        *map(row, ordered[:MOST]),
        (f'... {left} more classes ...', [''] * len(surveys)),
        *map(row, ordered[-FEWEST:]),
    ]


def _by_name(survey: SplitSurvey) -> dict[str, int] | None:
    """The number of objects of each class, in the order of the labels; None if unknown."""
    loaded = survey.loaded
    if loaded is None or not loaded.labelled:
        return None
    labels = range(max([len(loaded.classes), *(label + 1 for label in loaded.objects)]))
    return {loaded.class_name(label): loaded.objects.get(label, 0) for label in labels}
