"""Writing a comparison into files: Markdown, CSV and pictures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmdet_ols.core.whole_files import whole_file
from mmdet_ols.experiments.comparison import Comparison
from mmdet_ols.experiments.comparison_plots import draw_comparison, draw_curves, draw_sweep
from mmdet_ols.experiments.settings import short
from mmdet_ols.experiments.tables import class_table, main_table, notes, overview, recorded


def check_extras() -> None:
    """Make sure that a comparison can be written.

    Raises:
        ImportError: scipy or matplotlib is missing.
    """
    try:
        import matplotlib.figure  # noqa: F401
        import scipy.stats  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"Comparing needs scipy and matplotlib ({error}): pip install 'mmdet_ols[plot]'."
        ) from error


def write_comparison(comparison: Comparison, folder: str | Path, how: Mapping[str, str]) -> None:
    """Write `comparison.md`, `comparison.csv` (one row for each run) and `comparison.png`.

    Where something was measured at several epochs, `comparison_curves.csv` (one row for each epoch
    of a run) and its picture come with them, and `comparison_sweep.png` where something was swept.

    Args:
        comparison: With one finished run at least.
        folder: Made if absent.
        how: What holds for all runs in addition to what they recorded, for the Markdown.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / 'comparison.md') as file:
        file.write(to_markdown(comparison, how))
    _write_runs(comparison, folder / 'comparison.csv')
    draw_comparison(comparison, folder / 'comparison.png')
    if comparison.metrics_over_time:
        _write_curves(comparison, folder / 'comparison_curves.csv')
        draw_curves(comparison, folder / 'comparison_curves.png')
    if comparison.sweep:
        draw_sweep(comparison, folder / 'comparison_sweep.png')


def to_markdown(comparison: Comparison, how: Mapping[str, str]) -> str:
    """Write the tables, in what the rows differ, and how the runs were made."""
    parts = [f'# {" / ".join(comparison.names)}']
    if len(comparison.metrics) > 1:
        parts.append(markdown_table(*overview(comparison)))
    parts.append(markdown_table(*main_table(comparison)))
    parts += notes(comparison)
    parts += _differences(comparison)
    header, rows = class_table(comparison)
    if rows:
        parts += ['## Classes', markdown_table(header, rows)]
    if comparison.sweep:
        parts.append('![](comparison_sweep.png)')
    parts.append('![](comparison.png)')
    if comparison.metrics_over_time:
        parts.append('![](comparison_curves.png)')
    facts = [[*item] for item in how.items()] + recorded(comparison)
    parts += ['## How', markdown_table(['', ''], facts)]
    return '\n\n'.join(parts) + '\n'


def _differences(comparison: Comparison) -> list[str]:
    lines, first = [], comparison.names[0]
    for name, differing in comparison.differs.items():
        entries = '; '.join(f'`{k}`: {short(a)} → {short(b)}' for k, (a, b) in differing.items())
        if entries:
            lines.append(f'{name} differs from {first} in {entries}.')
        else:
            lines.append(f'{name} does not differ from {first}.')
    return lines


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write rows of cells as a table of Markdown."""
    lines = [header, ['---'] * len(header), *rows]
    cells = [[cell.replace('|', '\\|') for cell in line] for line in lines]
    return '\n'.join(f'| {" | ".join(line)} |' for line in cells)


def _write_runs(comparison: Comparison, path: Path) -> None:
    """One row for each run, with its metrics under the names and in the units of the log."""
    metrics, keys = comparison.metrics, comparison.keys
    best_of = metrics[0] if metrics else None
    header = ['config', 'seed', 'state', 'done', 'seconds', *keys]
    if best_of:
        header += [f'best {best_of.key}', 'best at']
    with whole_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for (name, seed), run in comparison.runs.items():
            unfinished = 'failed' if (name, seed) in comparison.failed else 'unfinished'
            state = 'finished' if run.final else unfinished
            row = [name, seed, state, f'{run.done:g}', f'{run.seconds:.0f}']
            row += [(run.final or {}).get(key, '') for key in keys]
            if best_of:
                epoch, value = run.best(best_of.key, best_of.logged_lower_is_better) or ('', '')
                row += [value, epoch]
            writer.writerow(row)


def _write_curves(comparison: Comparison, path: Path) -> None:
    """One row for each epoch of a finished run, with what was measured then, as it was logged."""
    keys = [metric.key for metric in comparison.metrics_over_time]
    with whole_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(['config', 'seed', 'epoch', *keys])
        for (name, seed), run in comparison.followed.items():
            curves = [run.over_time(key) for key in keys]
            for epoch in sorted({epoch for curve in curves for epoch in curve}):
                writer.writerow([name, seed, epoch, *(curve.get(epoch, '') for curve in curves)])
