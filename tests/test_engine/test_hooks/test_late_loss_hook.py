"""A loss that takes the place of another one; runs, also of two processes, are tested elsewhere."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from mmdet_ols import LateLossHook

LATE = dict(type='PairwiseConfusionLoss', num_classes=3)


def owner_of_loss(has_head):
    owner = nn.Module()
    owner.loss_module = nn.CrossEntropyLoss()
    owner.fc = nn.Linear(2, 3)
    model = owner
    if has_head:
        model = nn.Module()
        model.head = owner
    return model, owner


@pytest.mark.parametrize('has_head', [True, False])  # as ImageClassifier, and as TimmClassifier
@pytest.mark.parametrize('first', [0, 1, 3])  # the epochs that were trained before
def test_the_loss_is_replaced_from_an_epoch_on(has_head, first):
    model, owner = owner_of_loss(has_head)
    said = []
    hook = LateLossHook(action_epoch=3, loss=LATE)
    for epoch in range(first, 5):
        logger = SimpleNamespace(info=said.append)
        hook.before_train_epoch(SimpleNamespace(model=model, epoch=epoch, logger=logger))
        expected = 'PairwiseConfusionLoss' if epoch >= 2 else 'CrossEntropyLoss'
        assert type(owner.loss_module).__name__ == expected
    assert len(said) == 1


def test_the_loss_comes_to_the_device_of_the_network():
    model, owner = owner_of_loss(has_head=False)
    model.to('meta')
    hook = LateLossHook(action_epoch=1, loss=dict(type='OLSLoss', num_classes=3))
    logger = SimpleNamespace(info=lambda text: None)
    hook.before_train_epoch(SimpleNamespace(model=model, epoch=0, logger=logger))
    assert {buffer.device.type for buffer in owner.loss_module.buffers()} == {'meta'}


def test_an_epoch_that_is_none_is_named():
    with pytest.raises(ValueError, match='`action_epoch` must be a positive integer, but got 0'):
        LateLossHook(action_epoch=0, loss=LATE)


def test_what_would_never_come_is_said():
    hook = LateLossHook(action_epoch=3, loss=LATE)
    iterations = object.__new__(IterBasedTrainLoop)
    with pytest.raises(ValueError, match='LateLossHook needs an epoch-based loop'):
        hook.before_train(SimpleNamespace(train_loop=iterations))
    said = []
    logger = SimpleNamespace(warning=said.append)
    for max_epochs in (3, 2):
        hook.before_train(SimpleNamespace(train_loop=None, max_epochs=max_epochs, logger=logger))
    assert len(said) == 1 and 'ends after epoch 2' in said[0]
