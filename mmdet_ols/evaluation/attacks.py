"""Adversarial attacks on classifiers: FGSM, PGD, and the grid of small ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmdet_ols.core.arguments import check_choice, check_integer, check_number


def _margin(score: Tensor, label: Tensor) -> Tensor:
    """The best wrong score minus the true one, summed over the samples."""
    true = score.gather(1, label[:, None])
    return (score.scatter(1, label[:, None], -torch.inf).amax(dim=1, keepdim=True) - true).sum()


# Sums, not means: the gradient of a sample must not depend on how many others are in the batch.
OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'cross_entropy': lambda score, label: F.cross_entropy(score, label, reduction='sum'),
    'margin': _margin,
}


@dataclass(frozen=True)
class Attack:
    """Steps along the sign of the gradient, with every pixel kept within `eps` of its value.

    FGSM (Goodfellow et al., ICLR 2015, https://arxiv.org/abs/1412.6572) is one step of length `eps`
    from the image; PGD (Madry et al., ICLR 2018, https://arxiv.org/abs/1706.06083) is several
    smaller ones from a random point of the box.

    Args:
        name: Name under which the results are logged.
        eps: Half the width of the box around a pixel, on the scale 0 to 255.
        step: Length of a step on that scale; None is `eps`.
        steps: Number of steps.
        random_start: Whether to start from a uniformly random point of the box.
        objective: What the attack maximises: 'cross_entropy', or 'margin', the best wrong score
            minus the true one (Carlini and Wagner), whose gradient does not vanish where a network
            is very confident. Where the first attack fails and the second succeeds, the gradient
            was masked, and the network is not robust.

    Raises:
        ValueError: An argument is out of range.
    """

    name: str
    eps: float
    step: float | None = None
    steps: int = 1
    random_start: bool = False
    objective: str = 'cross_entropy'

    def __post_init__(self) -> None:
        note = f' of the attack {self.name!r}'
        for key, value in (('eps', self.eps), ('step', self.step_size)):
            remedy = 'pixels are 0 to 255, so 8/255 is 8'
            check_number(key, value, 'in (0, 255]', note, remedy)
        check_integer('steps', self.steps, note=note)
        if (self.steps > 1 or self.random_start) and self.step is None:
            raise ValueError(
                f'`step`{note} must be given, since it has '
                f'{"a random start" if self.steps == 1 else "several steps"}.'
            )
        check_choice('objective', self.objective, OBJECTIVES, note)

    @property
    def step_size(self) -> float:
        """Length of a step: `step`, or `eps` where that is None."""
        return self.eps if self.step is None else self.step

    def perturb(
        self,
        score: Callable[[list[Tensor]], Tensor],
        images: Sequence[Tensor],
        label: Tensor,
        generator: torch.Generator,
    ) -> list[Tensor]:
        """Attack a batch.

        Args:
            score: Gives the scores (n, classes) of a batch of images, before softmax.
            images: Pixels from 0 to 255, in any number of tensors of any shape.
            label: True labels (n,).
            generator: Random numbers of the start, on the CPU.

        Returns:
            The attacked images, as float.
        """
        boxes = [(x.sub(self.eps).clamp(min=0), x.add(self.eps).clamp(max=255)) for x in images]
        attacked = [x.detach() for x in images]
        if self.random_start:
            shifts = [torch.rand(x.shape, generator=generator).to(x) for x in attacked]
            attacked = [
                (x + self.eps * (2 * shift - 1)).clamp(0, 255) for x, shift in zip(attacked, shifts)
            ]
        for _ in range(self.steps):
            for x in attacked:
                x.requires_grad_()
            with torch.enable_grad():
                objective = OBJECTIVES[self.objective](score(attacked), label)
            # Only with respect to the pixels: gradients of the weights are neither computed nor
            # touched.
            gradients = torch.autograd.grad(objective, attacked)
            attacked = [
                (x.detach() + self.step_size * gradient.sign()).clamp(low, high)
                for x, gradient, (low, high) in zip(attacked, gradients, boxes)
            ]
        return attacked


FGSM = dict(name='fgsm', eps=8)
PGD = dict(name='pgd', eps=8, step=2, steps=20, random_start=True)


def small_pgd_attacks(steps: int = 20) -> list[dict[str, Any]]:
    """Settings of PGD among which the one of the paper's Tables VIII and IX may be.

    The paper uses PGD "as in Peterson et al." with 20 iterations and does not state its size. Its
    figures (6.8 % of CIFAR-10 survive, and on ImageNet PGD does less harm to the top-5 error than
    FGSM) cannot come from the usual 8/255 with steps of 2/255, which leaves nothing of an
    undefended network. Run these on the hard-label network, and use the setting that reproduces
    the paper's hard-label row for all methods; publish the usual one as well.

    In a config: `attacks=__import__('mmdet_ols').small_pgd_attacks()`.

    Returns:
        `attacks` of AdversarialErrorHook, called `pgd_EPS_STEP` and `pgd_EPS_STEP_random`, such as
        `pgd_1_0.25`.
    """
    return [
        dict(
            name=f'pgd_{eps}_{step:g}{"_random" if random_start else ""}',
            eps=eps,
            step=step,
            steps=steps,
            random_start=random_start,
        )
        for eps in (1, 2, 4, 8)
        for step in sorted({eps / 10, eps / 4, 0.5, 1.0, 2.0})
        for random_start in (False, True)
    ]
