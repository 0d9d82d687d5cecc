"""Two views of each image, through the data loaders of a run."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from mmengine.registry import DATASETS, DefaultScope
from mmpretrain.utils import register_all_modules
from torch.testing import assert_close
from torch.utils.data import DataLoader
from toy_images import SIZE, ToyImages, image_tensor, make_images

from mmdet_ols import BatchTransform, TwoViewDataset
from mmdet_ols.datasets import whole_batch_collate
from mmdet_ols.datasets.tree import sources_of_samples, unaugmented_config, unaugmented_dataset

PACK = dict(type='PackInputs')
IMAGES = dict(type='ToyImages', count=6, pipeline=[PACK])


@pytest.fixture(autouse=True)
def scope():
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def build(config):
    return DATASETS.build(deepcopy(config))


class AddNoise(BatchTransform):
    """Adds a whole number to each image, another one each time."""

    def __call__(self, images, generator=None):
        return images + torch.randint(1, 200, (len(images), 1, 1, 1), generator=generator).byte()


def in_memory():
    return dict(type='InMemoryDataset', dataset=IMAGES, batch_transforms=[AddNoise()])


def test_a_batch_holds_the_first_views_and_then_the_second_ones():
    flips = [dict(type='RandomFlip', prob=0.5), PACK]
    dataset = build(dict(type='TwoViewDataset', dataset=dict(IMAGES, pipeline=flips)))
    assert len(dataset) == 6 and isinstance(dataset.dataset, ToyImages)
    batches = list(DataLoader(dataset, batch_size=4, collate_fn=pseudo_collate))
    assert [len(batch['inputs']) for batch in batches] == [8, 4]
    numbers = [sample.sample_idx for sample in batches[0]['data_samples']]
    assert numbers == [0, 1, 2, 3, 0, 1, 2, 3]
    pictures, labels = make_images(6)
    same = []
    for image, sample in zip(batches[0]['inputs'], batches[0]['data_samples']):
        original = image_tensor(pictures[sample.sample_idx])
        assert sample.gt_label.item() == labels[sample.sample_idx]
        assert torch.equal(image, original) or torch.equal(image, original.flip(-1))
        same.append(torch.equal(image, original))
    assert same[:4] != same[4:]  # drawn anew, with this seed


@pytest.mark.parametrize('collate', [whole_batch_collate, pseudo_collate])
def test_images_in_memory_are_augmented_twice(collate):
    dataset = build(dict(type='TwoViewDataset', dataset=in_memory()))
    (batch,) = DataLoader(dataset, batch_size=6, collate_fn=collate)
    images = torch.stack(list(batch['inputs']))
    assert images.shape == (12, 3, SIZE, SIZE)
    added = images - dataset.images.repeat(2, 1, 1, 1)
    amounts = added.flatten(1).float()
    assert_close(amounts, amounts[:, :1].expand_as(amounts))  # one number for each image
    assert (amounts[:6, 0] != amounts[6:, 0]).any()
    assert [s.sample_idx for s in batch['data_samples']] == [*range(6), *range(6)]


def test_a_run_that_is_resumed_sees_the_same_views():
    hub = MessageHub.get_current_instance()
    before = hub.runtime_info.copy()
    try:
        hub.update_info('seed', 3)
        seen = []
        for epochs in ((0, 1), (1,)):  # the second one is resumed after an epoch
            dataset = build(dict(type='TwoViewDataset', dataset=in_memory()))
            for epoch in epochs:
                hub.update_info('epoch', epoch)
                seen.append(dataset.__getitems__([4, 2]).images)
    finally:
        hub._runtime_info.clear()
        hub._runtime_info.update(before)
    assert torch.equal(seen[1], seen[2]) and not torch.equal(seen[0], seen[1])


def test_measurements_on_the_training_images_see_each_once():
    config = dict(type='TwoViewDataset', dataset=in_memory())
    assert [s['type'] for s in sources_of_samples(config)] == ['ToyImages']
    assert unaugmented_config(config, [PACK])['type'] == 'InMemoryDataset'
    plain = unaugmented_dataset(build(config), None)
    assert not isinstance(plain, TwoViewDataset)
    assert len(plain.__getitems__([0, 1])) == 2
