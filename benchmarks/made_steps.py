"""Whole training steps on made-up images: of any method, in each phase of its training."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import LOOPS, MODELS
from mmpretrain.structures import DataSample
from timing import Step, StepClock
from torch.utils.data import DataLoader

from mmdet_ols.config_tree import type_name
from mmdet_ols.core import SampleState
from mmdet_ols.datasets import CleanPartDataset, NumberedDataset
from mmdet_ols.datasets.tree import CLEAN_PART, TWO_VIEWS, walk_datasets
from mmdet_ols.evaluation.passes import evaluation_mode
from mmdet_ols.losses.sample_loss import SampleLoss
from mmdet_ols.reproduction.step_times import AFTER, PASS

#: In each image for a detector; VOC has 2.5.
OBJECTS = 3
#: MMEngine's loop, which runs the model's own training step.
PLAIN_LOOP = 'EpochBasedTrainLoop'
#: Of which a pass draws its conclusions: CIFAR's, where the methods with passes are.
SAMPLES = 50_000


def build(cfg: Config, device: str) -> Any:
    model = dict(cfg.model)
    model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return MODELS.build(model).to(device)


def make_step(cfg: Config, size: int, side: int, device: str, phase: str = '') -> Step:
    """What runs a step of a config, or of its pass over all images.

    The second of its three parts does not grow with the batch: the update of the weights, or what
    follows from the pass.

    Args:
        cfg: The config; it is changed.
        size: Images in a batch.
        side: Pixels of a side.
        device: Where to compute.
        phase: The name of a `Phase`.
    """
    for owner in (cfg.model, cfg):  # the images have their size already
        (owner.get('data_preprocessor') or {}).pop('batch_augments', None)
    torch.manual_seed(0)
    model = build(cfg, device)
    if cfg.model.get('teacher'):
        model.load_teacher()
    model.train()
    stopwatch = StepClock(device)
    if phase in (AFTER, PASS):
        step = _pass_step(cfg, model, size, side, stopwatch)
        if phase == PASS:
            return step
        step()
        loss_of(model).begin_epoch(cfg.model.head.loss.correct_from)
    optimizer = build_optim_wrapper(model, dict(cfg.optim_wrapper))
    loop = cfg.train_cfg.get('type', PLAIN_LOOP)
    if 'clean_batch_size' in cfg.train_cfg:
        run = _step_of_loop(cfg, model, optimizer, size, side)
    elif loop == PLAIN_LOOP:
        run = _plain_step(cfg, model, optimizer, size, side)
    else:
        raise RuntimeError(f'there is no made-up data for the steps of {loop}')
    return _with_parts(run, optimizer, stopwatch)


def _with_parts(run: Callable[[], Any], optimizer: Any, stopwatch: StepClock) -> Step:
    """Let a step say when its optimizer began and ended."""
    moments: list[Any] = []
    update = optimizer.step

    def timed_update(**kwargs: Any) -> None:
        moments.append(stopwatch.now())
        update(**kwargs)
        moments.append(stopwatch.now())

    optimizer.step = timed_update

    def step() -> tuple[Any, ...]:
        moments[:] = [stopwatch.now()]
        run()
        return (*moments, stopwatch.now())

    return step


def _plain_step(cfg: Config, model: Any, optimizer: Any, size: int, side: int) -> Callable[[], Any]:
    """MMEngine's own step."""
    if 'bbox_head' in cfg.model:
        batch = detector_batch(cfg, size, side)
    else:
        batch = make_batch(cfg, size, side)
    for module in model.modules():
        if isinstance(module, SampleState) and not module.num_samples:
            module.allocate(size)
    return lambda: model.train_step(batch, optimizer)


def _pass_step(cfg: Config, model: Any, size: int, side: int, stopwatch: StepClock) -> Step:
    """Measure a batch, and draw the conclusions from as many samples as CIFAR has."""
    loss = loss_of(model)
    loss.state.allocate(SAMPLES)
    loss.state.put(given=torch.arange(SAMPLES) % loss.num_classes)
    batch = make_batch(cfg, size, side)
    made_up: dict[str, torch.Tensor] = {}

    def step() -> tuple[Any, ...]:
        start = stopwatch.now()
        with torch.no_grad(), evaluation_mode(model) as classifier:
            data = classifier.data_preprocessor(batch, False)
            measured = loss.measure(classifier, data['inputs'], data['data_samples'])
            rows = {name: value.float().cpu() for name, value in measured.items()}
        middle = stopwatch.now()
        if not made_up:  # in the first step, which is not timed
            made_up.update({k: torch.rand(SAMPLES, *row.shape[1:]) for k, row in rows.items()})
        loss.take(made_up)
        end = stopwatch.now()
        return start, middle, end, end

    return step


def _step_of_loop(
    cfg: Config, model: Any, optimizer: Any, size: int, side: int
) -> Callable[[], Any]:
    """The step of a loop that weighs samples by clean ones, of which it takes as large a share."""
    settings = dict(cfg.train_cfg)
    whole = cfg.train_dataloader['batch_size']
    settings['clean_batch_size'] = max(1, round(settings['clean_batch_size'] * size / whole))
    classes = cfg.model.head.num_classes
    nodes = walk_datasets(cfg.train_dataloader['dataset'])
    held_out = sum(node['samples_per_class'] for node in nodes if type_name(node) == CLEAN_PART)
    images = MadeImages(classes, (held_out + 1) * classes + size, side)
    dataset = NumberedDataset(CleanPartDataset(images, 'rest', held_out, seed=0))
    runner = SimpleNamespace(
        model=model,
        optim_wrapper=optimizer,
        seed=0,
        visualizer=SimpleNamespace(),
        register_hook=lambda hook: None,
        call_hook=lambda *args, **kwargs: None,
    )
    loader = DataLoader(dataset, batch_size=size, collate_fn=pseudo_collate)
    loop = LOOPS.build(dict(settings, runner=runner, dataloader=loader))
    for module in model.modules():
        if isinstance(module, SampleState):
            module.allocate(len(images))
    batch = next(iter(loader))
    return lambda: loop.run_iter(0, batch)


def loss_of(model: Any) -> SampleLoss:
    """The loss of a model that knows its samples."""
    (loss,) = (module for module in model.modules() if isinstance(module, SampleLoss))
    return loss


def make_batch(cfg: Config, count: int, side: int) -> dict[str, Any]:
    """Made-up images, in two views if the config has those, packed as by MMPretrain's pipelines."""
    nodes = walk_datasets(cfg.train_dataloader.dataset)
    views = 2 if any(type_name(node) == TWO_VIEWS for node in nodes) else 1
    generator = torch.Generator().manual_seed(0)
    shape = (views * count, 3, side, side)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.randint(cfg.model.head.num_classes, (count,), generator=generator).tolist()
    samples = [
        DataSample(metainfo=dict(sample_idx=index % count)).set_gt_label(labels[index % count])
        for index in range(len(images))
    ]
    return dict(inputs=images, data_samples=samples)


class MadeImages(BaseDataset):
    """Noise, with each class equally often, as far as that goes."""

    def __init__(self, classes: int, count: int, side: int) -> None:
        self.count, self.side = count, side
        names = tuple(map(str, range(classes)))
        super().__init__(
            metainfo=dict(classes=names), pipeline=[dict(type='PackInputs')], serialize_data=False
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        noise = np.random.default_rng(0)
        shape = (self.side, self.side, 3)
        classes = len(self.metainfo['classes'])
        return [
            dict(img=noise.integers(256, size=shape, dtype=np.uint8), gt_label=index % classes)
            for index in range(self.count)
        ]


def detector_batch(cfg: Config, size: int, side: int) -> dict[str, Any]:
    """Made-up images with a few objects each, as MMDetection's pipelines pack them."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    generator = torch.Generator().manual_seed(0)
    shape = (size, 3, side, side)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    samples = []
    for index in range(size):
        corners = side * torch.rand(OBJECTS, 2, 2, generator=generator).sort(1).values
        labels = torch.randint(cfg.model.bbox_head.num_classes, (OBJECTS,), generator=generator)
        size_of = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape'), (side, side))
        sample = DetDataSample(metainfo=dict(size_of, img_id=index, scale_factor=(1.0, 1.0)))
        sample.gt_instances = InstanceData(bboxes=corners.flatten(1), labels=labels)
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
        samples.append(sample)
    return dict(inputs=list(images), data_samples=samples)
