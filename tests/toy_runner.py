"""A small classifier in MMEngine's runner, and the same training as a loop over samples.

What a test, and another process, can import: a class in a test file has no name there.
"""

from __future__ import annotations

import datetime
import os
from operator import itemgetter
from pathlib import Path
from uuid import uuid4

import torch
import torch.distributed as dist
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS
from mmengine.runner import FlexibleRunner, Runner
from reference import Reference
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

import mmdet_ols.engine.cpu_amp  # noqa: F401  (registers CPUAmpOptimWrapper)
from mmdet_ols.core import SUMS, find_states

#: Label 4 is the background. The data hold no sample of class 3, so nothing teaches its soft label.
NUM_CLASSES, BACKGROUND = 4, 4
NUM_BATCHES = 5
LR = 0.5
STATE = ('soft_labels', *SUMS)
OLS = dict(type='OLSLoss', num_classes=NUM_CLASSES, background=True)
#: custom_hooks that change what a checkpoint holds
EMA = {
    'no EMA': [],
    'EMA': [dict(type='EMAHook', momentum=0.3)],
    'EMA of buffers': [dict(type='EMAHook', momentum=0.3, update_buffers=True)],
}


def exactly(actual, expected):
    assert_close(actual, expected, rtol=0, atol=0)


def make_batches(count=NUM_BATCHES, seed=0):
    """Batches of 7 to 11 samples: features (n, 5) that give most classes away, labels (n,)."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for index in range(count):
        label = torch.randint(4, (7 + index % 5,), generator=generator)
        label[label == 3] = BACKGROUND
        noise = torch.randn(len(label), NUM_CLASSES + 1, generator=generator)
        inputs = 1.5 * torch.eye(NUM_CLASSES + 1)[label] + noise
        batches.append(dict(inputs=inputs, label=label))
    return batches


def one_by_one(batches):
    """A data loader that gives these batches in this order."""
    return DataLoader(batches, batch_size=1, collate_fn=itemgetter(0))


@MODELS.register_module()
class ToyClassifier(BaseModel):
    """One linear head, with its own loss, for each name; always made with the same weights."""

    def __init__(self, loss, names=('head',), init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        size = NUM_CLASSES + 1
        generator = torch.Generator().manual_seed(1)
        self.heads, self.losses = nn.ModuleDict(), nn.ModuleDict()
        for name in names:
            self.heads[name] = nn.Linear(size, size, bias=False)
            weight = torch.eye(size) + 0.3 * torch.randn(size, size, generator=generator)
            self.heads[name].weight.data.copy_(weight)
            self.losses[name] = MODELS.build(loss)

    def forward(self, inputs, label, mode):
        # In validation too: a loss may be logged there, and must not teach.
        losses = {
            f'loss_{name}': self.losses[name](head(inputs), label)
            for name, head in self.heads.items()
        }
        return losses if mode == 'loss' else [dict() for _ in label]


@METRICS.register_module()
class RisingScore(BaseMetric):
    """1, 2, 3, ...: every validation gives the best model."""

    rounds = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.rounds += 1
        return dict(score=float(self.rounds))


class Recorder(Hook):
    """Keeps the live state after each iteration and epoch, when all other hooks are done."""

    priority = 'LOWEST'

    def __init__(self):
        self.iterations, self.epochs = {}, {}
        self.merged = dict(iterations={}, epochs={})  # the same, but only of the buffers

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.iterations[runner.iter + 1] = live_state(runner.model)
        self.merged['iterations'][runner.iter + 1] = live_state(runner.model, merged=True)

    def after_train_epoch(self, runner):
        self.epochs[runner.epoch + 1] = live_state(runner.model)
        self.merged['epochs'][runner.epoch + 1] = live_state(runner.model, merged=True)


class SaveAt(Hook):
    """Saves after an iteration at which no CheckpointHook does, as an emergency hook might."""

    priority = 'LOWEST'

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            runner.save_checkpoint(runner.work_dir, 'unforeseen.pth', by_epoch=False)


def live_state(model, merged=False):
    """{'head': {'soft_labels': ..., 'prob_sum': ..., ...}}, copied: all that this rank knows.

    Args:
        model: With a loss for each name.
        merged: Leave out what this rank has seen since the ranks shared it: the buffers alone.
    """
    states = {}
    for name, state in find_states(model).items():
        values = {} if merged else state.so_far()
        states[name.rpartition('.')[2]] = {
            key: values.get(key, getattr(state, key)).clone() for key in STATE
        }
    return states


def saved_state(path, where='state_dict', name='head'):
    """The state of one loss in a checkpoint file."""
    prefix = f'{"module." * (where == "ema_state_dict")}losses.{name}.state.'
    state_dict = torch.load(path, map_location='cpu', weights_only=False)[where]
    return {key: state_dict[prefix + key] for key in STATE}


def train(
    work_dir,
    batches,
    epochs=None,
    iters=None,
    ols=None,
    save=None,
    hooks=(),
    resume_from=None,
    load_from=None,
    val_interval=None,
    optim=None,
    lr=LR,
    loss=OLS,
    names=('head',),
    model=None,
    wrapper=None,
    runner_class=Runner,
    strategy=None,
):
    """Train through MMEngine's Runner and return what there is to compare.

    Args:
        work_dir: Folder of this run.
        batches: What each epoch goes through in this order, or a data loader.
        epochs: Length of an epoch-based loop.
        iters: Length of an iteration-based loop.
        ols: Arguments of OLSHook; False leaves it out.
        save: Arguments of CheckpointHook.
        hooks: custom_hooks.
        resume_from: Checkpoint to go on from.
        load_from: Checkpoint to start a new training from.
        val_interval: Validates every so many epochs or iterations.
        optim: Arguments of the OptimWrapper.
        lr: Learning rate of SGD.
        loss: Config of the loss of each head.
        names: Names of the heads.
        model: Config of another model instead.
        wrapper: Arguments of DDP in a process group; None trains in this process alone.
        runner_class: Runner, or FlexibleRunner.
        strategy: Config of FlexibleRunner's strategy instead of DDP.
    """
    work_dir = Path(work_dir)
    if wrapper:
        wrapper = dict(type='MMDistributedDataParallel', device_ids=None, **wrapper)
    default_hooks = dict(logger=dict(type='LoggerHook', interval=1000))
    default_hooks['checkpoint'] = dict(type='CheckpointHook', **(save or {}))
    if ols is not False:
        default_hooks['ols'] = dict(type='OLSHook', **(ols or {}))
    recorder = Recorder()
    cfg = dict(
        work_dir=str(work_dir),
        # Runners of one name share their logger and visualizer in a process.
        experiment_name=f'{work_dir.name}_{uuid4().hex}',
        model=model or dict(type='ToyClassifier', loss=loss, names=names),
        train_dataloader=one_by_one(batches) if isinstance(batches, list) else batches,
        train_cfg=dict(by_epoch=True, max_epochs=epochs)
        if epochs
        else dict(by_epoch=False, max_iters=iters),
        optim_wrapper=dict(
            dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=lr, momentum=0.5)),
            **(optim or {}),
        ),
        default_hooks=default_hooks,
        custom_hooks=[*hooks, recorder],
        load_from=str(resume_from or load_from) if resume_from or load_from else None,
        resume=resume_from is not None,
        randomness=dict(seed=0),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        launcher='pytorch' if wrapper else 'none',
    )
    if runner_class is FlexibleRunner:
        ddp = dict(type='DDPStrategy', model_wrapper=wrapper) if wrapper else None
        cfg.update(strategy=strategy or ddp)
    else:
        cfg.update(cfg=dict(model_wrapper_cfg=wrapper))
    if val_interval:
        cfg['train_cfg']['val_interval'] = val_interval
        cfg.update(
            val_cfg=dict(),
            val_dataloader=one_by_one(make_batches(2, seed=99)),
            val_evaluator=dict(type='RisingScore'),
        )
    runner = runner_class(**cfg)
    runner.train()
    return dict(
        state=live_state(runner.model),
        iterations=recorder.iterations,
        epochs=recorder.epochs,
        merged=recorder.merged,
        weights={name: value.detach().clone() for name, value in runner.model.named_parameters()},
        log=''.join(path.read_text() for path in work_dir.rglob('*.log')),
    )


def train_by_hand(batches, period, lr=LR, head='head'):
    """The same training of one head, sample by sample; nothing of ours but the reference.

    Args:
        batches: All batches of the training, one for each iteration.
        period: Iterations between two roll-overs.
        lr: Learning rate.
        head: Name of the head in a `ToyClassifier` of the heads 'head' and 'other'.

    Returns:
        For each iteration (from 1) the state before a roll-over, and the one after it.
    """
    weight = ToyClassifier(OLS, ('head', 'other')).heads[head].weight.detach().requires_grad_()
    momentum = torch.zeros_like(weight)
    reference = Reference(NUM_CLASSES, background=True)
    counted, rolled = {}, {}
    for iteration, batch in enumerate(batches, start=1):
        total = 0
        for inputs, label in zip(batch['inputs'], batch['label'].tolist()):
            scores = weight @ inputs
            total = total + sum(reference.loss(scores, label))
            reference.learn(scores.detach(), label)
        (gradient,) = torch.autograd.grad(total / len(batch['label']), weight)
        momentum = 0.5 * momentum + gradient
        weight = (weight - lr * momentum).detach().requires_grad_()
        counted[iteration] = reference.tensors()
        if iteration % period == 0:
            reference.roll_over()
        rolled[iteration] = reference.tensors()
    return counted, rolled


def join_group(rank, store):
    """Make this process one of two in a gloo group."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    # A rank whose peer failed is to fail too, and soon.
    timeout = datetime.timedelta(seconds=60)
    dist.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2, timeout=timeout
    )


def plain_loop(batches, epochs, lr, **ddp):
    """PyTorch's DDP without MMEngine; returns the state after each epoch's roll-over."""
    model = ToyClassifier(OLS)
    optimizer = torch.optim.SGD(model.parameters(), lr)
    parallel = nn.parallel.DistributedDataParallel(model, **ddp)
    states = {}
    for epoch in range(1, epochs + 1):
        parallel.train()
        for batch in batches:
            loss = parallel(**batch, mode='loss')['loss_head']
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.losses['head'].update_soft_labels()
        states[epoch] = live_state(model)
    return states
