"""Prototypes of classes among the features of samples, and the class that a sample is like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SELECTIONS = ('density', 'smallest_similarity')
#: Samples that are compared with all prototypes at a time.
CHUNK = 4096


class Standing(NamedTuple):
    """How samples of one class stand among each other; both of shape (n,)."""

    #: How many more of the others are similar to a sample than are not.
    density: Tensor
    #: The largest similarity to a sample of higher density; for the densest, the smallest of all.
    similarity: Tensor


def standing(features: Tensor, top_share: float = 0.4) -> Standing:
    """Compare the samples of one class with each other, by the cosine of their features.

    Args:
        features: (n, D).
        top_share: Share of all pairs that count as similar.
    """
    unit = F.normalize(features, dim=1)
    cosines = unit @ unit.T
    pairs = cosines.flatten()
    similar = max(1, int(round(top_share * len(pairs), 6)))
    threshold = pairs.kthvalue(len(pairs) - similar + 1).values
    density = (cosines - threshold).sign().sum(1)
    denser = density[None, :] > density[:, None]
    nearest = cosines.masked_fill(~denser, -torch.inf).amax(1)
    return Standing(density, torch.where(denser.any(1), nearest, cosines.amin(1)))


def choose_prototypes(
    features: Tensor,
    count: int = 8,
    top_share: float = 0.4,
    threshold: float = 0.95,
    selection: str = 'density',
) -> Tensor:
    """Choose samples that stand for a class: typical ones which differ from each other.

    Args:
        features: (n, D), of the samples of one class.
        count: How many to choose; all if there are no more.
        top_share: See `standing`.
        threshold: With 'density', the largest `Standing.similarity` of a prototype. Where fewer
            samples are below, those of the smallest similarity follow.
        selection: 'density' takes those of the highest density below the threshold,
            'smallest_similarity' those of the smallest similarity.

    Returns:
        Their indices, in the order in which they were chosen.
    """
    density, similarity = standing(features, top_share)
    by_similarity = similarity.argsort(stable=True)
    if selection == 'smallest_similarity':
        return by_similarity[:count]
    by_density = density.argsort(descending=True, stable=True)
    chosen = by_density[similarity[by_density] < threshold][:count]
    rest = by_similarity[~torch.isin(by_similarity, chosen)]
    return torch.cat([chosen, rest[: count - len(chosen)]])


def nearest_class(features: Tensor, prototypes: Sequence[Tensor]) -> Tensor:
    """The class whose prototypes a sample is most similar to, in the mean of the cosines.

    Args:
        features: (N, D).
        prototypes: For each class, the features (p, D) of its prototypes; p may be 0, and then no
            sample is like the class.

    Returns:
        Of shape (N,), int64.
    """
    # The mean of the cosines is the cosine with the mean of the unit vectors, times its length.
    centres = torch.stack(
        [
            F.normalize(own, dim=1).mean(0) if len(own) else features.new_zeros(features.shape[1])
            for own in prototypes
        ]
    )
    empty = torch.tensor([not len(own) for own in prototypes], device=features.device)
    labels = [
        (F.normalize(chunk, dim=1) @ centres.T).masked_fill(empty, -torch.inf).argmax(1)
        for chunk in features.split(CHUNK)
    ]
    return torch.cat(labels)
