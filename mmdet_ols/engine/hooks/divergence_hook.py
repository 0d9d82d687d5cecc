"""Says that a training has diverged, before hours of it are lost."""

from __future__ import annotations

from typing import Any

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.evaluation.passes import unwrapped
from mmdet_ols.registry import Hook, register_hook


class DivergenceError(ArithmeticError):
    """The weights of a network are not finite any more, and will not be again."""


@register_hook
class DivergenceHook(Hook):
    """Says that the weights of a training are not finite any more, or ends it.

    A loss may be infinite for a step, as in half precision, which then skips it. Weights that are
    NaN stay so, and whatever a network with such weights teaches is wrong as well. The tools add
    this hook to every training; it warns, and with `--strict` ends the training. The weights are
    looked at before those of an epoch are saved.

    Args:
        interval: Look at the weights every so many iterations, and after each epoch.
        strict: Whether to end the training; else there is one warning in the log.

    Raises:
        ValueError: The interval is no positive integer.
        DivergenceError: In the training, if it is strict and a weight is not finite.
    """

    # Before all hooks that learn from the network or save it.
    priority = 'HIGH'

    def __init__(self, interval: int = 100, strict: bool = True) -> None:
        super().__init__()
        check_integer('interval', interval)
        self.interval = interval
        self.strict = strict
        self._said = False

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if self.every_n_train_iters(runner, self.interval):
            self._check(runner, runner.iter + 1)

    def after_train_epoch(self, runner: Any) -> None:
        self._check(runner, runner.iter)

    def _check(self, runner: Any, iterations: int) -> None:
        if self._said:
            return
        for name, weight in unwrapped(runner.model).named_parameters():
            if not weight.requires_grad or weight.detach().isfinite().all():
                continue
            message = (
                f'The training has diverged: after {iterations} iterations, in epoch '
                f'{runner.epoch + 1}, `{name}` is not finite any more. Start again with a '
                'lower learning rate or a longer warm-up, or clip the gradients: '
                '--cfg-options optim_wrapper.clip_grad.max_norm=10'
            )
            if self.strict:
                raise DivergenceError(message)
            runner.logger.warning(message)
            self._said = True
            return
