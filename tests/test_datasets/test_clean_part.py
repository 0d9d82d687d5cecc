"""The clean part: which samples it holds, with which labels, and what is left for the training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip('mmpretrain')

from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmpretrain.utils import register_all_modules
from toy_numbers import CLASSES, Numbers, noisy

from mmdet_ols import CleanPartDataset, InMemoryDataset, NoisyLabelDataset
from mmdet_ols.datasets.clean_part import clean_part_of
from mmdet_ols.datasets.tree import unaugmented_config


@pytest.fixture(scope='module', autouse=True)
def scope():
    register_all_modules(init_default_scope=False)
    init_default_scope('mmpretrain')


def labels(dataset):
    """As the network gets them."""
    return [int(dataset[index]['data_samples'].gt_label) for index in range(len(dataset))]


def indices(dataset):
    """As the images tell them."""
    return [int(dataset[index]['inputs'][0, 0, 0]) for index in range(len(dataset))]


def rest(dataset=None, **kwargs):
    return CleanPartDataset(dataset or noisy(0.4, seed=0), **dict(dict(seed=0), **kwargs))


def test_the_parts_are_the_whole_and_the_clean_one_is_balanced_and_true():
    part = rest(samples_per_class=3)
    clean = part.clean_part()
    assert len(clean) == 15 and len(part) == 85
    assert sorted(indices(clean) + indices(part)) == list(range(100))
    assert labels(clean) == [index % 5 for index in indices(clean)]
    assert np.bincount(labels(clean)).tolist() == [3] * 5
    # The wrong labels are those of all who share the samples.
    whole = noisy(0.4, seed=0)
    assert labels(part) == [int(whole.noisy_labels[index]) for index in indices(part)]
    built = CleanPartDataset(noisy(0.4, seed=0), 'clean', 3, seed=0)
    assert indices(built) == indices(clean) and labels(built) == labels(clean)


def test_everyone_is_told_the_same():
    part = rest(samples_per_class=2)
    whole = noisy(0.4, seed=0)
    for view, wrong in ((part, whole.flipped[part.indices]), (part.clean_part(), None)):
        assert indices(view) == view.indices.tolist()
        expected = labels(view)
        assert [view.get_data_info(index)['gt_label'] for index in range(len(view))] == expected
        assert [view.get_cat_ids(index) for index in range(len(view))] == [[y] for y in expected]
        assert list(view.get_gt_labels()) == expected
        assert view.metainfo['classes'] == CLASSES
        if wrong is None:
            assert not hasattr(view, 'flipped') and not hasattr(view, 'noisy_labels')
        else:
            np.testing.assert_array_equal(view.flipped, wrong)
            np.testing.assert_array_equal(view.noisy_labels, expected)
            np.testing.assert_array_equal(view.clean_labels, view.indices % 5)


def test_the_seed_alone_decides_and_every_sample_may_be_drawn():
    first = rest(samples_per_class=2)
    torch.rand(5)
    np.testing.assert_array_equal(rest(samples_per_class=2).indices, first.indices)
    # Neither the noise nor its rate does.
    for other in (noisy(0.8, seed=7), Numbers(100)):
        np.testing.assert_array_equal(rest(other, samples_per_class=2).indices, first.indices)
    set_random_seed(0)
    np.testing.assert_array_equal(rest(samples_per_class=2, seed=None).indices, first.indices)
    few = Numbers(20)
    drawn = {
        index
        for seed in range(60)
        for index in rest(few, samples_per_class=1, seed=seed).clean_part().indices
    }
    assert drawn == set(range(20))


def test_a_wrapper_of_the_hosts_may_stand_inside_and_outside():
    both = ConcatDataset([Numbers(20), Numbers(30)])
    part = rest(both, samples_per_class=2)
    clean = part.clean_part()
    assert (len(part), len(clean)) == (40, 10)
    assert np.bincount(labels(clean)).tolist() == [2] * 5
    config = dict(
        type='CleanPartDataset', samples_per_class=2, seed=0, dataset=dict(type='Numbers', count=20)
    )
    repeated = RepeatDataset(config, times=3)
    assert len(repeated) == 30 and labels(repeated)[:10] == labels(repeated)[10:20]
    assert sorted(indices(clean_part_of(repeated)) + indices(repeated)[:10]) == list(range(20))


def test_the_clean_part_lies_in_memory_where_the_rest_does():
    part = rest(samples_per_class=2)
    training = InMemoryDataset(part, [dict(type='BatchRandomFlip', prob=0.5)])
    assert labels(training) == labels(part)
    clean = clean_part_of(training)
    assert isinstance(clean, InMemoryDataset) and labels(clean) == labels(part.clean_part())
    assert clean.batch_transforms == training.batch_transforms
    assert type(clean_part_of(part)) is CleanPartDataset


@pytest.mark.parametrize('dataset', [Numbers, lambda: [rest(), rest()]], ids=['none', 'two'])
def test_there_has_to_be_one_clean_part(dataset):
    with pytest.raises(ValueError, match=r"must have one clean part.*part='rest'.*have [02]\."):
        clean_part_of(dataset())


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(samples_per_class=0), 'must be a positive integer, but got 0'),
        (dict(samples_per_class=True), 'must be a positive integer, but got True'),
        (dict(samples_per_class=20), r"got 20, and class 'ant' has 20 samples: take fewer"),
        (dict(dataset=Numbers(4)), "class 'ant' has 1 samples: add samples of this class"),
        (dict(part='both'), r"`part` must be one of \('rest', 'clean'\), but got 'both'"),
        (dict(dataset=Numbers(classes=None)), 'must name its classes'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        rest(**kwargs)


def test_images_in_memory_go_around_it():
    with pytest.raises(TypeError, match='put that around CleanPartDataset'):
        rest(InMemoryDataset(Numbers(20)))
    with pytest.raises(TypeError, match='put it around NoisyLabelDataset'):
        NoisyLabelDataset(InMemoryDataset(rest(Numbers(20), samples_per_class=1)), 0.4)


def test_a_config_without_augmentation_draws_the_samples_of_the_run():
    config = dict(type='CleanPartDataset', dataset=dict(type='Numbers'))
    assert unaugmented_config(config, [], seed=3)['seed'] == 3
    assert unaugmented_config(dict(config, seed=4), [])['seed'] == 4
    with pytest.raises(ValueError, match=r'held out is not known.*randomness.seed=N'):
        unaugmented_config(config, [])
