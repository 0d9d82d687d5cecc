"""The losses in MMPretrain's heads and models, as its users write them."""

from __future__ import annotations

from uuid import uuid4

import mmpretrain  # noqa: F401  (registers what the configs name)
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch.testing import assert_close
from torch.utils.data import DataLoader

C = 5
LOSSES = [
    dict(type='BootstrapLoss', num_classes=C),
    dict(type='BootstrapLoss', num_classes=C, mode='hard'),
    dict(type='DisturbLabelLoss', num_classes=C),
    dict(type='LSLoss', num_classes=C),
    dict(type='OLSLoss', num_classes=C),
    dict(type='OLSSingleLoss', num_classes=C),
    dict(type='OLSSparseLoss', num_classes=C, top_m=2),
    dict(type='PairwiseConfusionLoss', num_classes=C),
    dict(type='SCELoss', num_classes=C),
    dict(type='TfKDRegLoss', num_classes=C),
]
AUGMENTS = [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]


def classifier(loss, augments=None):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=dict(type='LeNet5'),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=C, in_channels=120, loss=loss),
                data_preprocessor=dict(num_classes=C, to_onehot=bool(augments)),
                train_cfg=dict(augments=augments) if augments else None,
            )
        )


def images(n):
    generator = torch.Generator().manual_seed(5)
    return [
        dict(
            inputs=torch.rand(1, 32, 32, generator=generator),
            data_samples=DataSample().set_gt_label(
                int(torch.randint(C, (1,), generator=generator))
            ),
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize('augments', [None, AUGMENTS])
@pytest.mark.parametrize('loss', LOSSES, ids=lambda loss: '-'.join(map(str, loss.values())))
def test_training_step(loss, augments):
    """With mixup and CutMix, too: what the head gives is what the loss gives for those labels."""
    model, calls = classifier(loss, augments), []
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        criterion = MODELS.build(loss)
    hook = model.head.loss_module.register_forward_pre_hook(
        lambda module, args: calls.append((args, torch.get_rng_state()))
    )
    data = model.data_preprocessor(pseudo_collate(images(6)), training=True)
    result = model(**data, mode='loss')['loss']
    hook.remove()
    ((scores, label), numbers) = calls[0]
    assert label.dim() == (2 if augments else 1)
    torch.set_rng_state(numbers)
    assert_close(result, criterion(scores, label))
    result.backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


class LossesInUse(Hook):
    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append((runner.epoch + 1, type(runner.model.head.loss_module).__name__))


def train(work_dir, resume_from=None, switch=True):
    """Two epochs with the cross entropy, then two with pairwise confusion; the loss and weights."""
    recorder = LossesInUse()
    late = dict(
        type='LateLossHook',
        action_epoch=3,
        loss=dict(type='PairwiseConfusionLoss', num_classes=C),
    )
    torch.manual_seed(0)
    runner = Runner(
        model=classifier(dict(type='CrossEntropyLoss')),
        work_dir=str(work_dir),
        train_dataloader=DataLoader(images(8), batch_size=4, collate_fn=pseudo_collate),
        train_cfg=dict(by_epoch=True, max_epochs=4),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[late] * switch + [recorder],
        default_scope='mmpretrain',
        experiment_name=uuid4().hex,
        load_from=resume_from,
        resume=resume_from is not None,
    )
    runner.train()
    return recorder.seen, {name: value.clone() for name, value in runner.model.state_dict().items()}


@pytest.mark.slow
def test_pairwise_confusion_from_a_later_epoch_on(tmp_path):
    """A hook switches the loss, also in a run that is resumed before or after."""
    seen, weights = train(tmp_path / 'whole')
    names = ['CrossEntropyLoss'] * 2 + ['PairwiseConfusionLoss'] * 2
    assert seen == [(epoch, names[epoch - 1]) for epoch in (1, 1, 2, 2, 3, 3, 4, 4)]
    for epoch in (1, 2, 3):
        start = str(tmp_path / 'whole' / f'epoch_{epoch}.pth')
        resumed, weights_of_resumed = train(tmp_path / f'from {epoch}', start)
        assert resumed == seen[2 * epoch :]
        assert_close(weights_of_resumed, weights, rtol=0, atol=0)
    _, plain = train(tmp_path / 'plain', switch=False)
    assert not torch.equal(plain['head.fc.weight'], weights['head.fc.weight'])
