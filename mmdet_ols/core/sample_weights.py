"""Weights of samples that are learned from a few clean ones: L2RW and Meta-Weight-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.core.sample_gradients import (
    Parameters,
    SampleDerivatives,
    SampleLosses,
    gradient,
    total,
    total_count,
)

#: What trains a weighting network by default. The authors' learning rate is 1e-3; a hundredth of it
#: keeps the sigmoid from being saturated before the network tells right labels from wrong ones.
OPTIMIZER = dict(type='Adam', lr=1e-5, weight_decay=1e-4)


def learned_weights(
    noisy: SampleLosses,
    clean: SampleLosses,
    parameters: Parameters,
    derivatives: SampleDerivatives,
) -> tuple[Tensor, Tensor]:
    """Weigh samples by how much a step on each helps a clean batch (L2RW).

    Reference: `Learning to Reweight Examples <https://arxiv.org/abs/1803.09050>`_ (Ren et al., ICML
    2018).

    A sample's weight is the inner product of the gradients of its loss and of the clean batch's
    mean loss, or 0 where that is negative. The weights of all processes sum to 1; where no sample
    helps, all are 0.

    Args:
        noisy: The losses of the batch that is weighed.
        clean: The losses of the clean batch.
        parameters: The trained parameters as they are now.
        derivatives: Computes the inner products.

    Returns:
        The weights, of shape (n,), and the mean loss of the clean batches of all processes.
    """
    losses, direction = gradient(clean, parameters, _mean)
    helps = derivatives(noisy, parameters, direction).clamp(min=0)
    return helps / _or_one(total(helps.sum())), total(_mean(losses))


def _or_one(sum_: Tensor) -> Tensor:
    """A divisor that leaves a batch at 0 in which every weight is."""
    return torch.where(sum_ > 0, sum_, torch.ones_like(sum_))


def _mean(losses: Tensor) -> Tensor:
    """This process's part of the mean loss of the batches of all processes."""
    return losses.sum() / total_count(losses)


class WeightingNetwork(nn.Module):
    """A small network that turns the loss of a sample into its weight (Meta-Weight-Net).

    Reference: `Meta-Weight-Net <https://arxiv.org/abs/1902.07379>`_ (Shu et al., NeurIPS 2019).

    Args:
        hidden: Width of its one hidden layer.
        normalize: Whether the weights of a batch are divided by their sum, as in the authors' first
            script; else by the number of samples, as in the paper.

    Raises:
        ValueError: The width is no positive integer.
    """

    def __init__(self, hidden: int = 100, normalize: bool = False) -> None:
        super().__init__()
        check_integer('hidden', hidden, note=', the width of the weighting network,')
        self.normalize = normalize
        self.layers = nn.Sequential(
            nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid()
        )

    def forward(self, losses: Tensor) -> Tensor:
        """The weight of each sample, in [0, 1]; nothing flows back into the losses.

        Args:
            losses: Of shape (n,).
        """
        inputs = losses.detach()[:, None].to(next(self.parameters()).dtype)
        return self.layers(inputs)[:, 0]

    def shares(self, weights: Tensor) -> Tensor:
        """What each sample's loss is multiplied by in the sum that a step is taken on.

        Args:
            weights: As `forward` returns them.
        """
        if not self.normalize:
            return weights / total_count(weights)
        return weights / _or_one(total(weights.sum()))

    def meta_gradient(
        self,
        noisy: SampleLosses,
        clean: SampleLosses,
        parameters: Parameters,
        rates: Parameters,
        derivatives: SampleDerivatives,
    ) -> Tensor:
        """Differentiate the clean loss after a trial step, and leave the gradients in `.grad`.

        The trial is a plain gradient step of the model on the weighted losses. By the chain rule,
        a sample's share adds to the clean loss after it as much as the sample's loss changes along
        the clean gradient there, times the learning rate, negated.

        Args:
            noisy: The losses of the batch that is weighed.
            clean: The losses of the clean batch.
            parameters: The trained parameters as they are now.
            rates: The learning rate of each of them in the trial step.
            derivatives: Computes how the losses of samples change.

        Returns:
            The mean loss of the clean batches of all processes after the trial step.
        """
        losses, slope = gradient(
            noisy, parameters, lambda losses: (self.shares(self(losses)).detach() * losses).sum()
        )
        moved = {
            name: value.detach() - rates[name] * slope[name] for name, value in parameters.items()
        }
        clean_losses, clean_slope = gradient(clean, moved, _mean)
        direction = {name: rates[name] * clean_slope[name] for name in clean_slope}
        helps = derivatives(noisy, parameters, direction)
        with torch.enable_grad():
            weights = self(losses)
            # Of normalised weights the sum is a function of all, and of all processes' samples.
            mean = total((self.shares(weights) * helps).sum()) if self.normalize else 0
            scale = _or_one(total(weights.sum())) if self.normalize else total_count(weights)
            cost = -((helps - mean) * weights).sum() / scale
            grads = torch.autograd.grad(cost, list(self.parameters()))
        for parameter, grad in zip(self.parameters(), grads):
            parameter.grad = total(grad)
        return total(_mean(clean_losses))
