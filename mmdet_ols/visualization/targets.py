"""What one class is taught by different methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmdet_ols.visualization.figures import new_figure, require_matplotlib
from mmdet_ols.visualization.soft_labels import column_names
from mmdet_ols.visualization.texts import drawn_texts

OLS_TITLE = 'soft label of OLS'
#: How many classes a message names.
NAMED = 20


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
        path: Path of the picture.
        soft_labels: (C, C), rows sum to 1.
        name: The class, by name or by number.
        class_names: Names of the C columns, or of all but a last one for the background.
        epsilon: Share that label smoothing spreads over all classes.
        top: With more classes than that, those with the largest shares are shown.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: There is no such class.
    """
    names = column_names(len(soft_labels), class_names)
    size = len(names)
    if name not in names and not (name.isdecimal() and int(name) < size):
        more = f' and {size - NAMED} more' if size > NAMED else ''
        raise ValueError(
            f'The class must be one of {names[:NAMED]}{more} or its number, but got {name!r}.'
        )
    true = names.index(name) if name in names else int(name)
    targets = targets_of_class(soft_labels, true, epsilon)
    shown = list(range(size))
    if size > top:
        largest = (targets[OLS_TITLE] + torch.eye(size)[true]).argsort(descending=True)
        shown = largest[:top].tolist()  # the class itself is the first
    require_matplotlib()
    with drawn_texts([names[index] for index in (true, *shown)]) as (true_name, *shown_names):
        figure = _draw_bars(targets, shown, true)
        axes = figure.axes[-1]
        axes.set_yticks(range(len(shown)), shown_names)
        axes.invert_yaxis()
        more = f' (the {len(shown)} classes with the largest shares)' if len(shown) < size else ''
        figure.supxlabel(f'share of each class in what {true_name} is taught{more}', fontsize=10)
        figure.savefig(path)


def targets_of_class(soft_labels: Tensor, true: int, epsilon: float = 0.1) -> dict[str, Tensor]:
    """The target distributions (C,) of a class under each method, by the title of the method.

    Args:
        soft_labels: (C, C), rows sum to 1.
        true: Index of the class.
        epsilon: Share that label smoothing spreads over all classes.
    """
    size = len(soft_labels)
    hard = torch.eye(size)[true]
    return {
        'hard label': hard,
        f'label smoothing ({epsilon:g})': (1 - epsilon) * hard + epsilon / size,
        OLS_TITLE: soft_labels[true].detach().to('cpu', torch.float32),
    }


def _draw_bars(targets: Mapping[str, Tensor], shown: list[int], true: int) -> Any:
    """Draw one panel of horizontal bars for each target."""
    positive = [value for target in targets.values() for value in target[shown].tolist() if value]
    least = max(min(positive) / 3, 1e-7)
    figure = new_figure(11, 1.4 + 0.26 * len(shown))
    colors = ['C1' if index == true else 'C0' for index in shown]
    for axes, (title, target) in zip(figure.subplots(1, 3, sharey=True), targets.items()):
        values = target[shown].tolist()
        axes.barh(range(len(shown)), values, color=colors)
        for place, value in enumerate(values):
            text = f'{100 * value:.2f}' if value > 1e-3 else f'{100 * value:.1g}'
            axes.text(1.2 * max(value, least), place, f'{text} %', va='center', fontsize=7)
        axes.set_xscale('log')
        axes.set_xlim(least, 8)  # leaves room for the numbers
        axes.minorticks_off()  # a single class would have labels at them
        axes.set_xticks([x for x in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1) if x > least])
        axes.set_title(title, fontsize=10)
        axes.spines[['top', 'right']].set_visible(False)
    return figure
