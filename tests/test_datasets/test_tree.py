"""Walking through nested data sets of the hosts and our own, as configs and built."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, DefaultScope
from torch.testing import assert_close
from torch.utils.data import Subset
from toy_images import ToyImages, image_tensor, make_images

from mmdet_ols.datasets.tree import (
    inner_datasets,
    leaf_datasets,
    map_datasets,
    sources_of_samples,
    unaugmented_config,
    unaugmented_dataset,
    walk_datasets,
)

COUNT = 21
PACK = dict(type='PackInputs')
FLIP = dict(type='RandomFlip', prob=1.0)


@DATASETS.register_module()
class Pictures(ToyImages):
    def get_cat_ids(self, index):
        return [self.get_data_info(index)['gt_label']]


def leaf(seed=0, pipeline=(FLIP, PACK)):
    return dict(type='Pictures', count=COUNT, seed=seed, pipeline=list(pipeline))


def repeat(dataset):
    return dict(type='RepeatDataset', times=2, dataset=dataset)


WRAPPERS = [
    repeat(leaf()),
    dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=leaf()),
    dict(type='mmpretrain.KFoldDataset', fold=1, num_splits=3, seed=0, dataset=leaf()),
    dict(type='mmdet.MultiImageMixDataset', pipeline=[], dataset=leaf()),
    dict(type='NoisyLabelDataset', rate=0.4, seed=1, dataset=leaf()),
    dict(type='BalancedSubset', samples_per_class=1, dataset=leaf()),
    dict(type='InMemoryDataset', dataset=leaf(pipeline=[PACK])),
    dict(type='ConcatDataset', datasets=[repeat(leaf()), leaf(seed=1)]),
]


@pytest.fixture(autouse=True)
def scope():
    import mmdet.datasets  # noqa: F401  (registers MultiImageMixDataset)

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def names(nodes):
    return [node['type'] if isinstance(node, dict) else type(node).__name__ for node in nodes]


@pytest.mark.parametrize('config', WRAPPERS, ids=lambda config: config['type'])
def test_configs_and_built_data_sets_are_walked_alike(config):
    built = DATASETS.build(deepcopy(config))
    expected = [name.rpartition('.')[2] for name in names(walk_datasets(config))]
    assert names(walk_datasets(built)) == expected
    assert expected[0] == config['type'].rpartition('.')[2] and expected[-1] == 'Pictures'
    leaves = list(leaf_datasets(built))
    assert all(type(node) is Pictures for node in leaves)
    assert len(leaves) == len(list(leaf_datasets(config))) == (2 if 'datasets' in config else 1)


def test_order_lists_and_whole_wrappers():
    first, second, third = leaf(0), leaf(1), leaf(2)
    noisy = dict(type='NoisyLabelDataset', dataset=second)
    tree = [repeat(dict(type='ConcatDataset', datasets=[first, noisy])), third]
    assert names(walk_datasets(tree)) == [
        'RepeatDataset', 'ConcatDataset', 'Pictures', 'NoisyLabelDataset', 'Pictures',
        'Pictures',
    ]  # fmt: skip
    leaves = zip(leaf_datasets(tree), (first, second, third))
    assert [node is wanted for node, wanted in leaves] == [True, True, True]
    whole = list(leaf_datasets(tree, whole=('NoisyLabelDataset',)))
    assert whole[1] is noisy and len(whole) == 3
    assert list(leaf_datasets({})) == list(leaf_datasets(None)) == list(leaf_datasets([])) == []
    unknown = dict(type='SomebodysWrapper', depth=3, dataset=first)
    assert [node is first for node in leaf_datasets(unknown)] == [True]
    assert inner_datasets(Subset(first_built := DATASETS.build(leaf()), [0])) == [first_built]


def test_what_selects_or_relabels_samples_is_a_source_of_them():
    plain, fold = leaf(0), dict(type='KFoldDataset', dataset=leaf(1))
    noisy = dict(type='NoisyLabelDataset', dataset=repeat(leaf(2)))
    unknown = dict(type='SomebodysWrapper', depth=3, dataset=fold)
    tree = dict(type='ConcatDataset', datasets=[repeat(plain), repeat(fold), noisy, unknown])
    for whole in (tree, [tree], dict(type='InMemoryDataset', dataset=tree)):
        sources = list(sources_of_samples(whole))
        assert len(sources) == 4
        assert all(a is b for a, b in zip(sources, (plain, fold, noisy, unknown)))
    assert list(sources_of_samples({})) == list(sources_of_samples(None)) == []


def test_mixing_ends_wherever_it_stands():
    mixed = dict(type='mmdet.MultiImageMixDataset', pipeline=[dict(type='Mosaic')], dataset=leaf())
    plain = unaugmented_config(dict(type='SomebodysWrapper', depth=3, dataset=mixed), [PACK])
    assert plain == dict(type='SomebodysWrapper', depth=3, dataset=leaf(pipeline=[PACK]))


def test_a_data_set_that_is_named_is_not_wrapped():
    named = dict(type='Remote', dataset='imagenet-1k', split='train')
    assert list(leaf_datasets(repeat(named))) == [named]
    built = Pictures(pipeline=[])
    built.dataset = 'imagenet-1k'
    assert list(leaf_datasets(built)) == [built]


def test_a_changed_copy_leaves_the_original_alone():
    tree = ConfigDict(repeat(dict(type='ConcatDataset', datasets=[leaf(0), leaf(1)])))
    before = deepcopy(tree)

    def mark(node):
        node['seen'] = len(inner_datasets(node))
        return dict(type='Around', dataset=node) if node.get('seed') == 1 else node

    changed = map_datasets(tree, mark)
    assert tree == before
    assert changed['seen'] == 1 and changed['dataset']['seen'] == 2
    first, second = changed['dataset']['datasets']
    assert first == dict(leaf(0), seen=0)
    assert second == dict(type='Around', dataset=dict(leaf(1), seen=0))
    kept = map_datasets(tree, mark, whole=('ConcatDataset',))
    assert kept['seen'] == 1 and kept['dataset']['datasets'] == before['dataset']['datasets']


@pytest.mark.parametrize('config', WRAPPERS, ids=lambda config: config['type'])
def test_a_built_copy_shares_everything_but_the_augmentation(config):
    built = DATASETS.build(deepcopy(config))
    plain = unaugmented_dataset(built, Compose([PACK]))
    assert len(plain) == len(built) and type(plain) is type(built)
    for node, other in zip(leaf_datasets(built), leaf_datasets(plain)):
        assert other.data_list is node.data_list
    in_memory = config['type'] == 'InMemoryDataset'
    for index in (0, len(built) - 1):
        seen, without = built[index], plain[index]
        flipped = without['inputs'] if in_memory else without['inputs'].flip(2)
        assert_close(seen['inputs'], flipped)  # the original augments as before
        assert seen['data_samples'].gt_label == without['data_samples'].gt_label
        sample = without['data_samples'].sample_idx
    if config['type'] == 'ConcatDataset':
        assert_close(without['inputs'], image_tensor(make_images(COUNT, 1)[0][sample]))


def test_batch_transforms_are_augmentation_too():
    flip = dict(type='BatchRandomFlip', prob=1.0)
    noisy = dict(type='NoisyLabelDataset', rate=0.4, seed=1, dataset=leaf(pipeline=[PACK]))
    config = dict(type='InMemoryDataset', batch_transforms=[flip], dataset=noisy)
    repeat_built = DATASETS.build(deepcopy(repeat(config)))
    plain, built = unaugmented_dataset(repeat_built, None), repeat_built.dataset
    image = image_tensor(make_images(COUNT)[0][4])
    assert_close(plain[4]['inputs'], image)
    assert_close(repeat_built[4]['inputs'], image.flip(2))
    assert plain.dataset.images is built.images and plain.dataset.flipped is built.flipped
    assert 'batch_transforms' not in unaugmented_config(config, [PACK])


def test_the_config_of_a_run_without_augmentation_builds_its_samples():
    noisy = dict(type='NoisyLabelDataset', rate=0.4, dataset=leaf())
    config = dict(type='ConcatDataset', datasets=[repeat(noisy), leaf(seed=1)])
    before = deepcopy(config)
    pipeline = [PACK]
    plain = unaugmented_config(config, pipeline, seed=7)
    assert config == before
    assert [node['pipeline'] for node in leaf_datasets(plain)] == [[PACK], [PACK]]
    assert all(node['pipeline'] is not pipeline for node in leaf_datasets(plain))
    built = DATASETS.build(plain)
    torch.manual_seed(7)  # as MMEngine's Runner does
    learned = DATASETS.build(deepcopy(noisy)).noisy_labels
    labels = [int(built[index]['data_samples'].gt_label) for index in range(len(built))]
    np.testing.assert_array_equal(labels, [*learned, *learned, *make_images(COUNT, 1)[1]])
    assert_close(built[3]['inputs'], image_tensor(make_images(COUNT)[0][3]))
    with pytest.raises(ValueError, match=r'made wrong is not known.*randomness.seed=N'):
        unaugmented_config(config, [PACK])
    # Its own seed counts, and without noise none is needed.
    own = unaugmented_config(dict(noisy, seed=3), [PACK], seed=7)
    assert own['seed'] == 3
    unaugmented_config(dict(noisy, rate=0), [PACK])
