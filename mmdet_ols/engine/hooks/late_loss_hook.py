"""A loss that takes the place of another one in a late epoch."""

from __future__ import annotations

from typing import Any

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.engine.hooks.epochs import need_epochs
from mmdet_ols.evaluation.passes import unwrapped
from mmdet_ols.registry import Hook, register_hook


@register_hook
class LateLossHook(Hook):
    """Replaces the loss of a classifier from an epoch on, also in a run that is resumed.

    MMPretrain's `SwitchRecipeHook` does the same in one process. In several it fails at that epoch,
    since it looks for the head on DDP's wrapper (as of onedl-mmpretrain 1.3.6).

    Args:
        action_epoch: The first epoch with the new loss, counted from 1, as in `SwitchRecipeHook`.
        loss: Config of the new loss.

    Raises:
        ValueError: The epoch is no positive integer, or the loop counts no epochs.
    """

    def __init__(self, action_epoch: int, loss: dict[str, Any]) -> None:
        from mmengine.registry import MODELS

        super().__init__()
        check_integer('action_epoch', action_epoch)
        self.action_epoch = action_epoch
        self.loss = MODELS.build(loss)
        self._replaced = False

    def before_train(self, runner: Any) -> None:
        need_epochs(self, runner)
        if self.action_epoch > runner.max_epochs:
            runner.logger.warning(
                'LateLossHook will never replace the loss: `action_epoch` is '
                f'{self.action_epoch}, but the training ends after epoch {runner.max_epochs}.'
            )

    def before_train_epoch(self, runner: Any) -> None:
        if self._replaced or runner.epoch + 1 < self.action_epoch:
            return
        model: Any = unwrapped(runner.model)
        # TimmClassifier and HuggingFaceClassifier have no head.
        owner = model if hasattr(model, 'loss_module') else model.head
        owner.loss_module = self.loss.to(next(model.parameters()).device)
        self._replaced = True
        runner.logger.info(f'From epoch {runner.epoch + 1} on the loss is {self.loss}.')
