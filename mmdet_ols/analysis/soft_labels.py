"""What the soft labels say about the classes: a picture and a ranked list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from mmdet_ols.core import SUMS, SparseSoftLabels, dense_soft_labels, state_name

if TYPE_CHECKING:
    import numpy as np

#: Above this number of classes the names are left off the axes, and the values off the cells.
MAX_NAMES, MAX_VALUES = 60, 25


class ConfusedPair(NamedTuple):
    """`share` of class `true`'s soft label that lies on class `confused_with`, in [0, 1]."""

    true: str
    confused_with: str
    share: float


def column_names(size: int, class_names: Sequence[str] | None) -> list[str]:
    """Names for `size` score columns; a column more than names is the background.

    Raises:
        ValueError: The number of names fits neither `size` nor `size` - 1.
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


def fitting_names(soft_labels: Tensor, class_names: Sequence[str] | None) -> list[str] | None:
    """The names if there are as many as `column_names` takes, else None: another head's classes."""
    missing = len(soft_labels) - len(class_names or ())
    return list(class_names) if class_names and missing in (0, 1) else None


def confused_pairs(
    soft_labels: Tensor, class_names: Sequence[str] | None = None, top: int = 10
) -> list[ConfusedPair]:
    """The largest off-diagonal entries of the soft labels (C, C), largest first.

    The background, if there is one, is left out: its own row is a hard label, and how much of a
    class looks like background is no confusion between classes.
    """
    names = column_names(len(soft_labels), class_names)
    size = len(names) - (class_names is not None and len(class_names) < len(names))
    shares = soft_labels[:size, :size].clone().float()
    shares.fill_diagonal_(-1)
    values, places = shares.flatten().topk(min(top, size * (size - 1)))
    return [
        ConfusedPair(names[place // size], names[place % size], value)
        for value, place in zip(values.tolist(), places.tolist())
    ]


def group_contrast(
    soft_labels: Tensor, class_names: Sequence[str], groups: Sequence[Sequence[str]]
) -> tuple[float, float]:
    """How much classes of one group are taken for each other, and for classes of other groups.

    Args:
        soft_labels: (C, C), rows sum to 1.
        class_names: Names of the C columns, or of all but a last one for the background.
        groups: Names of classes that look alike; a class in no group is a group of its own.

    Returns:
        The mean share of a soft label that lies on one other class of the same group, and on one
        of another group, both in [0, 1].

    Raises:
        ValueError: A group names a class that does not exist.
    """
    names = list(class_names)
    unknown = {name for group in groups for name in group} - set(names)
    if unknown:
        raise ValueError(f'`groups` must name classes of {names}, but got {sorted(unknown)}.')
    group_of = {name: index for index, group in enumerate(groups) for name in group}
    label = torch.tensor([group_of.get(name, -index - 1) for index, name in enumerate(names)])
    alike = label[:, None] == label
    shares = soft_labels[: len(names), : len(names)]
    inside = shares[alike & ~torch.eye(len(names), dtype=torch.bool)]
    return inside.mean().item(), shares[~alike].mean().item()


def table_of_pairs(pairs: Sequence[ConfusedPair]) -> str:
    """The pairs as lines of text."""
    width = max((len(pair.true) for pair in pairs), default=0)
    return '\n'.join(
        f'{pair.share:8.2%}  of {pair.true:{width}} is taken for {pair.confused_with}'
        for pair in pairs
    )


def soft_labels_in_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Every soft-label matrix of a checkpoint, by the name of its loss; sparse ones made dense.

    Args:
        checkpoint: As `torch.load` gives it: MMEngine's, or a bare state dict.

    Raises:
        ValueError: It holds none.
    """
    state = checkpoint.get('state_dict', checkpoint)
    sparse = SparseSoftLabels.in_use
    found = {}
    for key, value in state.items():
        path, _, name = key.rpartition('.')
        prefix = key[: -len(name)]
        loss = state_name(path)  # in earlier checkpoints the loss has these entries itself
        if name == 'soft_labels' and prefix + SUMS[0] in state:
            found[loss] = value
        elif name == sparse[0] and all(prefix + part in state for part in sparse):
            found[loss] = dense_soft_labels(*(state[prefix + part] for part in sparse))
    if not found:
        raise ValueError(
            'The checkpoint holds no soft labels: it was trained without an online soft-label loss '
            "(type='OLSLoss')."
        )
    return found


def draw_soft_labels(
    soft_labels: Tensor, class_names: Sequence[str] | None = None, title: str = ''
) -> np.ndarray:
    """Heat map of the soft labels; row = true class, column = what it is taken for.

    The colours span the off-diagonal entries, where the differences between classes are; the
    diagonal is grey with its value written in.

    Args:
        soft_labels: (C, C), rows sum to 1.
        class_names: Names of the C columns, or of all but a last one for the background.
        title: Written above.

    Returns:
        RGB image (H, W, 3), uint8.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: The number of names does not fit.
    """
    try:
        import numpy as np
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: pip install 'mmdet_ols[plot]'.") from error

    names = column_names(len(soft_labels), class_names)
    size = len(names)
    matrix = soft_labels.detach().to('cpu', torch.float32).numpy()
    diagonal = np.eye(size, dtype=bool)

    inches = 4.5 + 0.32 * min(size, MAX_NAMES)
    figure = Figure(figsize=(inches + 1, inches), dpi=110, layout='constrained')
    canvas = FigureCanvasAgg(figure)  # no pyplot: nothing global, no display needed
    axes = figure.add_subplot()
    mesh = axes.imshow(np.ma.masked_array(matrix, diagonal), cmap='magma_r', vmin=0)
    axes.imshow(np.ma.masked_array(matrix, ~diagonal), cmap=ListedColormap(['0.82']))
    figure.colorbar(mesh, ax=axes, label='share of the soft label', shrink=0.8)
    axes.set(xlabel='taken for', ylabel='true class', title=title)
    if size <= MAX_NAMES:
        axes.set_xticks(range(size), names, rotation=45, ha='right', rotation_mode='anchor')
        axes.set_yticks(range(size), names)
    if size <= MAX_VALUES:
        dark = 0.55 * matrix[~diagonal].max(initial=0)
        for row in range(size):
            for column in range(size):
                value = matrix[row, column]
                white = row != column and value > dark
                axes.text(
                    column,
                    row,
                    f'{100 * value:.0f}' if value >= 0.095 else f'{100 * value:.1f}',
                    ha='center',
                    va='center',
                    fontsize=7,
                    color='white' if white else 'black',
                )
        axes.set_title(f'{title}  (in %)' if title else 'in %')
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_target(
    path: str | Path,
    soft_labels: Tensor,
    name: str,
    class_names: Sequence[str] | None = None,
    epsilon: float = 0.1,
    top: int = 20,
) -> None:
    """Draw what one class is taught by hard labels, label smoothing and OLS, on a log axis.

    Args:
        path: Where the picture goes.
        soft_labels: (C, C), rows sum to 1.
        name: The class, by name or by number.
        class_names: Names of the C columns, or of all but a last one for the background.
        epsilon: Share that label smoothing spreads over all classes.
        top: With more classes than that, those with the largest shares are shown.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: There is no such class.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: pip install 'mmdet_ols[plot]'.") from error

    names = column_names(len(soft_labels), class_names)
    size = len(names)
    if name not in names and not (name.isdecimal() and int(name) < size):
        raise ValueError(f'The class must be one of {names} or its number, but got {name!r}.')
    true = names.index(name) if name in names else int(name)
    hard = torch.eye(size)[true]
    targets = {
        'hard label': hard,
        f'label smoothing ({epsilon:g})': (1 - epsilon) * hard + epsilon / size,
        'soft label of OLS': soft_labels[true].detach().to('cpu', torch.float32),
    }
    shown = list(range(size))
    if size > top:
        largest = (targets['soft label of OLS'] + hard).argsort(descending=True)  # itself first
        shown = largest[:top].tolist()
    positive = [value for target in targets.values() for value in target[shown].tolist() if value]
    least = max(min(positive) / 3, 1e-7)

    figure = Figure(figsize=(11, 1.4 + 0.26 * len(shown)), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)  # no pyplot: nothing global, no display needed
    colors = ['C1' if index == true else 'C0' for index in shown]
    for axes, (title, target) in zip(figure.subplots(1, 3, sharey=True), targets.items()):
        values = target[shown].tolist()
        axes.barh(range(len(shown)), values, color=colors)
        for place, value in enumerate(values):
            text = f'{100 * value:.2f}' if value > 1e-3 else f'{100 * value:.1g}'
            axes.text(1.2 * max(value, least), place, f'{text} %', va='center', fontsize=7)
        axes.set_xscale('log')
        axes.set_xlim(least, 8)  # room for the numbers
        axes.set_xticks([x for x in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1) if x > least])
        axes.set_title(title, fontsize=10)
        axes.spines[['top', 'right']].set_visible(False)
    axes.set_yticks(range(len(shown)), [names[index] for index in shown])
    axes.invert_yaxis()
    more = f' (the {len(shown)} classes with the largest shares)' if len(shown) < size else ''
    figure.supxlabel(f'share of each class in what {names[true]} is taught{more}', fontsize=10)
    figure.savefig(path)


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
