"""Which rows a command line asks for: configs, methods, variants and a sweep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mmdet_ols.experiments.comparison import Sweep
from mmdet_ols.experiments.specification import Request, needed_run
from mmdet_ols.methods import parse_method


def requested_rows(
    configs: Sequence[str],
    methods: Sequence[str] = (),
    variants: Sequence[Sequence[str]] = (),
    options: Sequence[str] = (),
    sweep: Sequence[str] = (),
) -> tuple[list[Request], Sweep | None]:
    """Name every row of a comparison.

    Args:
        configs: Paths; without methods each is a row as it is.
        methods: What to apply to each config, as for `--method`.
        variants: More rows, each a name, a config and options `KEY=VALUE` of its own.
        options: Options of all rows.
        sweep: An option and its values, or nothing. `KEY` is an entry of the last row's config,
            `METHOD:OPTION` an option of one of the methods; the row is replaced by one for each
            value.

    Returns:
        The rows, and which of them are values of the swept option.

    Raises:
        ValueError: A method or the sweep cannot be used.
    """
    rows = []
    for config in configs:
        stem = _name_of(config)
        if not methods:
            rows.append(Request(stem, config, None, tuple(options)))
        for method in methods:
            slug = parse_method(method).slug
            name = slug if len(configs) == 1 else f'{stem}_{slug}'
            rows.append(Request(name, config, method, tuple(options)))
    rows += [
        Request(name, config, None, (*options, *own)) for name, config, *own in map(list, variants)
    ]
    if not sweep:
        return rows, None
    option, *values = sweep
    if ':' in option:
        return _sweep_method(rows, option, values)
    row = rows[-1]
    names = {f'{option.rpartition(".")[2]}={value}': value for value in values}
    swept = [
        Request(name, row.config, row.method, (*row.options, f'{option}={value}'))
        for name, value in names.items()
    ]
    return [*rows[:-1], *swept], Sweep(row.name, option, names)


def with_needed_rows(rows: Sequence[Request]) -> list[Request]:
    """Add the rows whose runs others need, such as that of a teacher, where they are missing.

    Raises:
        ValueError: A method cannot be used.
    """
    complete = list(rows)
    for row in rows:
        needs = needed_run(row.method)
        if needs is None or provider(row, complete, needs.method) is not None:
            continue
        slug, taken = parse_method(needs.method).slug, {other.name for other in complete}
        names = (slug, f'{_name_of(row.config)}_{slug}', f'{row.name}_{slug}')
        name = next((name for name in names if name not in taken), names[-1])
        complete.append(Request(name, row.config, needs.method, row.options))
    return complete


def provider(row: Request, rows: Sequence[Request], method: str) -> Request | None:
    """The row that trains the same config with another method; None if there is none."""
    wanted = (row.config, row.options, method)
    return next((o for o in rows if (o.config, o.options, o.method) == wanted), None)


def _name_of(config: str) -> str:
    """A name for the rows of a config, and their folders, after its file."""
    return re.sub(r'[^\w.+=-]+', '_', Path(config).stem).lstrip('.=') or 'config'


def _sweep_method(
    rows: Sequence[Request], option: str, values: Sequence[str]
) -> tuple[list[Request], Sweep]:
    """Replace the row of a method by one for each value of an option of it."""
    method, _, key = option.partition(':')
    # The method, wherever it stands among several, with the options that it has.
    pattern = re.compile(rf'(?:^|(?<=\+)){re.escape(method)}(?P<options>:[^+]*)?(?=\+|$)')
    searched = [(row, pattern.search(row.method)) for row in rows if row.method]
    matching = [(row, match) for row, match in searched if match]
    if len(matching) != 1:
        asked = ', '.join(row.name for row, _ in matching) or 'no row'
        raise ValueError(
            f'--sweep {option} needs exactly one row with the method {method!r}, but {asked} has '
            f'it: name it once in --methods, with a single config.'
        )
    ((row, match),) = matching
    text, given = match.string, match['options'] or ''
    if re.search(rf'[:,]\s*{re.escape(key)}\s*=', given):
        raise ValueError(
            f'--sweep {option} gives {key} its values, so leave it out of --methods {text}.'
        )
    names, swept = {}, []
    for value in values:
        part = f'{method}{given},{key}={value}' if given else f'{method}:{key}={value}'
        own = text[: match.start()] + part + text[match.end() :]
        name = parse_method(own).slug
        names[name] = value
        swept.append(Request(name, row.config, own, row.options))
    position = rows.index(row)
    return [*rows[:position], *swept, *rows[position + 1 :]], Sweep(row.name, option, names)
