"""Small classifiers of MMPretrain, as configs of our methods make them, and batches for them."""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample
from torch import nn

from mmdet_ols import apply_method
from mmdet_ols.core import find_states

CLASSES = 3
MODEL = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=CLASSES, mean=[0.0] * 3, std=[1.0] * 3),
    backbone=dict(type='CIFARResNet', depth=8, block='basic', base_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=CLASSES,
        in_channels=16,
        loss=dict(type='CrossEntropyLoss'),
    ),
)


def config(**entries):
    """A config of a small classifier that trains for three epochs."""
    cfg = dict(
        default_scope='mmpretrain',
        model=deepcopy(MODEL),
        train_dataloader=dict(batch_size=4, dataset=dict(type='CIFAR10', data_root='data')),
        train_cfg=dict(by_epoch=True, max_epochs=3),
    )
    return Config({**cfg, **entries})


def build(method, **entries):
    """The model of a method, in training mode, with weights that are always the same."""
    cfg = apply_method(config(**entries), method)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    model.train()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, 0.5)
            if isinstance(module, nn.BatchNorm2d):  # which do something in eval mode, too
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.normal_(1, 0.2)
                module.bias.normal_(0, 0.2)
    return model


def batch(count=4, seed=0, views=1):
    """Images and data samples; further views of an image have other pixels and the same number."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count * views, 3, 32, 32, generator=generator)
    labels = torch.randint(CLASSES, (count,), generator=generator).tolist()
    samples = []
    for index in range(count * views):
        sample = DataSample(metainfo=dict(sample_idx=10 * seed + index % count))
        samples.append(sample.set_gt_label(labels[index % count]))
    return inputs, samples, labels


def gradients(model, losses):
    """The gradients of the sum of a step's losses."""
    model.zero_grad()
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def step_of_rank(batches, method, teacher=None, epoch=None):
    """A step of a model on the part of a batch that a rank has, or on the whole in one process.

    Args:
        batches: Images and data samples of this rank.
        method: See `build`.
        teacher: The checkpoint that a teacher is loaded from.
        epoch: The epoch that MMEngine's runner would be in.

    Returns:
        The gradients, and what the soft labels have collected.
    """
    model = build(method)
    if teacher is not None:
        model.teacher = str(teacher)
        model.load_teacher()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # its statistics are those of a part
    if epoch is not None:
        MessageHub.get_current_instance().update_info('epoch', epoch)
    inputs, samples = batches
    parallel = nn.parallel.DistributedDataParallel(model) if dist.is_initialized() else model
    losses = parallel(inputs, samples, mode='loss')
    sum(losses.values()).backward()
    sums = {}
    for state in find_states(model).values():
        state.reduce_sums()
        sums = {name: getattr(state, name).clone() for name in state.collected}
    return {name: value.grad for name, value in model.named_parameters()}, sums
