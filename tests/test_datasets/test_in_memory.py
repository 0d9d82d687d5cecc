"""InMemoryDataset in MMPretrain's runner, against the pipeline that loads one image at a time."""

from __future__ import annotations

import copy
from uuid import uuid4

import numpy as np
import pytest
import torch
from torch.testing import assert_close

pytest.importorskip('mmpretrain')

from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS, MODELS
from mmpretrain.utils import register_all_modules
from PIL import Image
from torch import nn

from mmdet_ols import BalancedSubset, InMemoryDataset
from mmdet_ols.datasets import whole_batch_collate

PACK = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
AUGMENT = [
    dict(type='BatchRandomCrop', crop_size=8, padding=2),
    dict(type='BatchRandomFlip'),
    dict(type='BatchCutOut', size=3, fill=[113.8575, 122.961, 125.307]),
]
CLASSES, EACH = ('ant', 'bee', 'cat'), 9


@MODELS.register_module()
class TinyBackbone(nn.Module):
    """A linear layer; always made with the same weights."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(8 * 8 * 3, 6)

    def forward(self, images):
        return (self.layer(images.flatten(1)),)


class Seen(Hook):
    """Keeps what the model was given."""

    def __init__(self):
        self.paths, self.batches = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.paths.append([sample.img_path for sample in data_batch['data_samples']])
        self.batches.append(torch.stack(list(data_batch['inputs'])))


@pytest.fixture(scope='module', autouse=True)
def scope():
    register_all_modules(init_default_scope=False)
    # Other tests of the process may have left another one.
    init_default_scope('mmpretrain')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """9 images of 8 x 8 pixels for each of three classes."""
    root = tmp_path_factory.mktemp('images')
    draws = np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir()
        for index in range(EACH):
            pixels = draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f'{index}.png')
    return root


def by_image(folder, **kwargs):
    return dict(type='CustomDataset', data_prefix=str(folder), pipeline=PACK, **kwargs)


def in_memory(folder, **kwargs):
    return dict(type='InMemoryDataset', dataset=by_image(folder), **kwargs)


def train(work_dir, dataset, epochs=2, augments=None, resume_from=None, loader=()):
    """Train a tiny classifier; returns its weights, what it saw, and the runner."""
    seen = Seen()
    seen_loader = dict(
        batch_size=8,
        num_workers=0,
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    val_loader = {
        **copy.deepcopy(seen_loader),
        'sampler': dict(type='DefaultSampler', shuffle=False),
    }
    runner = Runner(
        model=dict(
            type='ImageClassifier',
            backbone=dict(type='TinyBackbone'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=6),
            data_preprocessor=dict(
                num_classes=3,
                mean=[125.307, 122.961, 113.8575],
                std=[51.5865, 50.847, 51.255],
                to_rgb=True,
                batch_augments=augments,
            ),
        ),
        work_dir=str(work_dir),
        experiment_name=uuid4().hex,
        train_dataloader={**seen_loader, **dict(loader)},
        val_dataloader=val_loader,
        val_cfg=dict(),
        val_evaluator=dict(type='Accuracy'),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[seen],
        randomness=dict(seed=3),
        default_scope='mmpretrain',
        load_from=str(resume_from) if resume_from else None,
        resume=bool(resume_from),
        log_level='ERROR',
    )
    runner.train()
    weights = {name: value.detach().clone() for name, value in runner.model.named_parameters()}
    return weights, seen, runner


def exactly(actual, expected):
    assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize('collate', ['whole_batch_collate', 'default_collate', 'pseudo_collate'])
def test_without_augmentation_it_trains_as_one_image_at_a_time(tmp_path, folder, collate):
    loader = dict(collate_fn=dict(type=collate))
    config = in_memory(folder)
    kept = copy.deepcopy(config)
    weights, seen, runner = train(tmp_path / 'ours', config, loader=loader)
    assert config == kept
    expected, expected_seen, host = train(tmp_path / 'hosts', by_image(folder), loader=loader)
    assert seen.paths == expected_seen.paths and len(seen.paths) == 8
    exactly(seen.batches, expected_seen.batches)
    exactly(weights, expected)
    accuracy = [run.message_hub.get_scalar('val/accuracy/top1').data for run in (runner, host)]
    np.testing.assert_array_equal(*accuracy)
    ours, theirs = runner.train_dataloader.dataset, host.train_dataloader.dataset
    assert ours.metainfo == theirs.metainfo
    assert ours.get_cat_ids(20) == [2]
    np.testing.assert_array_equal(ours.get_gt_labels(), theirs.get_gt_labels())


def test_a_resumed_run_draws_the_same_augmentations(tmp_path, folder):
    config = in_memory(folder, batch_transforms=AUGMENT)
    weights, seen, _ = train(tmp_path / 'whole', config, epochs=3)
    train(tmp_path / 'first', config, epochs=1)
    resumed, seen_later, _ = train(
        tmp_path / 'rest', config, epochs=3, resume_from=tmp_path / 'first' / 'epoch_1.pth'
    )
    exactly(seen_later.batches, seen.batches[4:])
    exactly(resumed, weights)


def test_every_epoch_augments_anew(tmp_path, folder):
    # In the data set's order, so that only the augmentation can differ.
    loader = dict(sampler=dict(type='DefaultSampler', shuffle=False))
    config = in_memory(folder, batch_transforms=AUGMENT)
    _, seen, _ = train(tmp_path, config, loader=loader)
    assert seen.paths[:4] == seen.paths[4:]
    for first, second in zip(seen.batches[:4], seen.batches[4:]):
        assert not torch.equal(first, second)


def test_samples_that_come_again_in_an_epoch_are_augmented_anew(folder):
    """As those of a wrapper that repeats them, or in a loop that counts no epochs."""
    dataset = InMemoryDataset(by_image(folder), AUGMENT)
    run = MessageHub.get_instance(uuid4().hex)
    drawn = {}
    for epoch in (0, 1, 0):  # back, as a resumed run would begin
        run.update_info_dict(dict(seed=3, epoch=epoch))
        again = [whole_batch_collate(dataset.__getitems__(range(9)))['inputs'] for _ in range(3)]
        assert not torch.equal(again[0], again[1]) and not torch.equal(again[1], again[2])
        exactly(drawn.setdefault(epoch, again), again)
    assert not torch.equal(drawn[0][0], drawn[1][0])


def test_batches_differ_from_each_other_though_images_do_not(folder):
    """Equal images in two batches of one epoch are not augmented alike."""
    dataset = InMemoryDataset(
        by_image(folder), [dict(type='BatchRandomCrop', crop_size=8, padding=4)]
    )
    dataset.images[:] = dataset.images[0]
    first, second = (
        torch.stack([item['inputs'] for item in dataset.__getitems__(indices)])
        for indices in (range(0, 9), range(9, 18))
    )
    assert not torch.equal(first, second)


def test_outside_a_run_torchs_seed_decides(folder):
    MessageHub.get_instance(uuid4().hex)  # that of the last run knows its epoch
    dataset = InMemoryDataset(by_image(folder), AUGMENT)
    draws = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        draws.append(torch.stack([item['inputs'] for item in dataset.__getitems__(range(27))]))
    exactly(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_what_a_batch_writes_into_its_samples_stays_there(tmp_path, folder):
    mixup = dict(augments=[dict(type='Mixup', alpha=1.0)])
    weights, _, runner = train(tmp_path / 'mixup', in_memory(folder), augments=mixup)
    dataset = runner.train_dataloader.dataset
    for index, item in enumerate(dataset.__getitems__(range(27))):
        sample = item['data_samples']
        assert sample.keys() == ['gt_label'] and 'num_classes' not in sample.metainfo_keys()
        assert sample.gt_label.tolist() == [index // EACH]
    # The images were mixed, exactly as in the host's pipeline.
    expected, _, _ = train(tmp_path / 'hosts', by_image(folder), augments=mixup)
    exactly(weights, expected)
    plain, _, _ = train(tmp_path / 'plain', in_memory(folder))
    assert not torch.equal(weights['head.fc.weight'], plain['head.fc.weight'])


def test_channels_and_meta_data_are_those_of_the_pipeline(folder):
    theirs = DATASETS.build(by_image(folder))
    ours = InMemoryDataset(theirs)
    assert ours.images.shape == (27, 3, 8, 8) and ours.images.dtype == torch.uint8
    rgb = np.asarray(Image.open(theirs.get_data_info(13)['img_path']))
    np.testing.assert_array_equal(ours.images[13].numpy(), rgb.transpose(2, 0, 1)[::-1])
    item, expected = ours[13], theirs[13]
    assert item.keys() == expected.keys()
    exactly(item['inputs'], expected['inputs'])
    assert item['data_samples'].metainfo == expected['data_samples'].metainfo
    assert ours.CLASSES == CLASSES
    duplicate = copy.copy(ours)  # as when a hook looks at the images without their augmentation
    duplicate.batch_transforms = []
    assert duplicate.images is ours.images


def test_worker_processes_serve_the_same_images(folder):
    dataset = InMemoryDataset(by_image(folder))
    loader = torch.utils.data.DataLoader(
        dataset, 5, num_workers=1, collate_fn=lambda batch: batch, multiprocessing_context='fork'
    )
    served = [item['inputs'] for batch in loader for item in batch]
    exactly(torch.stack(served), dataset.images)


def test_several_ranks_share_the_epoch(folder, monkeypatch):
    """Each rank has all images and serves the ones that its sampler names."""
    from mmengine.dataset import sampler

    served = []
    for rank in range(2):
        monkeypatch.setattr(sampler, 'get_dist_info', lambda rank=rank: (rank, 2))
        loader = Runner.build_dataloader(
            dict(
                batch_size=4,
                num_workers=0,
                dataset=in_memory(folder),
                sampler=dict(type='DefaultSampler', shuffle=True, round_up=False),
                collate_fn=dict(type='default_collate'),
            ),
            seed=0,
        )
        served.append([s.sample_idx for batch in loader for s in batch['data_samples']])
    assert [len(part) for part in served] == [14, 13]
    assert sorted(served[0] + served[1]) == list(range(27))


def test_balanced_subset_keeps_the_first_of_each_class(folder):
    subset = BalancedSubset(by_image(folder), 4)
    names = [f'{name}/{index}.png' for name in CLASSES for index in range(4)]
    infos = [subset.get_data_info(index) for index in range(len(subset))]
    assert [info['img_path'] for info in infos] == [str(folder / name) for name in names]
    assert [info['sample_idx'] for info in infos] == list(range(12))
    assert InMemoryDataset(subset).images.shape == (12, 3, 8, 8)


class Shuffled(CustomDataset):
    """The same samples, classes mixed."""

    def load_data_list(self):
        return super().load_data_list()[::-2]


def test_balanced_subset_keeps_the_order_of_the_data_set(folder):
    whole = Shuffled(data_prefix=str(folder), serialize_data=False)
    paths = [whole.get_data_info(index)['img_path'] for index in range(len(whole))]
    subset = BalancedSubset(whole, 2)
    kept = [subset.get_data_info(index)['img_path'] for index in range(6)]
    assert kept == [path for path in paths if path in kept]


def test_bad_arguments(folder, tmp_path):
    with pytest.raises(ValueError, match='`samples_per_class` must be a positive integer, .* 0'):
        BalancedSubset(by_image(folder), 0)
    with pytest.raises(ValueError, match='smallest class, but got 10 and class 0 has 9'):
        BalancedSubset(by_image(folder), 10)
    with pytest.raises(ValueError, match='put wrappers around BalancedSubset'):
        BalancedSubset(BalancedSubset(by_image(folder), 4), 2)
    with pytest.raises(TypeError, match='whole batches .* but got RandomFlip'):
        InMemoryDataset(by_image(folder), [dict(type='mmpretrain.RandomFlip', prob=0.5)])
    random = dict(by_image(folder), pipeline=[PACK[0], dict(type='RandomFlip', prob=0.5), PACK[1]])
    for nested in (random, dict(type='RepeatDataset', times=2, dataset=random)):
        with pytest.raises(ValueError, match='must not be random, .* but got RandomFlip'):
            InMemoryDataset(nested)
    random = dict(by_image(folder), pipeline=[PACK[0], dict(type='CutOutSquare', size=3), PACK[1]])
    with pytest.raises(ValueError, match='must not be random, .* but got CutOutSquare'):
        InMemoryDataset(random)
    with pytest.raises(ValueError, match=r"must end with dict\(type='PackInputs'\)"):
        InMemoryDataset(dict(by_image(folder), pipeline=PACK[:1]))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="set device='cpu'"):
            InMemoryDataset(by_image(folder), device='cuda')
    (tmp_path / 'one').mkdir()
    for index, size in enumerate([8, 8, 9]):
        Image.new('RGB', (size, 8)).save(tmp_path / 'one' / f'{index}.png')
    with pytest.raises(ValueError, match=r'sample 2 is torch.uint8 of shape \(3, 8, 9\).*Resize'):
        InMemoryDataset(by_image(tmp_path))
    deep = ['I;16'] if hasattr(torch, 'uint16') else []  # older ones make no tensor of it
    for mode in ('L', *deep):
        Image.new(mode, (8, 8)).save(tmp_path / 'one/1.png')
        as_stored = [dict(PACK[0], color_type='unchanged'), PACK[1]]
        with pytest.raises(
            ValueError, match=r"sample 1 is .* \(1, 8, 8\) .*: set color_type='color'"
        ):
            InMemoryDataset(dict(by_image(tmp_path), pipeline=as_stored))
    with pytest.raises(AttributeError, match='such as KFoldDataset, into it'):
        _ = InMemoryDataset(by_image(folder)).get_subset_
    with pytest.raises(ValueError, match='have passed their pipeline'):
        InMemoryDataset(by_image(folder)).pipeline = PACK
