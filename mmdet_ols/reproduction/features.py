"""The picture of Fig. 3: features of the networks that its cells train."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmdet_ols.reproduction.layout import method_title
from mmdet_ols.reproduction.results import CellResult

FIGURE = 'Fig. 3'


@dataclass(frozen=True)
class PictureTask:
    """Draws the picture, as an executor runs it.

    Args:
        folder: Where the picture goes, with its points and the log.
        titles: Of the networks.
        networks: Config and checkpoint of each.
        perplexity: Of t-SNE; None is the tool's own.
    """

    folder: Path
    titles: tuple[str, ...]
    networks: tuple[tuple[Path, Path], ...]
    perplexity: float | None = None

    def next_command(self) -> list[str] | None:
        """Give the command that draws it; None once it is newer than all checkpoints."""
        picture = picture_in(self.folder.parent)
        newest = max(checkpoint.stat().st_mtime for _, checkpoint in self.networks)
        if picture.is_file() and picture.stat().st_mtime >= newest:
            return None
        words = [sys.executable, '-m', 'mmdet_ols.cli.plot_features']
        words += [str(path) for network in self.networks for path in network]
        words += ['--titles', *self.titles, '--split', 'train', '--out', str(picture)]
        words += [] if self.perplexity is None else ['--perplexity', f'{self.perplexity:g}']
        return words


def picture_in(work_dir: Path) -> Path:
    """Where the picture of a work directory is."""
    return work_dir / 'features' / 'features.png'


def picture_task(
    results: Sequence[CellResult], work_dir: Path, perplexity: float | None = None
) -> PictureTask | None:
    """What draws the picture; None as long as a network of it is missing.

    Args:
        results: What was reached for each cell.
        work_dir: Where the runs are.
        perplexity: Of t-SNE; None is the tool's own.
    """
    networks = networks_of(results)
    there = tuple(network for network in networks.values() if network is not None)
    if not there or len(there) < len(networks):
        return None
    return PictureTask(picture_in(work_dir).parent, tuple(networks), there, perplexity)


def networks_of(results: Sequence[CellResult]) -> dict[str, tuple[Path, Path] | None]:
    """Config and checkpoint of each network of the figure, by its title; None if not trained."""
    cells = (result for result in results if result.cell.table == FIGURE)
    return {method_title(result.method): _network(result) for result in cells}


def _network(result: CellResult) -> tuple[Path, Path] | None:
    """Config and last checkpoint of the first finished run of a cell that has one."""
    for _, run in sorted(result.runs.items()):
        # The config in its folder has the run's own data.
        config = next(iter(sorted(run.folder.glob('*.py'))), None)
        file = run.last_checkpoint
        if run.final and config is not None and file is not None and file.is_file():
            return config, file
    return None
