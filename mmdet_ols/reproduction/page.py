"""The page of a reproduction: the paper's tables and figures next to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet_ols.analysis.report.templates import page_template
from mmdet_ols.core.whole_files import whole_file
from mmdet_ols.experiments.states import State
from mmdet_ols.experiments.writing import check_extras
from mmdet_ols.reproduction import texts
from mmdet_ols.reproduction.claims import Claim, Kind, Number, Numbers
from mmdet_ols.reproduction.drawings import Drawing, drawings
from mmdet_ols.reproduction.footnotes import footnotes, notes_of_result
from mmdet_ols.reproduction.layout import LAYOUTS, TableLayout, describe, lay_out
from mmdet_ols.reproduction.making import Place, commands_to_compare, made_table
from mmdet_ols.reproduction.results import CellResult
from mmdet_ols.reproduction.scales import PAPER, SMALL, SMOKE
from mmdet_ols.reproduction.writing import OLS_KINDS, to_csv, to_markdown, verdict_lines

PAGE, MARKDOWN, TABLE = 'reproduction.html', 'tables.md', 'tables.csv'
PACKAGE = 'mmdet_ols.reproduction'
#: What holds for every page.
NOTES = (
    'A claim of the paper is the direction of a difference. It holds where the 95 % interval of '
    "our difference excludes 0 on the paper's side, fails where it excludes 0 on the other side, "
    'and cannot be told otherwise; then the page says how large a difference so many runs with '
    "this spread could have told from 0. Intervals are Student's t for differences that are paired "
    'by seed. Nothing is corrected for their number: by chance alone, one in twenty excludes 0.',
    'Our numbers are those of the last epoch: mean ± sample standard deviation. The paper gives '
    'its classifiers at the best epoch, which is chosen on the test set.',
)
#: What a reader must know of a scale first.
WARNINGS = {
    SMALL: 'These are reduced runs. They can show whether a direction is the same at a small '
    "scale; they do not reproduce the paper's numbers. Tables and figures of the paper that this "
    'scale does not cover are left out.',
    SMOKE: 'These runs took a few steps on made-up data. They show that every cell can be made; '
    'their numbers say nothing of the methods.',
}


def write_page(
    results: Sequence[CellResult],
    folder: str | Path,
    scale: str = PAPER,
    how: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write `reproduction.html`, which holds all that it shows, and the tables as .md and .csv.

    Args:
        results: What was reached for each cell that is planned. The paper's other numbers are
            shown as missing, but left out at the scale 'small'.
        folder: The work directory, where to write; made if absent.
        scale: As for the command that makes the runs: 'paper', 'small' or 'smoke'.
        how: What holds for everything, such as the choices that were made, by name.

    Returns:
        The three files.

    Raises:
        ImportError: Jinja, scipy or matplotlib is missing.
    """
    check_extras()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    numbers, judged, place = Numbers(results), scale != SMOKE, Place(scale, folder)
    in_tables = {name: _of_table(numbers, name, scale) for name in LAYOUTS}
    tables = [lay_out(name, own) for name, own in in_tables.items() if own]
    figures = [] if scale == SMALL else drawings(results, folder)
    how = {'scale': scale, **(how or {})}
    notes = [*([WARNINGS[scale]] if scale in WARNINGS else []), *(NOTES if judged else [])]
    html = page_template('page.html', PACKAGE).render(
        tables=[_table(table, results, place) for table in tables],
        figures=[_figure(drawing, results, place) for drawing in figures],
        counts=_counts(results),
        totals=_totals(tables),
        how=how,
        notes=notes,
        judged=judged,
        warning=WARNINGS.get(scale),
    )
    written = {
        PAGE: html,
        MARKDOWN: to_markdown(tables, how, notes, place, PAGE, bool(figures)),
        TABLE: to_csv(tables),
    }
    for name, text in written.items():
        with whole_file(folder / name) as file:
            file.write(text)
    return [folder / name for name in written]


def _of_table(numbers: Numbers, name: str, scale: str) -> list[Number]:
    """The numbers of a table; without differences and claims where runs say nothing of them."""
    of_table = numbers.table(name)
    if scale == SMALL:
        return [number for number in of_table if number.result is not None]
    if scale == SMOKE:
        return [number._replace(difference=None, claims=()) for number in of_table]
    return of_table


def _table(table: TableLayout, results: Sequence[CellResult], place: Place) -> dict[str, Any]:
    """What the template shows of a table."""
    own = [result for result in results if result.cell.table == table.name]
    notes = footnotes(table.numbers)
    marks = {id(number): of for number, of in zip(table.numbers, notes.marks)}
    rows = [
        dict(
            headers=row.headers,
            cells=[None if n is None else _cell(n, marks[id(n)]) for n in row.numbers],
        )
        for row in table.rows
    ]
    paper = [number for number in table.numbers if not number.figure.source]
    return dict(
        layout=table,
        rows=rows,
        lines=verdict_lines(table),
        notes=notes,
        averages=_averages(table) if table.name == 'VI' and place.scale == PAPER else [],
        count=sum(number.summary.n > 0 for number in paper),
        of=len(paper),
        planned=bool(own),
        started=any(run.done or run.final for result in own for run in result.runs.values()),
        hard=texts.tally(paper, (Kind.HARD,)),
        ols=texts.tally(paper, OLS_KINDS),
        **_making(table.name, own, place),
    )


def _figure(drawing: Drawing, results: Sequence[CellResult], place: Place) -> dict[str, Any]:
    """What the template shows of a figure."""
    own = [result for result in results if result.cell.table == drawing.name]
    notes = dict.fromkeys(note for result in own for note in notes_of_result(result))
    return dict(
        drawing=drawing,
        notes=list(notes),
        **_making(drawing.name, own, place),
    )


def _making(name: str, own: Sequence[CellResult], place: Place) -> dict[str, Any]:
    """How the runs of a table or figure were made, and the commands that make them."""
    return dict(
        command=place.command_to_reproduce(name),
        made=dict(zip(('header', 'rows'), made_table(own))),
        commands=[] if place.scale == SMOKE else commands_to_compare(own),
    )


def _cell(number: Number, marks: Sequence[int]) -> dict[str, Any]:
    """What the template shows of a number."""
    hard = number.claim(Kind.HARD)
    others = [claim for claim in number.claims if claim.kind is not Kind.HARD and claim.ours.n]
    decimals = texts.digits(number)
    return dict(
        title=describe(number),
        own=texts.own_value(number),
        made=number.summary.n > 0,
        count=texts.count(number),
        paper=texts.paper_value(number),
        source=number.figure.source,
        marks=marks,
        difference='' if number.difference is None
        else texts.difference(number.difference, decimals),
        verdict=None if hard is None or not hard.ours.n else _verdict(hard, decimals),
        others=[
            dict(
                against=texts.against(claim),
                difference=texts.difference(claim.ours, decimals),
                verdict=_verdict(claim, decimals),
            )
            for claim in others
        ],
    )  # fmt: skip


def _verdict(claim: Claim, decimals: int) -> dict[str, str]:
    expected = texts.signed(claim.expected, decimals)
    return dict(
        text=texts.verdict_text(claim.verdict, claim.ours, decimals),
        sign=texts.SIGNS[claim.verdict],
        style=claim.verdict.name.lower(),  # a class of the style sheet
        title=f"The paper's difference to {texts.against(claim)}: {expected}",
    )


def _averages(table: TableLayout) -> list[dict[str, Any]]:
    """The mean improvement on hard labels in each column, as the last row of Table VI has it."""
    columns = zip(*(row.numbers for row in table.rows))
    return [_average([number for number in column if number is not None]) for column in columns]


def _average(numbers: Sequence[Number]) -> dict[str, Any]:
    """The mean improvement on hard labels over a column; empty for hard labels themselves."""
    differences = [number.difference for number in numbers if number.difference is not None]
    if not differences:
        return dict(own='')
    # The paper claims nothing where its numbers are equal.
    claims = [claim for number in numbers if (claim := number.claim(Kind.HARD))]
    paper = -sum(claim.expected for claim in claims) / len(differences)
    ours = [-difference.mean for difference in differences if difference.n]
    own = texts.signed(sum(ours) / len(ours), 2) if ours else 'missing'
    part = _part(numbers, len(ours)) if 0 < len(ours) < len(differences) else ''
    return dict(own=own, made=bool(ours), part=part, paper=texts.signed(paper, 2))


def _part(numbers: Sequence[Number], made: int) -> str:
    """Of how many numbers of a column an average is, and what the paper's is for the same."""
    claims = [c for n in numbers if (c := n.claim(Kind.HARD)) and n.difference and n.difference.n]
    there = texts.signed(-sum(claim.expected for claim in claims) / made, 2)
    return f'{made} of {len(numbers)}, where the paper has {there}'


def _counts(results: Sequence[CellResult]) -> list[tuple[str, int]]:
    """How many cells and runs there are, and how far they are; a shared run counts once."""
    states = {
        (run.folder, seed): result.states.get(seed, State('waiting')).name
        for result in results
        for seed, run in result.runs.items()
    }
    names = list(states.values())
    counts = [(name, names.count(name)) for name in ('running', 'waiting', 'failed')]
    done = names.count('finished')
    return [('cells planned', len(results)), ('runs', len(states)), ('done', done), *counts]


def _totals(tables: Sequence[TableLayout]) -> dict[str, texts.Tally]:
    """The verdicts of all tables together."""
    numbers = [number for table in tables for number in table.numbers]
    return dict(hard=texts.tally(numbers, (Kind.HARD,)), ols=texts.tally(numbers, OLS_KINDS))
