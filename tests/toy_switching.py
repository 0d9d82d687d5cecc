"""A small classifier whose loss is exchanged during the training, as MMPretrain's recipes do."""

from __future__ import annotations

from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn
from toy_runner import NUM_CLASSES, OLS, ToyClassifier, train

PLAIN = dict(type=nn.CrossEntropyLoss)


@MODELS.register_module()
class SwitchingClassifier(BaseModel):
    """The first head of `ToyClassifier`, its loss where MMPretrain's heads have it."""

    def __init__(self, loss):
        super().__init__()
        self.head = nn.Module()
        self.head.loss_module = MODELS.build(loss)
        self.head.fc = ToyClassifier(OLS).heads['head']
        # It changes nothing but its own buffers, which come after those of the loss.
        self.head.norm = nn.BatchNorm1d(NUM_CLASSES + 1, affine=False)

    def forward(self, inputs, label, mode):
        scores = self.head.fc(inputs)
        if len(label) > 1:
            self.head.norm(scores.detach())
        loss = self.head.loss_module(scores, label)
        return dict(loss=loss) if mode == 'loss' else [dict() for _ in label]


def train_switching(work_dir, batches, first, switches, hooks=(), wrapper=None, **kwargs):
    """`toy_runner.train` with other losses from some epochs on.

    Args:
        work_dir: As `train` has it, like all that is not named here.
        batches: As `train` has it.
        first: Config of the loss of the first epoch.
        switches: {epoch: config of a loss}, the first epoch being 1.
        hooks: More custom_hooks, which come before the one that exchanges losses.
        wrapper: As `train` has it.
    """
    schedule = [dict(action_epoch=epoch, loss=loss) for epoch, loss in switches.items()]
    if wrapper:  # in which MMPretrain's hook does not find the loss
        switch = [dict(type='LateLossHook', **entries) for entries in schedule]
    else:
        switch = [dict(type='mmpretrain.SwitchRecipeHook', schedule=schedule)]
    return train(
        work_dir,
        batches,
        model=dict(type='SwitchingClassifier', loss=first),
        hooks=[*hooks, *switch],
        wrapper=wrapper,
        **kwargs,
    )
