"""A mixture of two beta distributions: the losses of samples with right and with wrong labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Normalised losses stay this far from 0 and 1, where the densities may be infinite.
MARGIN = 1e-3
#: The percentiles that losses are normalised by; what lies outside does not count.
PERCENTILES = (5.0, 95.0)
BINS = 100
#: Probabilities stay this far from 0 and 1.
SURE = 1e-4
#: The smallest variance of a component.
SMALLEST_VARIANCE = 1e-6


class BetaMixture(NamedTuple):
    """Two components, each with its parameters and its share; all float64, of shape (2,)."""

    alpha: Tensor
    beta: Tensor
    share: Tensor

    @property
    def means(self) -> Tensor:
        """The means of the components, of shape (2,)."""
        return self.alpha / (self.alpha + self.beta)

    def responsibilities(self, values: Tensor) -> Tensor:
        """The probability of each component given a value.

        Args:
            values: In (0, 1), of shape (n,).

        Returns:
            Of shape (n, 2); rows sum to 1.
        """
        values = values.double()[:, None]
        log_norm = (
            torch.lgamma(self.alpha + self.beta)
            - torch.lgamma(self.alpha)
            - torch.lgamma(self.beta)
        )
        log_density = (
            (self.alpha - 1) * values.log() + (self.beta - 1) * (1 - values).log() + log_norm
        )
        return torch.softmax(log_density + self.share.log(), dim=1)

    def high_probability(self, values: Tensor) -> Tensor:
        """The probability of the component with the higher mean, of shape (n,)."""
        return self.responsibilities(values)[:, int(self.means.argmax())]


def fit_beta_mixture(values: Tensor, iterations: int = 10) -> BetaMixture:
    """Estimate a mixture by expectation and maximisation, with moments in place of the latter.

    It starts with the parameters (1, 2) and (2, 1) and equal shares.

    Args:
        values: In (0, 1), of shape (n,).
        iterations: How often both steps are done.
    """
    values = values.double()
    mixture = BetaMixture(
        *(torch.tensor(start, dtype=torch.float64) for start in ([1, 2], [2, 1], [0.5, 0.5]))
    )
    for _ in range(iterations):
        weight = mixture.responsibilities(values)
        total = weight.sum(0).clamp(min=1e-12)
        mean = (weight * values[:, None]).sum(0) / total
        variance = (weight * (values[:, None] - mean).square()).sum(0) / total
        # Of values in (0, 1), it is below mean * (1 - mean), so that both parameters are positive.
        variance = variance.clamp(min=SMALLEST_VARIANCE)
        alpha = mean * (mean * (1 - mean) / variance - 1)
        beta = alpha * (1 - mean) / mean
        mixture = BetaMixture(alpha, beta, total / total.sum())
    return mixture


class LossScale(NamedTuple):
    """The range of losses that is mapped to (0, 1); of shape () each."""

    low: Tensor
    high: Tensor

    def normalise(self, losses: Tensor) -> Tensor:
        """Map losses to [0.001, 0.999]."""
        width = (self.high - self.low).clamp(min=1e-12)
        return ((losses - self.low) / width).clamp(MARGIN, 1 - MARGIN)


class LossMixture(NamedTuple):
    """What the losses of all samples say about those with wrong labels."""

    mixture: BetaMixture
    scale: LossScale
    #: (100,), float64: the probability of a wrong label by normalised loss.
    table: Tensor

    def wrong_probability(self, losses: Tensor) -> Tensor:
        """How likely samples with these losses have wrong labels; see `look_up`."""
        return look_up(self.table, self.scale, losses)


def look_up(table: Tensor, scale: LossScale, losses: Tensor) -> Tensor:
    """The probability of a wrong label for each loss, in [0.0001, 0.9999]."""
    bins = (scale.normalise(losses) * len(table)).long().clamp(0, len(table) - 1)
    return table[bins].clamp(SURE, 1 - SURE)


def fit_losses(losses: Tensor, iterations: int = 10) -> LossMixture:
    """Tell the losses of samples with right labels from those of samples with wrong ones.

    Losses outside the 5th and the 95th percentile are left out of the estimate. Beyond the loss of
    the highest probability, the probability stays as high, and below the loss of the lowest one as
    low: a very large loss must not make a label look right, nor a very small one make it look
    wrong, which the density of the broader component would.

    Args:
        losses: Of all samples, of shape (N,).
        iterations: See `fit_beta_mixture`.

    Raises:
        ValueError: There are fewer than two losses.
    """
    if len(losses) < 2:
        raise ValueError(
            f'`losses` must be those of at least two samples, but got {len(losses)}: a mixture '
            'cannot be estimated from them.'
        )
    losses = losses.double()
    low, high = (_percentile(losses, share) for share in PERCENTILES)
    scale = LossScale(low, high)
    inside = losses[(losses >= low) & (losses <= high)]
    if len(inside) < 2:  # there are too few to leave any out
        inside = losses
    mixture = fit_beta_mixture(scale.normalise(inside), iterations)
    points = torch.linspace(0, 1, BINS, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    table = mixture.high_probability(points)
    start = int((points < mixture.means.min()).sum())  # at 0, the probability may be 1 as well
    top = start + int(table[start:].argmax())
    table[top:] = table[top]
    bottom = int(table.argmin())
    table[:bottom] = table[bottom]
    return LossMixture(mixture, scale, table)


def _percentile(values: Tensor, percentage: float) -> Tensor:
    """A percentile, interpolated between two values; `torch.quantile` refuses long tensors."""
    ordered = values.sort().values
    place = percentage / 100 * (len(values) - 1)
    lower = int(place)
    upper = min(lower + 1, len(values) - 1)
    return ordered[lower] + (place - lower) * (ordered[upper] - ordered[lower])
