"""Loops that learn the weights of samples, step by step against what the papers say."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from torch.testing import assert_close
from toy_images import ToyImages, classifier, normalised
from toy_images import loader as plain_loader
from toy_meta import BATCH, LOOPS, LR, build, data, everything_trained, model

import mmdet_ols.engine.cpu_amp  # noqa: F401  (registers CPUAmpOptimWrapper)
from mmdet_ols import CleanPartDataset, NoisyLabelDataset
from mmdet_ols.core import find_states

PACK = [dict(type='mmpretrain.PackInputs')]
EVERY_LOOP = pytest.mark.parametrize('loop', LOOPS)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# --- the same training by hand -------------------------------------------------------------------


def parts():
    """The rest, with wrong labels, and the clean part: images (n, 3, h, w) and labels (n,)."""
    noisy = NoisyLabelDataset(ToyImages(40, pipeline=PACK), 0.4, seed=0)
    rest = CleanPartDataset(noisy, samples_per_class=1, seed=0)
    for part in (rest, rest.clean_part()):
        samples = [part[index] for index in range(len(part))]
        yield (
            torch.stack([normalised(sample['inputs']) for sample in samples]),
            torch.tensor([int(sample['data_samples'].gt_label) for sample in samples]),
        )


def losses(p, x, y):
    """The cross entropy of each sample, with the batch's own statistics."""
    x = F.conv2d(x, p['backbone.conv.weight'], p['backbone.conv.bias'], stride=2, padding=1)
    x = F.batch_norm(
        x, None, None, p['backbone.norm.weight'], p['backbone.norm.bias'], training=True
    )
    scores = x.relu().flatten(2).mean(2) @ p['head.fc.weight'].T + p['head.fc.bias']
    return scores.logsumexp(1) - scores[torch.arange(len(y)), y]


def gradients(value, p, **kwargs):
    return dict(zip(p, torch.autograd.grad(value, list(p.values()), **kwargs)))


def l2rw_weights(p, noisy, clean):
    target = gradients(losses(p, *clean).mean(), p)
    each = losses(p, *noisy)
    weights = []
    for loss in each:
        own = gradients(loss, p, retain_graph=True)
        weights.append(max(0.0, sum(float((own[name] * target[name]).sum()) for name in p)))
    return torch.tensor([weight / sum(weights) for weight in weights])


def weigh(v, values):
    hidden = (values.detach()[:, None] @ v['layers.0.weight'].T + v['layers.0.bias']).relu()
    return (hidden @ v['layers.2.weight'].T + v['layers.2.bias']).sigmoid()[:, 0]


def shares(v, values, form):
    weights = weigh(v, values)
    return weights / (weights.sum() if form == 'early' else len(values))


def teach_v(p, v, optimizer, noisy, clean, form):
    """Differentiate the clean loss after a virtual step, by a graph of second order."""
    each = losses(p, *noisy)
    virtual = gradients((shares(v, each, form) * each).sum(), p, create_graph=True)
    moved = {name: p[name] - LR * virtual[name] for name in p}
    optimizer.zero_grad()
    for name, grad in gradients(losses(moved, *clean).mean(), v).items():
        v[name].grad = grad
    optimizer.step()


def train_by_hand(runner, loop, epochs=1):
    """Returns the parameters, those of V, and the weights in the last epoch."""
    bare = runner.model
    p = {name: value.detach().clone().requires_grad_() for name, value in bare.named_parameters()}
    optimizer = torch.optim.SGD(list(p.values()), lr=LR, momentum=0.5, weight_decay=1e-3)
    v = {}
    if loop != 'l2rw':
        network = runner.build_train_loop(runner._train_loop).network
        v = {n: value.detach().clone().requires_grad_() for n, value in network.named_parameters()}
        v_optimizer = (
            torch.optim.SGD(list(v.values()), lr=0.5)
            if loop == 'early'
            else torch.optim.Adam(list(v.values()), lr=1e-3, weight_decay=1e-4)
        )
    (images, labels), clean = parts()
    opinions = []
    for _ in range(epochs):
        opinions = []
        for start in range(0, len(labels), BATCH):
            noisy = images[start : start + BATCH], labels[start : start + BATCH]
            if loop == 'l2rw':
                share = l2rw_weights(p, noisy, clean)
            else:
                teach_v(p, v, v_optimizer, noisy, clean, loop)
            each = losses(p, *noisy)
            if loop != 'l2rw':
                share = shares(v, each, loop).detach()
            opinions.append(share * len(share))
            optimizer.zero_grad()
            (share * each).sum().backward()
            optimizer.step()
    return p, v, torch.cat(opinions)


@EVERY_LOOP
def test_two_epochs_are_those_of_the_paper(tmp_path, loop):
    runner = build(tmp_path, loop, epochs=2)
    p, v, opinions = train_by_hand(runner, loop, epochs=2)
    runner.train()
    for name, value in runner.model.named_parameters():
        assert_close(value, p[name], rtol=1e-3, atol=1e-4)
    if v:
        for name, value in runner.train_loop.network.named_parameters():
            assert_close(value, v[name], rtol=1e-3, atol=1e-4)
    (state,) = find_states(runner.model).values()
    assert_close(state.opinion()['weight'], opinions, rtol=1e-2, atol=1e-3)
    assert (opinions[:-1] != opinions[1:]).any()


@EVERY_LOOP
def test_only_the_step_itself_moves_the_statistics(tmp_path, loop):
    runner = build(tmp_path, loop)
    weight = runner.model.backbone.conv.weight
    convolved = []

    class Watch(Hook):
        """What the statistics are to be made of: the batches before their steps."""

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            x = torch.stack([normalised(image) for image in data_batch['inputs']])
            conv = runner.model.backbone.conv
            with torch.no_grad():
                convolved.append(F.conv2d(x, weight, conv.bias, stride=2, padding=1))

    runner.register_hook(Watch())
    norm = runner.model.backbone.norm
    mean = norm.running_mean.clone()
    runner.train()
    for x in convolved:
        mean = 0.9 * mean + 0.1 * x.mean((0, 2, 3))
    assert norm.num_batches_tracked == len(convolved) == 3
    assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('asked', 'looked_at'), [(3, 3), (5, 5), (7, 7), (8, 7)])
def test_every_step_looks_at_as_many_clean_samples(tmp_path, asked, looked_at):
    """The clean part has 7; a rest of one or two would not say what helps."""
    runner = build(tmp_path, 'l2rw', epochs=3, clean=asked)
    sizes, seen = [], set()
    step = runner.train_loop._step

    def watched(data_batch, clean_batch):
        sizes.append(len(clean_batch['inputs']))
        seen.update(sample.sample_idx for sample in clean_batch['data_samples'])
        return step(data_batch, clean_batch)

    runner.train_loop._step = watched
    runner.train()
    assert sizes == [looked_at] * 9
    assert seen == set(range(7))  # those that one pass leaves out come in another one


@EVERY_LOOP
def test_the_log_says_what_was_weighed(tmp_path, loop):
    runner = build(tmp_path, loop, epochs=2)
    runner.train()
    (path,) = Path(tmp_path).glob('*/vis_data/scalars.json')
    line = json.loads(path.read_text().splitlines()[-1])
    assert {'loss', 'clean_loss', 'lr'} <= line.keys()
    (share,) = {'helpful', 'mean_weight'} & line.keys()
    assert 0 < line[share] < 1


@pytest.mark.parametrize(('bias', 'is_saturated'), [(0, False), (4, False), (8, True), (-8, True)])
def test_a_saturated_weighting_network_is_said(tmp_path, monkeypatch, bias, is_saturated):
    runner = build(tmp_path, 'stable', epochs=2)
    loop = runner.build_train_loop(runner._train_loop)
    runner._train_loop = loop
    with torch.no_grad():
        loop.network.layers[-2].weight.zero_()
        loop.network.layers[-2].bias.fill_(bias)
    said = []
    monkeypatch.setattr(runner.logger, 'warning', said.append)
    runner.train()
    about = [text for text in said if 'weighting network' in text]
    assert len(about) == 2 * is_saturated
    for epoch, text in enumerate(about, 1):
        assert f'in epoch {epoch}:' in text and '`weight_lr`' in text
        slope = float(re.search(r'samples is (\S+),', text)[1])  # it moves, if slowly
        assert slope == pytest.approx(math.exp(-8), rel=0.5)


# --- checkpoints ---------------------------------------------------------------------------------


def checkpoint(path):
    return torch.load(path, map_location='cpu', weights_only=False)


@EVERY_LOOP
def test_a_resumed_run_equals_one_without_a_pause(tmp_path, loop):
    """Shuffled, augmented in memory, and with more clean batches than an epoch asks for."""

    def run(name, **kwargs):
        runner = build(
            tmp_path / name,
            loop,
            loader=data(in_memory=True, shuffle=True, collate='whole_batch_collate'),
            clean=3,
            checkpoint=dict(type='CheckpointHook', interval=1),
            **kwargs,
        )
        runner.train()
        return everything_trained(runner)

    whole = run('whole', epochs=3)
    run('first', epochs=2)
    resumed = run('second', epochs=3, load_from=str(tmp_path / 'first/epoch_2.pth'), resume=True)
    assert_close(resumed, whole, rtol=0, atol=0, equal_nan=True)
    saved, other = (
        checkpoint(tmp_path / name / 'epoch_3.pth').get('weighting_network')
        for name in ('whole', 'second')
    )
    assert (saved is None) == (loop == 'l2rw')
    assert_close(saved, other, rtol=0, atol=0)


def test_resuming_with_another_clean_part_is_an_error(tmp_path):
    """As without a seed in the config: each start draws one, and MMEngine restores it too late."""

    def run(name, seed, **kwargs):
        runner = build(
            tmp_path / name,
            'l2rw',
            loader=data(seed=None),
            randomness=dict(seed=seed),
            checkpoint=dict(type='CheckpointHook', interval=1),
            **kwargs,
        )
        runner.train()

    run('first', 3)
    resume = dict(epochs=2, load_from=str(tmp_path / 'first/epoch_1.pth'), resume=True)
    with pytest.raises(ValueError, match=r'drawn by the seed 3, but .* set randomness.seed=3'):
        run('other', 4, **resume)
    run('same', 3, **resume)


def test_a_new_training_starts_with_a_new_weighting_network(tmp_path):
    runner = build(tmp_path / 'a', 'stable', checkpoint=dict(type='CheckpointHook', interval=1))
    runner.train()
    path = str(tmp_path / 'a/epoch_1.pth')
    other = build(tmp_path / 'b', 'stable', load_from=path, epochs=0)
    other.train()
    fresh = build(tmp_path / 'c', 'stable', epochs=0)
    fresh.train()
    one, two = (everything_trained(r)['network'] for r in (other, fresh))
    assert_close(one, two, rtol=0, atol=0)
    assert_close(other.model.head.fc.weight, runner.model.head.fc.weight)
    broken = checkpoint(path)
    del broken['weighting_network']
    torch.save(broken, tmp_path / 'broken.pth')
    with pytest.raises(ValueError, match='must hold `weighting_network`'):
        build(tmp_path / 'd', 'stable', load_from=str(tmp_path / 'broken.pth'), resume=True).train()


def test_the_weights_of_the_model_are_drawn_as_with_any_other_method(tmp_path, monkeypatch):
    state = torch.get_rng_state()
    draws = []
    for loop in LOOPS:
        runner = build(tmp_path / loop, loop)
        with monkeypatch.context() as patch:
            refuse = Mock(side_effect=AssertionError('on a GPU they are drawn by its generator'))
            patch.setattr(torch.cuda, 'manual_seed_all', refuse)
            runner.train_loop  # noqa: B018  (builds it)
        draws.append(torch.rand(3))
    assert_close(draws[0], draws[1], rtol=0, atol=0)
    assert_close(draws[0], draws[2], rtol=0, atol=0)
    torch.set_rng_state(state)


# --- precision and refusals ----------------------------------------------------------------------


@EVERY_LOOP
def test_mixed_precision_weighs_as_full_precision_does(tmp_path, loop):
    """The trial passes compute in float32, so that only the step itself differs a little."""
    optim = dict(type='CPUAmpOptimWrapper', optimizer=dict(type='SGD', lr=LR))
    trained = {}
    for name, wrapper in dict(full=dict(optim, type='OptimWrapper'), mixed=optim).items():
        runner = build(tmp_path / name, loop, optim=copy.deepcopy(wrapper))
        runner.train()
        trained[name] = everything_trained(runner)
    full, mixed = trained['full']['model'], trained['mixed']['model']
    assert (full['head.fc.weight'] != mixed['head.fc.weight']).any()
    assert_close(mixed['head.fc.weight'], full['head.fc.weight'], rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(clean=0), '`clean_batch_size` must be a positive integer, but got 0'),
        (dict(loader=plain_loader(count=40)), "one clean part held out.*part='rest'.*have 0"),
        (
            dict(network=dict(classifier())),
            r'needs a loss for each of the 7 samples.*`loss` of LinearClsHead is \(\).*SampleWei',
        ),
    ],
)
def test_refusals(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, 'l2rw', **changes).train()


def test_a_loop_of_mmengines_averages_the_losses(tmp_path):
    """The config stays one that the hosts can train, only without weights."""
    runner = build(tmp_path, 'l2rw')
    runner._train_loop = dict(by_epoch=True, max_epochs=1)
    runner.train()
    (state,) = find_states(runner.model).values()
    assert state.opinion()['weight'].isnan().all()
    assert model()['head']['loss']['type'] == 'SampleWeightLoss'
