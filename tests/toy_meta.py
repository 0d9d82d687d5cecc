"""Tiny trainings that learn the weights of samples, which another process can import."""

from __future__ import annotations

from pathlib import Path

import torch.distributed as dist
from mmengine.registry import MODELS
from torch import nn
from toy_images import CLASSES, ToyBackbone, build_runner, classifier, loader

import mmdet_ols.models.sample_classifier  # noqa: F401  (registers it)

#: Of the 40 training images, 7 are the clean part and 33 the rest.
COUNT, BATCH, LR = 40, 11, 0.2
LOOPS = dict(
    l2rw=dict(type='L2RWTrainLoop'),
    stable=dict(
        type='MetaWeightNetTrainLoop',
        hidden=5,
        optimizer=dict(type='Adam', lr=1e-3, weight_decay=1e-4),
    ),
    early=dict(
        type='MetaWeightNetTrainLoop',
        hidden=5,
        normalize=True,
        optimizer=dict(type='SGD', lr=0.5),
    ),
)


@MODELS.register_module()
class ToyBackboneWithoutNorm(ToyBackbone):
    """By which one process with a whole batch computes what two with its halves do."""

    def __init__(self):
        super().__init__()
        self.norm = nn.Identity()


def data(rate=0.4, per_class=1, in_memory=False, count=COUNT, seed=0, **kwargs):
    """The config of a data loader with a clean part held out behind label noise."""

    def wrap(dataset):
        dataset = dict(type='NoisyLabelDataset', rate=rate, seed=seed, dataset=dataset)
        dataset = dict(
            type='CleanPartDataset', samples_per_class=per_class, seed=seed, dataset=dataset
        )
        if in_memory:
            flip = dict(type='BatchRandomFlip', prob=0.5)
            dataset = dict(type='InMemoryDataset', dataset=dataset, batch_transforms=[flip])
        return dict(type='NumberedDataset', dataset=dataset)

    return loader(count=count, wrap=wrap, **dict(dict(batch_size=BATCH), **kwargs))


def model(backbone='ToyBackbone'):
    cfg = classifier(loss=dict(type='SampleWeightLoss', num_classes=CLASSES))
    return dict(cfg, type='SampleClassifier', backbone=dict(type=backbone))


def build(work_dir, loop, epochs=1, hooks=(), loader=None, network=None, **kwargs):
    """A runner that trains with one of `LOOPS`."""
    return build_runner(
        work_dir,
        network or model(),
        [dict(type='SampleStateHook'), *hooks],
        train_dataloader=loader or data(),
        train_cfg=dict(LOOPS[loop], max_epochs=epochs, clean_batch_size=kwargs.pop('clean', 100)),
        optim_wrapper=kwargs.pop(
            'optim', dict(optimizer=dict(type='SGD', lr=LR, momentum=0.5, weight_decay=1e-3))
        ),
        **kwargs,
    )


def everything_trained(runner):
    """All that a training leaves behind, copied."""
    bare = getattr(runner.model, 'module', runner.model)
    trained = dict(model={k: v.clone() for k, v in bare.state_dict().items()})
    if hasattr(runner.train_loop, 'network'):
        trained['network'] = {
            k: v.clone() for k, v in runner.train_loop.network.state_dict().items()
        }
    return trained


def train_on_a_part(batches, folder, loop):
    """Train on this process's part of the data; one process gets batches of twice the size."""
    alone = not dist.is_initialized()
    share = 1 if alone else 2
    ddp = {}
    if not alone:
        wrapper = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
        ddp = dict(launcher='pytorch', cfg=dict(model_wrapper_cfg=wrapper))
        # What the processes draw together is to be that of the first one all the same.
        ddp['randomness'] = dict(diff_rank_seed=True)
    rank = 0 if alone else dist.get_rank()
    runner = build(
        Path(folder, f'{loop}_{share}_{rank}'),
        loop,
        loader=data(per_class=2, count=46, batch_size=16 // share),
        network=model('ToyBackboneWithoutNorm'),
        clean=14 // share,
        **ddp,
    )
    runner.train()
    loss = getattr(runner.model, 'module', runner.model).head.loss_module
    opinion = loss.state.opinion()['weight']
    return dict(everything_trained(runner), opinion=opinion, seed=loss.seed)
