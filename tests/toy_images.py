"""Tiny images and a tiny classifier of MMPretrain in MMEngine's runner, and the same by hand."""

from __future__ import annotations

import os
import random
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import mmpretrain  # noqa: F401  (registers its modules)
import numpy as np
import torch
import torch.distributed as dist
from mmengine.dataset import BaseDataset, DefaultSampler, pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModule, MMDistributedDataParallel
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from mmdet_ols import AdversarialErrorHook, EnsembleHook, NoisyLabelDataset, TrainErrorHook

CLASSES, SIZE = 7, 6
MEAN, STD = (100.0, 120.0, 140.0), (50.0, 60.0, 70.0)


def make_images(count, seed=0, sizes=(SIZE,)):
    """Images (h, w, 3), uint8, many pixels at the ends of the scale, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    looks = np.random.default_rng(9).normal(128, 90, (CLASSES, max(sizes), max(sizes), 3))
    images = [
        (looks[label] + rng.normal(0, 60, looks[label].shape)).clip(0, 255).astype(np.uint8)
        for label in labels
    ]
    return [i[: sizes[n % len(sizes)]] for n, i in enumerate(images)], labels.tolist()


@DATASETS.register_module()
class ToyImages(BaseDataset):
    METAINFO = dict(classes=tuple('abcdefg'))

    def __init__(self, count=23, seed=0, sizes=(SIZE,), **kwargs):
        self.made = make_images(count, seed, sizes)
        super().__init__(serialize_data=False, **kwargs)  # that collects garbage for seconds

    def load_data_list(self):
        return [dict(img=image, gt_label=label) for image, label in zip(*self.made)]


@MODELS.register_module()
class ToyBackbone(BaseModule):
    """Weights and statistics that make it right in about two thirds of the images."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.conv = nn.Conv2d(3, 12, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(12)
        with torch.no_grad():
            for values in (self.conv.weight, self.conv.bias, self.norm.bias):
                values.copy_(0.3 * torch.randn(values.shape, generator=generator))
            self.norm.running_var.copy_(torch.rand(12, generator=generator) + 0.5)

    def forward(self, x):
        return (self.norm(self.conv(x)).relu().flatten(2).mean(2),)


def classifier(loss=None, **preprocessor):
    return dict(
        type='mmpretrain.ImageClassifier',
        data_preprocessor=dict(
            type='mmpretrain.ClsDataPreprocessor',
            **dict(dict(mean=MEAN, std=STD, to_rgb=True), **preprocessor),
        ),
        backbone=dict(type='ToyBackbone'),
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=CLASSES,
            in_channels=12,
            loss=loss or dict(type='mmpretrain.CrossEntropyLoss'),
            init_cfg=None,
        ),
    )


def loader(batch_size=8, collate='pseudo_collate', shuffle=False, pipeline=(), wrap=None, **data):
    """A data loader's config; `wrap` makes another data set's config of this one's."""
    dataset = dict(type='ToyImages', pipeline=[*pipeline, dict(type='PackInputs')], **data)
    return dict(
        dataset=wrap(dataset) if wrap else dataset,
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        collate_fn=dict(type=collate),
    )


@cache
def fitted_head():
    """A head's weight and bias that fit the images a little: a step of regression."""
    backbone, (pictures, labels) = ToyBackbone().eval(), make_images(200, seed=5)
    x = torch.stack([normalised(image_tensor(picture)) for picture in pictures])
    with torch.no_grad():
        feats = backbone(x)[0]
    design = torch.cat([feats, torch.ones(len(feats), 1)], dim=1)
    target = 6 * F.one_hot(torch.tensor(labels), CLASSES).float()
    solution = torch.linalg.lstsq(design, target).solution
    return solution[:-1].T.contiguous(), solution[-1].contiguous()


def image_tensor(image):
    """(h, w, 3) to (3, h, w) as PackInputs does."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def normalised(pixels):
    """What the data preprocessor does to an image (3, h, w) of BGR."""
    rgb = torch.stack([pixels[2], pixels[1], pixels[0]]).float()
    return (rgb - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def score_by_hand(model, pixels, pad_to=0):
    """The scores of one image, computed from nothing but the weights."""
    missing = [max(pad_to - size, 0) for size in pixels.shape[1:]]
    x = F.pad(normalised(pixels), (0, missing[1], 0, missing[0]))  # on the right and below
    conv, norm, fc = model.backbone.conv, model.backbone.norm, model.head.fc
    x = F.conv2d(x[None], conv.weight, conv.bias, stride=2, padding=1)[0]
    x = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
    x = x * norm.weight[:, None, None] + norm.bias[:, None, None]
    return fc.weight @ x.clamp(min=0).mean(dim=(1, 2)) + fc.bias


def attack_by_hand(model, pixels, label, eps, step, steps, start=0, pad_to=0, margin=False):
    """Attack one image (3, h, w), one NumPy step at a time."""
    clean = pixels.numpy().astype(np.float32)
    x = np.clip(clean + start, 0, 255).astype(np.float32)
    for _ in range(steps):
        leaf = torch.tensor(x, requires_grad=True)
        scores = score_by_hand(model, leaf, pad_to)
        if margin:
            others = [score for k, score in enumerate(scores) if k != label]
            objective = max(others) - scores[label]
        else:
            objective = scores.exp().sum().log() - scores[label]
        (gradient,) = torch.autograd.grad(objective, leaf)
        x = x + step * np.sign(gradient.numpy())
        x = np.minimum(np.maximum(x, clean - eps), clean + eps)
        x = np.minimum(np.maximum(x, 0), 255)
    return torch.from_numpy(x)


def everything(model):
    """All that a measurement must leave as it is: the model's state, and random numbers."""
    return dict(
        state={key: value.clone() for key, value in model.state_dict().items()},
        trained=[parameter.requires_grad for parameter in model.parameters()],
        gradients=[parameter.grad is None for parameter in model.parameters()],
        modes=[module.training for module in model.modules()],
        torch=torch.get_rng_state(),
        numpy=torch.tensor(np.random.get_state()[1].astype(np.int64)),
        python=list(random.getstate()[1]),
    )


def build_runner(work_dir, model=None, hooks=(), head=True, **kwargs):
    """A runner for tests, with a head that is right more often than not."""
    runner = Runner(
        work_dir=str(work_dir),
        experiment_name=f'{Path(work_dir).name}_{uuid4().hex}',
        model=model or classifier(),
        custom_hooks=list(hooks),
        default_scope='mmpretrain',
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        default_hooks=dict(checkpoint=kwargs.pop('checkpoint', None)),
        randomness={'seed': 0, **kwargs.pop('randomness', {})},
        **kwargs,
    )
    bare = getattr(runner.model, 'module', runner.model)
    if head:
        weight, bias = fitted_head()
        bare.head.fc.weight.data.copy_(weight)
        bare.head.fc.bias.data.copy_(bias)
    return runner


def build_tester(work_dir, hooks, model=None, evaluator=None, data=None, **kwargs):
    return build_runner(
        work_dir,
        model,
        hooks,
        test_dataloader=data or loader(),
        test_evaluator=evaluator or dict(type='mmpretrain.Accuracy', topk=(1, 5)),
        test_cfg=dict(),
        **kwargs,
    )


def measure_everything(batches, folder):
    """All metrics and hooks on this process's part of the data, with or without a process group.

    Args:
        batches: Not used; what the pool of two processes hands out.
        folder: Holds `human.npy`, `epoch_1.pth` and `epoch_2.pth`; results are gathered in there.
    """
    here = os.getcwd()
    os.chdir(folder)  # MMEngine gathers results in `.dist_test`
    try:
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            return _measure_everything()
    finally:
        os.chdir(here)


def _measure_everything():
    def batches(dataset):
        sampler = DefaultSampler(dataset, shuffle=False, seed=0)
        return DataLoader(dataset, batch_size=4, sampler=sampler, collate_fn=pseudo_collate)

    dataset = ToyImages(pipeline=[dict(type='PackInputs')])
    bare = MODELS.build(classifier()).eval()
    bare.load_state_dict(torch.load('epoch_1.pth')['state_dict'])
    model = MMDistributedDataParallel(bare) if dist.is_initialized() else bare
    metrics = [dict(type='CalibrationError'), dict(type='CIFAR10HDivergence', human='human.npy')]
    evaluator = Evaluator(metrics)
    for batch in batches(dataset):
        with torch.no_grad():
            evaluator.process(model.test_step(batch), batch)
    values = evaluator.evaluate(len(dataset))

    noisy = NoisyLabelDataset(dataset, rate=0.4, seed=1)
    runner = SimpleNamespace(
        model=model,
        cfg=dict(),
        work_dir='.',
        train_loop=None,
        val_loop=None,
        test_loop=None,
        train_dataloader=batches(noisy),
        test_dataloader=batches(dataset),
    )
    attack = dict(name='fgsm', eps=8)
    AdversarialErrorHook([attack], num_samples=17).after_test_epoch(runner, values)
    runner._train_loop, runner._load_from = None, 'epoch_1.pth'
    EnsembleHook((1, 2), max_epochs=2).after_test_epoch(runner, values)
    hook = TrainErrorHook(pipeline=[dict(type='PackInputs')])
    hook.before_train(runner)
    return {**values, **hook._errors(model)}
