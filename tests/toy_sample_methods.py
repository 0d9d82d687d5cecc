"""The methods that know their samples: configs, trainings, and parts of them on two ranks."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS, DefaultScope
from torch.utils.data import DataLoader
from toy_images import CLASSES, ToyImages, build_runner, classifier, loader

from mmdet_ols import NoisyLabelDataset, NumberedDataset, apply_method
from mmdet_ols.evaluation.sample_passes import measure_samples
from mmdet_ols.losses import MCorrectionLoss, PencilLoss

COUNT = 23


def in_memory(dataset):
    """A part with wrong labels, another one twice, and all of them flipped at random."""
    part = dict(dataset, seed=1, count=9)
    noisy = dict(type='NoisyLabelDataset', dataset=dataset, rate=0.4)
    whole = dict(
        type='ConcatDataset', datasets=[noisy, dict(type='RepeatDataset', times=2, dataset=part)]
    )
    flip = dict(type='BatchRandomFlip', prob=0.5)
    return dict(type='InMemoryDataset', dataset=whole, batch_transforms=[flip])


def noisy(dataset):
    return dict(type='NoisyLabelDataset', dataset=dataset, rate=0.4)


def method_config(method, epochs=4, wrap=in_memory, **model):
    """The config of a method on the toy images."""
    cfg = dict(
        default_scope='mmpretrain',
        model=dict(classifier(), **model),
        train_dataloader=loader(shuffle=True, wrap=wrap, collate='whole_batch_collate'),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
    )
    return apply_method(Config(cfg), method)


class Keep(Hook):
    """Keeps the model's state after each epoch, when all other hooks are done."""

    priority = 'LOWEST'

    def __init__(self):
        self.epochs = {}

    def after_train_epoch(self, runner):
        state = runner.model.state_dict()
        self.epochs[runner.epoch + 1] = {key: value.clone() for key, value in state.items()}


def train(folder, cfg, hooks=(), val=False, **kwargs):
    """Train a config; returns the runner and the state after each epoch."""
    keep = Keep()
    if val:
        kwargs.update(
            val_dataloader=loader(),
            val_evaluator=dict(type='mmpretrain.Accuracy'),
            val_cfg=dict(),
        )
    runner = build_runner(
        Path(folder),
        cfg.model,
        hooks=[*cfg.default_hooks.values(), *hooks, keep],
        train_dataloader=cfg.train_dataloader,
        train_cfg=cfg.train_cfg,
        optim_wrapper=cfg.optim_wrapper,
        checkpoint=dict(type='CheckpointHook', interval=1),
        **kwargs,
    )
    runner.train()
    return runner, keep.epochs


# --- on two ranks --------------------------------------------------------------------------------


def parts_of_methods(batches):
    """What the ranks do together.

    Args:
        batches: Steps of (scores, label, sample_idx), the part of this rank.

    Returns:
        The values of a pass over the data, what follows from them, the label distributions after
        the steps, and of M-correction's first step the loss and its gradient, and the loss without
        the labels of the first rank.
    """
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        noisy = NoisyLabelDataset(ToyImages(pipeline=[dict(type='PackInputs')]), 0.4, seed=1)
        bare = MODELS.build(classifier(MCorrectionLoss(CLASSES)))
    model = MMDistributedDataParallel(bare) if dist.is_initialized() else bare
    dataset = NumberedDataset(noisy)
    training = DataLoader(dataset, batch_size=4, collate_fn=pseudo_collate)
    criterion = bare.head.loss_module
    measured = measure_samples(model, dataset, training, criterion.measure, seed=0)
    state = criterion.state
    state.allocate(dataset.num_samples)
    state.put(given=dataset.given_labels)
    criterion.take(measured)

    pencil = PencilLoss(CLASSES, len(dataset), correct_from=0, correct_until=9)
    for scores, label, index in batches:
        pencil(scores.requires_grad_(), label, sample_idx=index)
    pencil.state.roll_over()

    criterion.begin_epoch(criterion.correct_from)
    scores, label, index = batches[0]
    loss = criterion(scores, label, sample_idx=index)
    (gradient,) = torch.autograd.grad(loss, scores)
    label = label.clone()  # which the processes share
    label[: 0 if dist.is_initialized() and dist.get_rank() else 5] = -100
    ignoring = criterion(scores, label, sample_idx=index).detach()
    return (
        measured,
        dict(state.state_dict()),
        pencil.state.logits,
        loss.detach(),
        gradient,
        ignoring,
    )
