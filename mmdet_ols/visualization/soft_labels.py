"""Heat maps of soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmdet_ols.visualization.figures import new_figure, require_matplotlib
from mmdet_ols.visualization.texts import drawn_texts

if TYPE_CHECKING:
    import numpy as np

#: Above these numbers of classes the axes show no names, and the cells no values.
MAX_NAMES, MAX_VALUES = 60, 25
#: The most letters of a title: names of losses differ in their middle.
MAX_TITLE = 60


def column_names(size: int, class_names: Sequence[str] | None) -> list[str]:
    """Names for `size` score columns; one column more than names is the background.

    Raises:
        ValueError: The number of names is neither `size` nor `size` - 1.
    """
    if class_names is None:
        return [str(index) for index in range(size)]
    names = list(class_names)
    if len(names) == size - 1:
        names.append('background')
    if len(names) != size:
        raise ValueError(
            f'`class_names` must name the {size} classes of the soft labels (or all but the '
            f'background), but got {len(names)} names.'
        )
    return names


def matching_names(soft_labels: Tensor, class_names: Sequence[str] | None) -> list[str] | None:
    """The names if `column_names` accepts as many, else None: they belong to another head."""
    missing = len(soft_labels) - len(class_names or ())
    return list(class_names) if class_names and missing in (0, 1) else None


def draw_soft_labels(
    soft_labels: Tensor, class_names: Sequence[str] | None = None, title: str = ''
) -> np.ndarray:
    """Draw a heat map of the soft labels; row = true class, column = what it is taken for.

    The colours span the off-diagonal entries, where the differences between classes are; the
    diagonal is grey, with its values written in.

    Args:
        soft_labels: (C, C), rows sum to 1.
        class_names: Names of the C columns, or of all but a last one for the background.
        title: Title of the picture.

    Returns:
        RGB image (H, W, 3), uint8.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: The number of names does not match.
    """
    names = column_names(len(soft_labels), class_names)
    require_matplotlib()
    shown = names if len(names) <= MAX_NAMES else []
    with drawn_texts([title], MAX_TITLE) as (title,), drawn_texts(shown) as shown:
        return _draw(soft_labels, shown, title)


def _draw(soft_labels: Tensor, names: Sequence[str], title: str) -> np.ndarray:
    """Draw a heat map with these names at its axes, or none."""
    import numpy as np  # not at the top: without a host, torch is all that the package needs
    from matplotlib.colors import ListedColormap

    size = len(soft_labels)
    inches = 4.5 + 0.32 * min(size, MAX_NAMES)
    figure = new_figure(inches + 1, inches)
    matrix = soft_labels.detach().to('cpu', torch.float32).numpy()
    diagonal = np.eye(size, dtype=bool)
    largest = np.where(diagonal, 0, matrix).max()
    axes = figure.add_subplot()
    mesh = axes.imshow(
        np.ma.masked_array(matrix, diagonal), cmap='magma_r', vmin=0, vmax=largest or 1
    )
    axes.imshow(np.ma.masked_array(matrix, ~diagonal), cmap=ListedColormap(['0.82']))
    figure.colorbar(mesh, ax=axes, label='share of the soft label', shrink=0.8)
    axes.set(xlabel='taken for', ylabel='true class', title=title)
    if names:
        axes.set_xticks(range(size), names, rotation=45, ha='right', rotation_mode='anchor')
        axes.set_yticks(range(size), names)
    if size <= MAX_VALUES:
        _write_values(axes, matrix, dark=0.55 * largest)
        axes.set_title(f'{title}  (in %)' if title else 'in %')
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def _write_values(axes: Any, matrix: np.ndarray, dark: float) -> None:
    """Write each value, in per cent, into its cell; above `dark` in white."""
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            axes.text(
                column,
                row,
                f'{100 * value:.0f}' if value >= 0.095 else f'{100 * value:.1f}',
                ha='center',
                va='center',
                fontsize=7,
                color='white' if row != column and value > dark else 'black',
            )


def save_soft_labels(
    path: str | Path,
    soft_labels: Tensor,
    class_names: Sequence[str] | None = None,
    title: str = '',
) -> None:
    """Save what `draw_soft_labels` draws as a PNG file."""
    image = draw_soft_labels(soft_labels, class_names, title)
    from matplotlib.image import imsave

    imsave(path, image)
