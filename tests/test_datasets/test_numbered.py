"""The numbers of samples behind wrappers, and the labels that belong to them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from torch.utils.data import DataLoader, Subset
from toy_images import ToyImages, build_runner, classifier, loader

import mmdet_ols.models.sample_classifier  # noqa: F401  (registers SampleClassifier)
from mmdet_ols import NumberedDataset
from mmdet_ols.core import sample_numbers
from mmdet_ols.datasets import whole_batch_collate
from mmdet_ols.datasets.tree import sources_of_samples

COUNT = 21
PACK = dict(type='PackInputs')


@DATASETS.register_module()
class PicturesOfClasses(ToyImages):
    def get_cat_ids(self, index):
        return [self.get_data_info(index)['gt_label']]


@pytest.fixture(autouse=True)
def scope():
    import mmpretrain.datasets  # noqa: F401  (registers KFoldDataset)

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def plain(seed=0, pipeline=(PACK,)):
    return dict(type='PicturesOfClasses', count=COUNT, seed=seed, pipeline=list(pipeline))


def repeat(dataset):
    return dict(type='RepeatDataset', times=2, dataset=dataset)


def noisy(seed=0):
    return dict(type='NoisyLabelDataset', rate=0.4, seed=1, dataset=plain(seed))


def fold(seed=0):
    return dict(type='mmpretrain.KFoldDataset', fold=1, num_splits=3, seed=0, dataset=plain(seed))


def balanced(dataset):
    return dict(type='ClassBalancedDataset', oversample_thr=0.3, dataset=dataset)


def concat(*parts):
    return dict(type='ConcatDataset', datasets=list(parts))


def in_memory(dataset):
    return dict(type='InMemoryDataset', dataset=dataset)


#: The data set, and how many different samples it has.
CASES = {
    'one': (plain(), COUNT),
    'wrong labels': (noisy(), COUNT),
    'fold': (fold(), 14),
    'concat': (concat(plain(), plain(1)), 2 * COUNT),
    'repeat': (repeat(plain()), COUNT),
    'balanced': (balanced(plain()), COUNT),
    'in memory': (in_memory(concat(noisy(), repeat(fold(1)))), COUNT + 14),
    'all': (concat(repeat(noisy()), in_memory(balanced(plain(2))), fold(1)), 2 * COUNT + 14),
}
EVERY_CASE = pytest.mark.parametrize('config, count', CASES.values(), ids=CASES)


@EVERY_CASE
def test_each_image_has_one_number_and_each_number_one_image(config, count):
    dataset = NumberedDataset(config)
    by_number, images = {}, {}
    for index in range(len(dataset)):
        packed = dataset[index]
        number = packed['data_samples'].sample_idx
        assert number == int(dataset.numbers[index]) == dataset.get_data_info(index)['sample_idx']
        picture = packed['inputs'].numpy().tobytes()
        assert by_number.setdefault(number, picture) == picture
        images.setdefault(picture, set()).add(number)
        assert dataset.given_labels[number] == packed['data_samples'].gt_label
    assert sorted(by_number) == list(range(count)) and dataset.num_samples == count
    assert all(len(numbers) == 1 for numbers in images.values())


@EVERY_CASE
def test_samples_are_counted_as_the_report_counts_them(config, count):
    """It goes through the sources one after the other, and through each in its order."""
    dataset = NumberedDataset(config)
    pictures = {
        dataset[index]['data_samples'].sample_idx: dataset[index]['inputs']
        for index in range(len(dataset))
    }
    in_order = [
        source[index]['inputs']
        for source in map(DATASETS.build, sources_of_samples(config))
        for index in range(len(source))
    ]
    assert len(in_order) == count
    for number, picture in enumerate(in_order):
        assert torch.equal(picture, pictures[number])


def test_truth_is_that_of_the_data_sets_that_know_it():
    dataset = NumberedDataset(concat(plain(1), noisy()))
    inner = dataset.dataset.datasets[1]
    assert torch.equal(dataset.true_labels[COUNT:], torch.as_tensor(inner.clean_labels))
    assert torch.equal(dataset.given_labels[COUNT:], torch.as_tensor(inner.noisy_labels))
    assert torch.equal(dataset.true_labels[:COUNT], dataset.given_labels[:COUNT])
    assert (dataset.true_labels != dataset.given_labels).sum() == inner.flipped.sum() > 0
    assert NumberedDataset(plain()).true_labels is None


@pytest.mark.parametrize('wrap', [in_memory, lambda dataset: dataset])
def test_whole_batches_have_numbers(wrap):
    dataset = NumberedDataset(wrap(concat(noisy(), plain(1))))
    order = torch.randperm(len(dataset)).tolist()
    batches = DataLoader(dataset, 5, sampler=order, collate_fn=whole_batch_collate)
    numbers = torch.cat([sample_numbers(batch['data_samples']) for batch in batches])
    assert numbers.tolist() == order


def test_a_subset_of_another_kind_is_counted_by_its_own_indices():
    dataset = NumberedDataset(Subset(NumberedDataset(plain()), [5, 3, 5]))
    assert [dataset[i]['data_samples'].sample_idx for i in range(3)] == [0, 1, 2]


def test_what_is_not_packed_is_an_error():
    with pytest.raises(ValueError, match='must end with dict'):
        NumberedDataset(plain(pipeline=[]))[0]
    with pytest.raises(ValueError, match='put dict'):
        sample_numbers([{}])


@pytest.mark.parametrize(
    'dataset', [noisy(), concat(noisy(), repeat(plain())), repeat(plain())], ids=str
)
def test_a_pipeline_that_a_hook_exchanges_reaches_the_images(dataset):
    from mmpretrain.engine.hooks import SwitchRecipeHook

    numbered = NumberedDataset(dataset)
    before = numbered[COUNT - 1]['inputs']
    new = Compose([TRANSFORMS.build(dict(type='Resize', scale=(3, 5))), TRANSFORMS.build(PACK)])
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=numbered))
    SwitchRecipeHook._switch_train_pipeline(SimpleNamespace(train_loop=loop), new)
    shapes = [tuple(numbered[i]['inputs'].shape) for i in (0, len(numbered) - 1)]
    assert shapes == [(3, 5, 3)] * 2 and before.shape != shapes[0]
    assert numbered[COUNT - 1]['data_samples'].sample_idx == COUNT - 1


class Spy(torch.nn.Module):
    """A loss that keeps what it is called with."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, cls_score, label, avg_factor, sample_idx):
        self.calls.append((label.clone(), sample_idx))
        return torch.nn.functional.cross_entropy(cls_score, label)


def test_the_loss_of_a_classifier_learns_the_numbers(tmp_path):
    data = loader(
        shuffle=True,
        wrap=lambda dataset: dict(type='NumberedDataset', dataset=concat(noisy(), dataset)),
    )
    model = dict(classifier(), type='SampleClassifier')
    runner = build_runner(
        tmp_path,
        model,
        train_dataloader=data,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
    )
    runner.model.head.loss_module = spy = Spy()
    runner.train()
    labels, numbers = map(torch.cat, zip(*spy.calls))
    given = runner.train_dataloader.dataset.given_labels
    assert sorted(numbers.tolist()) == list(range(len(given)))
    assert torch.equal(labels, given[numbers])
