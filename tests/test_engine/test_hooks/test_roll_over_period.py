"""The period that OLSHook takes from the training loop and its data."""

from __future__ import annotations

import re
from itertools import islice
from operator import itemgetter

import mmengine.dist
import pytest
import torch
from mmdet.datasets.samplers import MultiSourceSampler
from mmengine.dataset import BaseDataset, DefaultSampler, InfiniteSampler, RepeatDataset
from mmengine.dataset import sampler as samplers
from torch.testing import assert_close
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, IterableDataset, RandomSampler
from toy_runner import make_batches, train, train_by_hand

from mmdet_ols.engine.hooks.roll_over_period import iterations_of_one_pass, passes_over_samples

LEFT_OPEN = {}  # no argument of OLSHook


class Samples(BaseDataset):
    """A list as MMEngine's wrappers take it."""

    def __init__(self, samples):
        super().__init__(lazy_init=True)
        self.samples, self._fully_initialized = samples, True

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def rolled_over(run):
    """The units and steps of the roll-overs in a log."""
    actual = re.findall(r'rolled over at (epoch|iteration) (\d+)', run['log'])
    return [(unit, int(step)) for unit, step in actual]


# --- in a training -------------------------------------------------------------------------------


def test_one_pass_over_the_data_in_an_iteration_based_loop(tmp_path):
    run = train(tmp_path, make_batches(3), iters=7, ols=LEFT_OPEN)
    _, rolled = train_by_hand((3 * make_batches(3))[:7], 3)
    states = {step: state['head'] for step, state in run['iterations'].items()}
    assert_close(states, rolled)
    message = 'rolls the soft labels over after every 3 iterations, which are one pass over'
    assert message in run['log']
    assert {path.stem for path in tmp_path.rglob('*.npy')} == {'iter_0', 'iter_3', 'iter_6'}


@pytest.mark.parametrize(
    ('ols', 'length', 'steps'),
    [
        (LEFT_OPEN, dict(epochs=2), [('epoch', 1), ('epoch', 2)]),
        (dict(by_epoch=True), dict(epochs=1), [('epoch', 1)]),
        (dict(interval=2), dict(epochs=2), [('epoch', 2)]),
        (dict(interval=4), dict(iters=5), [('iteration', 4)]),
        (dict(by_epoch=False, interval=4), dict(epochs=1), [('iteration', 4)]),
        (dict(by_epoch=False), dict(epochs=2), [('iteration', 5), ('iteration', 10)]),
    ],
)
def test_what_is_left_open_follows_the_loop(tmp_path, ols, length, steps):
    assert rolled_over(train(tmp_path, make_batches(), ols=ols, **length)) == steps


def test_period_that_the_training_does_not_reach_warns(tmp_path):
    message = 'but the training ends after'
    assert message in train(tmp_path / 'short', make_batches(), iters=4, ols=LEFT_OPEN)['log']
    assert message not in train(tmp_path / 'long', make_batches(), iters=5, ols=LEFT_OPEN)['log']


def test_few_roll_overs_warn(tmp_path):
    message = 'of which this training has only 9.'
    few = dict(by_epoch=False, interval=2)
    assert message in train(tmp_path / 'few', make_batches(), iters=19, ols=few)['log']
    enough = train(tmp_path / 'enough', make_batches(), iters=20, ols=few)['log']
    assert 'begin flat' not in enough


def test_repeated_data_is_named(tmp_path):
    repeated = RepeatDataset(Samples(make_batches(2)), 3)
    loader = DataLoader(repeated, batch_size=1, collate_fn=itemgetter(0))
    run = train(tmp_path, loader, epochs=1)
    assert 'RepeatDataset puts each sample up to 3 times into one pass over the data.' in run['log']


# --- the length of a pass ------------------------------------------------------------------------

SIZE = 10
DATA = list(range(SIZE))


def default(**kwargs):
    return DataLoader(DATA, 4, sampler=DefaultSampler(DATA, shuffle=False), **kwargs)


def endless(**kwargs):
    return DataLoader(DATA, 4, sampler=InfiniteSampler(DATA, shuffle=False), **kwargs)


def endless_batches():
    sampler = InfiniteSampler(DATA, shuffle=False)
    return DataLoader(DATA, batch_sampler=BatchSampler(sampler, 4, drop_last=True))


def two_sources():
    data = ConcatDataset([DATA[:5], DATA[5:]])
    sampler = MultiSourceSampler(data, 4, [1, 1], shuffle=False)
    return DataLoader(data, 4, sampler=sampler)


def without_batches():
    return DataLoader(DATA, batch_size=None, sampler=InfiniteSampler(DATA, shuffle=False))


@pytest.mark.parametrize('processes', [1, 2, 3])
@pytest.mark.parametrize(
    'make_loader', [default, endless, endless_batches, two_sources, without_batches]
)
def test_all_processes_together_see_each_sample(monkeypatch, make_loader, processes):
    """The first iteration after which nothing is missing, found by looking at the batches."""
    after = []
    for rank in range(processes):
        place = lambda rank=rank: (rank, processes)  # noqa: E731
        for module in (samplers, mmengine.dist):
            monkeypatch.setattr(module, 'get_dist_info', place)
        monkeypatch.setattr('mmdet.datasets.samplers.multi_source_sampler.get_dist_info', place)
        batches = islice(make_loader(), SIZE)
        after.append([set(torch.as_tensor(batch).reshape(-1).tolist()) for batch in batches])
    seen, sizes = set(), []
    for batches in zip(*after):
        seen.update(*batches)
        sizes.append(len(seen))
    monkeypatch.setattr(mmengine.dist, 'get_world_size', lambda: processes)
    assert iterations_of_one_pass(make_loader()) == sizes.index(SIZE) + 1


class Stream(IterableDataset):
    def __iter__(self):
        return iter(DATA)


class StreamOfKnownLength(Stream):
    def __len__(self):
        return SIZE


@pytest.mark.parametrize(
    ('loader', 'expected'),
    [
        (lambda: default(drop_last=True), 2),  # then it starts again
        (lambda: endless(drop_last=True), 3),
        (lambda: DataLoader(DATA[:2], 4, sampler=InfiniteSampler(DATA[:2]), drop_last=True), 1),
        (lambda: DataLoader(DATA, 4, sampler=RandomSampler(DATA, num_samples=21)), 6),
        (lambda: DataLoader(StreamOfKnownLength(), 4), 3),
        (lambda: range(7), 7),  # a loader of one's own
    ],
)
def test_other_loaders(loader, expected):
    assert iterations_of_one_pass(loader()) == expected


@pytest.mark.parametrize('loader', [DataLoader(Stream(), 4), iter(DATA), dict(a=default())])
def test_unknown_length_needs_an_interval(loader):
    with pytest.raises(ValueError, match='`interval` of OLSHook must be given'):
        iterations_of_one_pass(loader)


TWICE = dict(type=RepeatDataset, dataset=Samples(DATA), times=2)


@pytest.mark.parametrize(
    ('dataset', 'expected'),
    [
        (DATA, 1),
        (RepeatDataset(Samples(DATA), 3), 3),
        (ConcatDataset([DATA, RepeatDataset(dict(TWICE), 5)]), 10),
    ],
)
def test_repeated_samples(dataset, expected):
    assert passes_over_samples(dataset) == expected
