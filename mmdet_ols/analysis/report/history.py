"""The history of the soft labels, and its view at the start, in the middle and at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmdet_ols.analysis.report.pictures import png
from mmdet_ols.analysis.soft_labels import find_soft_labels
from mmdet_ols.visualization import MAX_VALUES, column_names, draw_soft_labels, matching_names

#: Above this number of classes a matrix takes the whole width of the page.
MAX_NARROW = 10


def read_history(
    folder: Path, content: dict[str, Any], period: str
) -> tuple[dict[str, dict[int, np.ndarray]], list[Path]]:
    """Read the soft labels that OLSHook recorded; for other losses, those of the checkpoint.

    Args:
        folder: The work directory.
        content: What the checkpoint holds; empty where there is none.
        period: The unit that OLSHook counts.

    Returns:
        {loss: {step: matrix}}, ordered by step, and the files that are damaged.
    """
    history: dict[str, dict[int, np.ndarray]] = {}
    damaged = []
    for path in sorted(folder.glob('soft_labels/*/*_*.npy')):
        step = path.stem.rpartition('_')[2]
        if step.isdigit():
            try:
                matrix = np.load(path)
            except (ValueError, OSError, EOFError):
                damaged.append(path)
            else:
                history.setdefault(path.parent.name, {})[int(step)] = matrix
    saved_at = content.get('meta', {}).get('epoch' if period == 'epoch' else 'iter', 0)
    for loss, tensor in find_soft_labels(content).items():
        if loss not in history:
            history[loss] = {saved_at: tensor.float().numpy()}
    return {loss: dict(sorted(steps.items())) for loss, steps in history.items()}, damaged


def soft_label_views(loss: str, steps: dict[int, np.ndarray], classes: list[str]) -> dict[str, Any]:
    """The soft labels of a loss at the start, in the middle and at the end, for the page.

    Args:
        loss: Name of the loss.
        steps: {step: matrix}, ordered by step.
        classes: Names of the classes.
    """
    numbers = list(steps)
    middle = min(numbers, key=lambda step: abs(step - numbers[-1] / 2))
    last = torch.from_numpy(steps[numbers[-1]])
    scale = float((last - torch.diag(last.diagonal())).max()) or 1.0
    views = [
        dict(step=step, **_view(torch.from_numpy(steps[step]), classes, scale))
        for step in dict.fromkeys([numbers[0], middle, numbers[-1]])
    ]
    return dict(loss=loss, views=views, wide=len(last) > MAX_NARROW)


def _view(matrix: torch.Tensor, classes: list[str], scale: float) -> dict[str, Any]:
    """A matrix as a table whose darkest colour stands for `scale`; a large one as a picture."""
    known = matching_names(matrix, classes)
    if len(matrix) > MAX_VALUES:
        return dict(picture=png(draw_soft_labels(matrix, known)))
    names = column_names(len(matrix), known)
    off_diagonal = matrix - torch.diag(matrix.diagonal())
    heat = (100 * (off_diagonal / scale).clamp(0, 1).sqrt()).round().int().tolist()
    rows = [
        (name, [(value, heat[i][j], i == j) for j, value in enumerate(matrix[i].tolist())])
        for i, name in enumerate(names)
    ]
    return dict(names=names, rows=rows)
