"""Symmetric label noise: which labels become wrong, what they become, and where it is recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

pytest.importorskip('mmpretrain')

from mmengine.dataset import DefaultSampler
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmpretrain.utils import register_all_modules
from toy_numbers import CLASSES, Numbers, noisy  # noqa: F401

from mmdet_ols import InMemoryDataset, NoisyLabelDataset

RARE = 1e-4


@pytest.fixture(scope='module', autouse=True)
def scope():
    register_all_modules(init_default_scope=False)
    init_default_scope('mmpretrain')


@pytest.mark.parametrize(
    ('rate', 'count', 'wrong'),
    [(0.4, 100, 40), (0.4, 99, 39), (0.29, 100, 29), (0.58, 50, 29), (1, 7, 7), (0, 9, 0)],
)
def test_exactly_the_whole_part_of_rate_times_n_labels_are_wrong(rate, count, wrong):
    dataset = noisy(rate, count, seed=0)
    clean = np.arange(count) % 5
    np.testing.assert_array_equal(dataset.clean_labels, clean)
    np.testing.assert_array_equal(dataset.flipped, dataset.noisy_labels != clean)
    assert dataset.flipped.sum() == wrong and dataset.flipped.dtype == bool
    assert set(dataset.noisy_labels) <= set(range(5))


@pytest.mark.parametrize('include_true_class', [False, True])
def test_all_samples_and_all_other_classes_are_equally_likely(include_true_class):
    dataset = noisy(0.5, 10000, seed=1, include_true_class=include_true_class)
    assert chisquare(np.bincount(np.arange(10000)[dataset.flipped] // 1000)).pvalue > RARE
    # By class: the true one of some of the drawn samples, and each of the others as often.
    turned = (dataset.noisy_labels - dataset.clean_labels) % 5
    counts = np.bincount(turned, minlength=5)
    drawn_and_kept = 5000 - counts[1:].sum()
    expected = [drawn_and_kept, *counts[1:]] if include_true_class else counts[1:]
    assert drawn_and_kept == 0 or include_true_class
    assert chisquare(expected).pvalue > RARE
    for label in range(5):  # whatever the true class is
        others = turned[(dataset.clean_labels == label) & dataset.flipped]
        assert chisquare(np.bincount(others, minlength=5)[1:]).pvalue > RARE


def test_the_seed_alone_decides():
    dataset = noisy(0.4, seed=2)
    torch.rand(7)
    np.testing.assert_array_equal(noisy(0.4, seed=2).noisy_labels, dataset.noisy_labels)
    assert (noisy(0.4, seed=3).noisy_labels != dataset.noisy_labels).any()
    # What is wrong at a low rate is wrong at a high one.
    assert noisy(0.6, seed=2).flipped[dataset.flipped].all()


def test_without_a_seed_it_follows_the_run_and_leaves_its_stream_alone():
    set_random_seed(11)
    state = torch.get_rng_state()
    dataset = noisy(0.4)
    torch.testing.assert_close(torch.get_rng_state(), state)
    torch.rand(3)  # such as the weights of a model that was built before
    np.testing.assert_array_equal(noisy(0.4).noisy_labels, dataset.noisy_labels)
    np.testing.assert_array_equal(noisy(0.4, seed=11).noisy_labels, dataset.noisy_labels)
    set_random_seed(12)
    assert (noisy(0.4).noisy_labels != dataset.noisy_labels).any()


def test_the_sampler_of_the_same_seed_does_not_serve_the_wrong_labels_first():
    dataset = noisy(0.4, 5000, seed=0)
    order = list(DefaultSampler(dataset, shuffle=True, seed=0))
    assert dataset.flipped[order[:2000]].mean() == pytest.approx(0.4, abs=0.05)


def test_everyone_is_told_the_noisy_labels():
    dataset = noisy(0.4, seed=0)
    in_memory = InMemoryDataset(noisy(0.4, seed=0))
    labels = dataset.noisy_labels.tolist()
    for source in (dataset, in_memory):
        assert [int(source[index]['data_samples'].gt_label) for index in range(100)] == labels
        assert [source.get_data_info(index)['gt_label'] for index in range(100)] == labels
        assert [source.get_cat_ids(index) for index in range(100)] == [[label] for label in labels]
        np.testing.assert_array_equal(source.get_gt_labels(), labels)
        np.testing.assert_array_equal(source.flipped, dataset.flipped)
        assert source.metainfo['classes'] == CLASSES and source.CLASSES == CLASSES
        assert len(source) == 100
    # Its own image and number, though.
    for index in (0, 57):
        item = in_memory[index]
        assert item['data_samples'].sample_idx == index
        assert (item['inputs'] == index).all()


def test_record_is_written_once_and_compared_afterwards(tmp_path):
    dataset = noisy(0.1, 20, seed=0)
    path = dataset.save_record(tmp_path / 'run')
    table = np.loadtxt(path, delimiter=',', skiprows=1, dtype=int)
    np.testing.assert_array_equal(table[:, 0], np.flatnonzero(dataset.flipped))
    np.testing.assert_array_equal(table[:, 1], table[:, 0] % 5)
    np.testing.assert_array_equal(table[:, 2], dataset.noisy_labels[table[:, 0]])
    written = path.read_bytes()
    InMemoryDataset(noisy(0.1, 20, seed=0)).save_record(tmp_path / 'run')
    with pytest.raises(ValueError, match='`seed` 1 has other wrong labels'):
        noisy(0.1, 20, seed=1).save_record(tmp_path / 'run')
    assert path.read_bytes() == written


@pytest.mark.parametrize('rate', [-0.1, 1.1, '0.4', True, float('nan')])
def test_bad_rates(rate):
    with pytest.raises(ValueError, match=r'`rate` must be in \[0, 1\]'):
        noisy(rate)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(label=[0, 1]), r'sample 0 has \[0, 1\]: multi-label'),
        (dict(label=np.array([0, 1])), 'multi-label'),
        (dict(label=5), r'must be in \[0, 4\].* but got 5 to 5'),
        (dict(classes=None), r'must name 2 classes or more, but got None'),
        (dict(classes=('one',)), 'must name 2 classes or more'),
    ],
)
def test_bad_data_sets(kwargs, message):
    with pytest.raises(ValueError, match=message):
        NoisyLabelDataset(dict(type='Numbers', **kwargs), 0.4)


def test_noise_goes_inside():
    with pytest.raises(TypeError, match='got InMemoryDataset: put it around NoisyLabelDataset'):
        NoisyLabelDataset(InMemoryDataset(dict(type='Numbers')), 0.4)


# --- By a map of classes -------------------------------------------------------------------------


def test_a_class_map_turns_a_share_of_the_mapped_classes_into_what_it_names():
    dataset = noisy(0.3, seed=0, class_map=dict(cat='dog', dog='cat', elk='ant'))
    clean, wrong = dataset.clean_labels, dataset.flipped
    assert wrong.sum() == 18  # of the 60 samples of three classes
    named = np.array([0, 1, 3, 2, 0])
    np.testing.assert_array_equal(dataset.noisy_labels[wrong], named[clean[wrong]])
    assert set(clean[wrong]) == {2, 3, 4}
    # By numbers as well, which are texts in a config; and what is wrong at a low rate stays so.
    by_number = noisy(0.3, seed=0, class_map={'2': 3, 3: '2', 'elk': 0})
    np.testing.assert_array_equal(by_number.noisy_labels, dataset.noisy_labels)
    more = noisy(0.6, seed=0, class_map=dict(cat='dog', dog='cat', elk='ant'))
    assert more.flipped.sum() == 36 and more.flipped[wrong].all()


def test_each_class_may_be_called_the_next_one():
    dataset = noisy(0.25, seed=0, class_map='next')
    clean, wrong = dataset.clean_labels, dataset.flipped
    assert wrong.sum() == 25
    np.testing.assert_array_equal(dataset.noisy_labels[wrong], (clean[wrong] + 1) % 5)
    # The samples that symmetric noise of the seed makes wrong.
    np.testing.assert_array_equal(wrong, noisy(0.25, seed=0).flipped)


def test_symmetric_noise_is_what_it_was():
    """As drawn before there were class maps: runs were recorded with these labels."""
    dataset = noisy(0.1, 40, seed=0)
    assert np.flatnonzero(dataset.flipped).tolist() == [4, 11, 12, 30]
    assert dataset.noisy_labels[dataset.flipped].tolist() == [2, 4, 4, 2]


@pytest.mark.parametrize(
    ('class_map', 'message'),
    [
        ('previous', "or be 'next', but got 'previous'"),
        ({}, r"or be 'next', but got \{\}"),
        (dict(cow='dog'), "names or numbers below 5, but got 'cow': the classes are ant, bee"),
        (dict(cat=5), 'names or numbers below 5, but got 5'),
        (dict(cat='cat'), "maps 'cat' to itself: leave it out"),
        ({'cat': 'dog', 2: 'ant'}, "must name 'cat' once"),
    ],
)
def test_bad_class_maps(class_map, message):
    with pytest.raises(ValueError, match=message):
        noisy(0.4, class_map=class_map)


def test_a_class_map_draws_no_true_class():
    with pytest.raises(ValueError, match='`include_true_class` must be False with a `class_map`'):
        noisy(0.4, class_map='next', include_true_class=True)
