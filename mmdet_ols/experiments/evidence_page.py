"""Tables of Markdown from the rows of finished runs, and the pages that hold them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mmdet_ols.experiments.across import options_of, tables_across, without_option
from mmdet_ols.experiments.comparison import Comparison
from mmdet_ols.experiments.evidence import MISTAKES, PLAIN_LOOP, EvidenceRow, read_rows
from mmdet_ols.experiments.recording import differ
from mmdet_ols.experiments.tables import class_table, main_table, notes, recorded
from mmdet_ols.experiments.writing import markdown_table

#: Where a page holds a table: the words of `mmdet-ols evidence`, files relative to the page.
MARKED = re.compile(
    r'(?P<begin><!-- evidence: (?P<words>[^>]*?) -->\n)(?:(?!<!-- evidence:).)*?'
    r'(?P<end><!-- end of evidence -->)',
    re.DOTALL,
)


class Selection(NamedTuple):
    """What a table shows of the rows.

    Args:
        reference: Name of the row that the others are compared with; the first one by default.
        metrics: Keys of the metrics to show, in this order; the hosts' main ones by default.
        classes: Whether to add the average precision of each class.
        together: Whether rows with different settings share a table. By default there is a table
            for each group of rows that differ in nothing but their methods.
        across: Key of an option whose values become the columns of a table, in which the methods
            are the rows: to choose a learning rate by, for example.
    """

    reference: str | None = None
    metrics: Sequence[str] = ()
    classes: bool = False
    together: bool = False
    across: str | None = None


def evidence_tables(rows: Sequence[EvidenceRow], selection: Selection) -> str:
    """Write the tables of rows, each with the command that made its runs.

    Args:
        rows: As they stand in the files.
        selection: What to show of them.

    Raises:
        ValueError: There are no rows, none with the name of the reference, or none with a metric;
            or a run has other results in another file.
    """
    if not rows:
        raise ValueError('There are no rows yet: record runs with tools/compare.py --record FILE.')
    rows = _each_run_once(rows)
    if selection.across and (selection.reference is not None or selection.classes):
        raise ValueError(
            '--across shows neither differences nor classes: leave out --reference and --classes.'
        )
    given = dict.fromkeys(key for row in rows for key in options_of(row))
    if selection.across and selection.across not in given:
        raise ValueError(
            f'--across must name an option of the rows, but got {selection.across!r}; they have '
            f'{", ".join(given) or "none"}.'
        )
    logged = dict.fromkeys(key for row in rows for key in row.metrics)
    unknown = [key for key in selection.metrics if key not in logged]
    if unknown:
        raise ValueError(
            f'--metrics must be of {", ".join(logged)}, but got {", ".join(unknown)}, which no row '
            'has.'
        )
    if selection.metrics:
        rows = [row for row in rows if not row.metrics.keys().isdisjoint(selection.metrics)]
    groups: dict[tuple[str, ...], list[EvidenceRow]] = {}
    for row in rows:
        groups.setdefault(_compared_in(row, selection), []).append(row)
    return '\n\n'.join(_group(group, selection) for group in groups.values()) + '\n'


def _each_run_once(rows: Sequence[EvidenceRow]) -> list[EvidenceRow]:
    """The first row of each run; several files may hold the same one."""
    first: dict[tuple[str, int, str], EvidenceRow] = {}
    for row in rows:
        known = first.setdefault(row.identity, row)
        if differ(known.metrics, row.metrics):
            raise ValueError(
                f'A run counts once, but {row.name} seed {row.seed} has other results in another '
                f'file (of {known.date} and of {row.date}): remove one of the two rows.'
            )
    return list(first.values())


def _compared_in(row: EvidenceRow, selection: Selection) -> tuple[str, ...]:
    """What the rows of one table have in common."""
    if selection.together:
        return (row.test,)
    if selection.across:
        return row.test, row.config, without_option(row, selection.across), row.length
    return row.test, row.base


def fill_page(page: str | Path, parse: Callable[[list[str]], tuple[list[str], Selection]]) -> str:
    """The text of a page with every marked table made again from its rows.

    A table stands between two comments; the first names the files and options:

        <!-- evidence: evidence/cars.csv --reference hard -->
        <!-- end of evidence -->

    Args:
        page: Path of the page.
        parse: Turns the words of the first comment into files, relative to the page, and what to
            show of them.

    Raises:
        ValueError: The page has no such comments, one cannot be understood, or a file has no rows.
        OSError: The page or a file cannot be read.
    """
    page = Path(page)
    text = page.read_text(encoding='utf-8')
    _check_marks(page, text)

    def table(match: re.Match[str]) -> str:
        try:
            files, selection = parse(shlex.split(match['words']))
            rows = [row for file in files for row in read_rows(page.parent / file)]
            made = evidence_tables(rows, selection)
        except ValueError as error:
            raise ValueError(f'{page}, <!-- evidence: {match["words"]} -->: {error}') from error
        return f'{match["begin"]}\n{made}\n{match["end"]}'

    return MARKED.sub(table, text)


def _check_marks(page: Path, text: str) -> None:
    """Make sure that every comment of a page has its end: the text up to it is replaced.

    Raises:
        ValueError: One has none, or there is no comment at all.
    """
    rest = MARKED.sub('', text)
    begun = re.search(r'<!--\s*evidence:.*|<!--\s*end of evidence.*', rest)
    if begun or rest == text:
        wrong = f'but got {begun[0]!r} without the other one' if begun else 'but it has none'
        raise ValueError(
            f'{page} must hold each table between the lines <!-- evidence: FILE.csv --> and <!-- '
            f'end of evidence -->, {wrong}.'
        )


def _group(rows: Sequence[EvidenceRow], selection: Selection) -> str:
    """One table, what a reader must know about it, and how its runs were made."""
    if selection.across:
        parts = _across(rows, selection.across, selection.metrics)
    else:
        parts = _side_by_side(rows, selection)
    return '\n\n'.join(parts)


def _across(rows: Sequence[EvidenceRow], option: str, metrics: Sequence[str]) -> list[str]:
    """A table with a column for each value of an option."""
    facts: dict[str, dict[str, None]] = {}
    for row in rows:
        for fact, value in _facts(row).items():
            facts.setdefault(fact, {})[value] = None
    made = [[fact, '; '.join(values)] for fact, values in facts.items()]
    tables = tables_across(rows, option, metrics)
    return [*tables, markdown_table(['made with', ''], made), _commands(rows)]


def _side_by_side(rows: Sequence[EvidenceRow], selection: Selection) -> list[str]:
    """A table with a row for each method."""
    labels = _labels(rows)
    names = list(dict.fromkeys(labels[row.settings] for row in rows))
    if selection.reference is not None:
        reference = selection.reference
        called = {labels[row.settings] for row in rows if row.name == reference}
        if reference not in names and len(called) == 1:
            (reference,) = called
        if reference not in names:
            raise ValueError(
                f'--reference must name one of the rows {", ".join(names)}, but got {reference!r}.'
            )
        names.insert(0, names.pop(names.index(reference)))
    ordered = sorted(rows, key=lambda row: (names.index(labels[row.settings]), row.seed))
    named = {(labels[row.settings], row.seed): row for row in ordered}
    comparison = Comparison(
        runs={key: row.as_run() for key, row in named.items()},
        best_is_of_test=any(row.best_by for row in rows),
        tta=rows[0].test == 'tta',
        made={key: [_facts(row)] for key, row in named.items()},
        shown=selection.metrics,
    )
    parts = [markdown_table(*main_table(comparison))]
    header, classes = class_table(comparison)
    if selection.classes and classes:
        parts.append(markdown_table(header, classes))
    parts += [note for note in notes(comparison) if not note.startswith('Read from rows')]
    return [*parts, markdown_table(['made with', ''], recorded(comparison)), _commands(ordered)]


def _labels(rows: Sequence[EvidenceRow]) -> dict[str, str]:
    """A name for each settings key: the row's own, with what differs where that is not enough.

    That is where rows share a name, or differ in more than their methods.
    """
    first: dict[str, EvidenceRow] = {}
    for row in rows:
        first.setdefault(row.settings, row)
    differ = len({row.base for row in first.values()}) > 1
    labels: dict[str, str] = {}
    for key, row in first.items():
        namesakes = [other for other in first.values() if other.name == row.name]
        others = list(first.values()) if differ else namesakes
        shared = set.intersection(*(set(shlex.split(other.options)) for other in others))
        own = [word for word in shlex.split(row.options) if word not in shared]
        own += [Path(row.config).stem] if len({o.config for o in others}) > 1 else []
        if len(namesakes) > 1 and not own:
            own = [key[:6]]
        label = f'{row.name} ({", ".join(own)})' if own else row.name
        labels[key] = label if label not in labels.values() else f'{label} {key[:6]}'
    return labels


def _facts(row: EvidenceRow) -> dict[str, str]:
    return {'commit': row.commit, 'machine': row.machine, 'torch': row.torch, 'length': row.length}


def _commands(rows: Sequence[EvidenceRow]) -> str:
    """The commands that make these runs; paths of data and weights are the reader's."""
    commands = '\n'.join(_commands_of_runs(rows))
    return f'```bash\n{commands}\n```'


def _commands_of_runs(rows: Sequence[EvidenceRow]) -> list[str]:
    test = rows[0].test  # as that of all rows of a table
    if test == MISTAKES:
        return _commands_of_mistakes(rows)
    plain_loop = test == PLAIN_LOOP
    tool = 'benchmarks/plain_comparison.py' if plain_loop else 'tools/compare.py'
    groups: dict[tuple[str, str, tuple[int, ...], bool], list[EvidenceRow]] = {}
    for row in {row.settings: row for row in rows}.values():
        seeds = tuple(sorted({r.seed for r in rows if r.settings == row.settings}))
        groups.setdefault((row.config, row.options, seeds, bool(row.method)), []).append(row)
    commands = []
    for (config, options, seeds, has_method), group in groups.items():
        words = ['python', tool, config]
        if has_method:
            words += ['--methods', *(row.method for row in group)]
        given = shlex.split(options)
        values = [word for word in given if '=' in word]
        words += ['--seeds', *map(str, seeds)]
        words += ['--amp'] if 'amp' in given else []
        words += ['--tta'] if test == 'tta' else []
        if plain_loop:
            words += given
        elif values:
            words += ['--cfg-options', *values]
        commands.append(shlex.join(words))
    return commands


def _commands_of_mistakes(rows: Sequence[EvidenceRow]) -> list[str]:
    """The same for `benchmarks/label_mistakes.py`, whose folds are a word of the options."""
    groups: dict[tuple[str, str], list[EvidenceRow]] = {}
    for row in rows:
        words = [word for word in shlex.split(row.options) if not word.endswith('-fold')]
        groups.setdefault((row.config, shlex.join(words)), []).append(row)
    commands = []
    for (config, options), group in groups.items():
        given = shlex.split(options)
        once = dict.fromkeys(row.method for row in group if not _folds(row))
        folded = dict.fromkeys(row.method for row in group if _folds(row))
        words = ['python', 'benchmarks/label_mistakes.py', config]
        words += ['--methods', *once] if once else []
        words += ['--cross-validate', *folded]
        words += [f'--folds={n}' for n in dict.fromkeys(map(_folds, group)) if n]
        words += ['--seeds', *map(str, sorted({row.seed for row in group}))]
        words += ['--amp'] if 'amp' in given else []
        values = [word for word in given if '=' in word]
        words += ['--cfg-options', *values] if values else []
        commands.append(shlex.join(words))
    return commands


def _folds(row: EvidenceRow) -> int:
    """In how many parts the data were for a row; 0 where they were not divided."""
    match = re.search(r'(?:^|\s)(\d+)-fold$', row.options)
    return int(match[1]) if match else 0
