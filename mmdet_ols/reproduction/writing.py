"""A reproduction as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence

from mmdet_ols.experiments.writing import markdown_table
from mmdet_ols.reproduction import texts
from mmdet_ols.reproduction.claims import Kind, Number, smallest_told
from mmdet_ols.reproduction.footnotes import footnotes, notes_of
from mmdet_ols.reproduction.layout import TableLayout, method_title
from mmdet_ols.reproduction.making import Place
from mmdet_ols.results.statistics import Summary

#: The kinds of claims that say something about OLS itself.
OLS_KINDS = (Kind.BEST_OTHER, Kind.WITHOUT_OLS)
COLUMNS = (
    'table', 'data', 'network', 'noise_rate', 'method', 'metric', 'n', 'mean', 'sd', 'state',
    'difference', 'low', 'high', 'paper', 'paper_sd', 'paper_source', 'paper_difference', 'verdict',
    'smallest_told', 'also_against', 'also_difference', 'also_low', 'also_high', 'also_verdict',
    'config', 'run_method', 'options', 'seeds', 'notes',
)  # fmt: skip


def to_csv(tables: Sequence[TableLayout]) -> str:
    """Write a row for each number; differences are to hard labels unless their column says more."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(_row(number) for table in tables for number in table.numbers)
    return text.getvalue()


def to_markdown(
    tables: Sequence[TableLayout],
    how: Mapping[str, str],
    notes: Sequence[str],
    place: Place,
    page: str,
    has_figures: bool,
) -> str:
    """Write the summary and every table.

    Args:
        tables: With their numbers.
        how: What holds for everything, such as the scale and the commit.
        notes: What a reader must know about everything.
        place: Where its runs are made.
        page: Name of the HTML page.
        has_figures: Whether that has figures as well.
    """
    parts = ["# The paper's tables, and ours", *notes]
    if how:
        parts.append(markdown_table(['', ''], [[*item] for item in how.items()]))
    parts += [markdown_table(*summary_table(tables))]
    for table in tables:
        parts += _table(table, place)
    figures = ', and has the figures' if has_figures else ''
    parts.append(f'[{page}]({page}) says how each number was made{figures}.')
    return '\n\n'.join(parts) + '\n'


def summary_table(tables: Sequence[TableLayout]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: for each table how many of the paper's claims hold, and so on."""
    header, rows = ['table', 'numbers made'], []
    judged = any(number.claims for table in tables for number in table.numbers)
    if judged:
        verdicts = ('holds', 'cannot be told', 'fails', 'missing')
        header += [f'{what}: {name}' for what in ('hard labels', 'OLS') for name in verdicts]
    for table in tables:
        own = [number for number in table.numbers if not number.figure.source]
        made = sum(number.summary.n > 0 for number in own)
        row = [f'{table.name}: {table.title}', f'{made} of {len(own)}']
        for kinds in ((Kind.HARD,), OLS_KINDS) if judged else ():
            row += map(str, texts.tally(own, kinds))
        rows.append(row)
    return header, rows


def _table(table: TableLayout, place: Place) -> list[str]:
    notes = footnotes(table.numbers)
    marks = {id(number): own for number, own in zip(table.numbers, notes.marks)}
    header = [''] * table.depth + [', '.join(names) for names in table.columns]
    rows = []
    for row in table.rows:
        cells = ['' if n is None else _cell(n, marks[id(n)]) for n in row.numbers]
        rows.append([*row.names, *cells])
    parts = [f'## {table.heading}: {table.title}', *verdict_lines(table)]
    parts.append(markdown_table(header, rows))
    parts += notes.of_all
    parts += ['\n'.join(f'- [{i}] {text}' for i, text in enumerate(notes.marked, 1))]
    parts.append(f'```bash\n{place.command_to_reproduce(table.name)}\n```')
    return [part for part in parts if part]


def verdict_lines(table: TableLayout) -> list[str]:
    """Whether the paper's claims hold in a table, a sentence for each kind."""
    lines = (
        texts.tally_line(what, texts.tally(table.numbers, (kind,)))
        for kind, what in (
            (Kind.HARD, 'Against hard labels'),
            (Kind.BEST_OTHER, 'OLS against the best method without it'),
            (Kind.WITHOUT_OLS, 'OLS on top of another method'),
        )
    )
    return [line for line in lines if line]


def _cell(number: Number, marks: Sequence[int]) -> str:
    decimals = texts.digits(number)
    notes = f' [{", ".join(map(str, marks))}]' if marks else ''
    count = texts.count(number)
    lines = [f'**{texts.own_value(number)}**{f" ({count})" if count else ""}{notes}']
    lines.append(f'paper {texts.paper_value(number)}')
    for claim in number.claims:
        if claim.ours.n:
            against = '' if claim.kind is Kind.HARD else f'against {texts.against(claim)} '
            difference = texts.difference(claim.ours, decimals)
            verdict = texts.verdict_text(claim.verdict, claim.ours, decimals)
            lines.append(f'{against}{difference} {verdict}')
    return '<br>'.join(lines)


def _row(number: Number) -> dict[str, str]:
    figure, result = number.figure, number.result
    row = dict(
        table=figure.table,
        data=figure.data,
        network=figure.network,
        noise_rate=f'{figure.noise_rate:g}',
        method=figure.method,
        metric=figure.metric,
        n=str(number.summary.n),
        mean=_text(number.summary.mean),
        sd=_text(number.summary.sd),
        state='done' if number.summary.n else texts.own_value(number),
        paper=_text(figure.value),
        paper_sd='' if figure.sd is None else _text(figure.sd),
        paper_source=figure.source,
        notes=' '.join(notes_of(number)),
    )
    if number.difference is not None:
        row |= _interval(number.difference, '')
    hard = number.claim(Kind.HARD)
    if hard is not None:
        row['paper_difference'] = _text(hard.expected)
        row['verdict'] = hard.verdict.value
        row['smallest_told'] = _text(smallest_told(hard.ours))
    also = next((claim for claim in number.claims if claim.kind in OLS_KINDS), None)
    if also is not None:
        row |= _interval(also.ours, 'also_')
        row['also_against'] = method_title(also.against.method)
        row['also_verdict'] = also.verdict.value
    if result is not None:
        row |= dict(
            config=result.config,
            run_method=result.method,
            options=' '.join(result.options),
            seeds=' '.join(str(seed) for seed, run in sorted(result.runs.items()) if run.final),
        )
    return row


def _interval(summary: Summary, prefix: str) -> dict[str, str]:
    values = zip(('difference', 'low', 'high'), (summary.mean, summary.low, summary.high))
    return {f'{prefix}{name}': _text(value) for name, value in values}


def _text(value: float) -> str:
    return '' if math.isnan(value) else f'{value:.6g}'
