"""What soft labels say about the classes, and where a checkpoint keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from mmdet_ols.core import SUMS, SparseSoftLabels, dense_soft_labels, state_name
from mmdet_ols.visualization import column_names

if TYPE_CHECKING:
    import numpy as np


class ConfusedPair(NamedTuple):
    """`share` of class `true`'s soft label that lies on class `confused_with`, in [0, 1]."""

    true: str
    confused_with: str
    share: float


def confused_pairs(
    soft_labels: Tensor, class_names: Sequence[str] | None = None, top: int = 10
) -> list[ConfusedPair]:
    """The largest off-diagonal entries of the soft labels (C, C), largest first.

    The background, if there is one, is left out: its own row is a hard label, and a class that
    looks like background is not confused with another class. So are classes whose soft label is
    still the uniform one of the start, since nothing is known about them.
    """
    names = column_names(len(soft_labels), class_names)
    size = len(names) if class_names is None else len(class_names)
    shares = soft_labels[:size, :size].clone().float()
    shares[(soft_labels[:size] == soft_labels[:size, :1]).all(1)] = -1
    shares.fill_diagonal_(-1)
    values, places = shares.flatten().topk(min(top, size * (size - 1)))
    return [
        ConfusedPair(names[place // size], names[place % size], value)
        for value, place in zip(values.tolist(), places.tolist())
        if value >= 0
    ]


def group_contrast(
    soft_labels: Tensor, class_names: Sequence[str], groups: Sequence[Sequence[str]]
) -> tuple[float, float]:
    """How much classes of one group are taken for each other, and for classes of other groups.

    Args:
        soft_labels: (C, C), rows sum to 1.
        class_names: Names of the C columns, or of all but a last one for the background.
        groups: Names of classes that look alike, each in one group at most; a class in no group is
            a group of its own.

    Returns:
        The mean share of a soft label that lies on one other class of the same group, and on one
        of another group, both in [0, 1].

    Raises:
        ValueError: A group names a class that does not exist, or that another group names as well,
            or there are no two classes of one group, or none of different ones.
    """
    names = list(class_names)
    members = [name for group in groups for name in group]
    unknown = set(members) - set(names)
    if unknown:
        raise ValueError(f'`groups` must name classes of {names}, but got {sorted(unknown)}.')
    repeated = sorted({name for name in members if members.count(name) > 1})
    if repeated:
        raise ValueError(f'`groups` must name each class once, but got {repeated} several times.')
    if not 1 < max(map(len, groups), default=0) < len(names):
        raise ValueError(
            '`groups` must have a group of several classes and leave a class outside it, but got '
            f'{[list(group) for group in groups]}.'
        )
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
    matrices = find_soft_labels(checkpoint)
    if not matrices:
        raise ValueError(
            'The checkpoint holds no soft labels: it was trained without an online soft-label loss '
            "(type='OLSLoss')."
        )
    return matrices


def find_soft_labels(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """As `soft_labels_in_checkpoint`, but a checkpoint may hold none."""
    state = checkpoint.get('state_dict', checkpoint)
    sparse = SparseSoftLabels.in_use
    matrices = {}
    for key, value in state.items():
        path, _, name = key.rpartition('.')
        prefix = key[: -len(name)]
        loss = state_name(path)  # in earlier checkpoints the loss has these entries itself
        if name == 'soft_labels' and prefix + SUMS[0] in state:
            matrices[loss] = value
        elif name == sparse[0] and all(prefix + part in state for part in sparse):
            matrices[loss] = dense_soft_labels(*(state[prefix + part] for part in sparse))
    return matrices


def profiles_in_checkpoint(checkpoint: dict[str, Any], size: int) -> tuple[str, np.ndarray] | None:
    """The last loss of a checkpoint with soft labels of `size` classes, and these (size, size).

    Args:
        checkpoint: As for `soft_labels_in_checkpoint`; None is returned if it holds none.
        size: The number of classes; one for the background, behind them, is left out.
    """
    for loss, matrix in reversed(find_soft_labels(checkpoint).items()):
        if len(matrix) - size in (0, 1):
            return loss, matrix[:size, :size].float().numpy()
    return None
