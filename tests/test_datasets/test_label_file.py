"""Labels from a file: which image gets which, and what is refused."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

pytest.importorskip('mmpretrain')

from mmengine.registry import init_default_scope
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS
from mmpretrain.utils import register_all_modules
from PIL import Image

from mmdet_ols import InMemoryDataset, LabelFileDataset
from mmdet_ols.analysis.split_data import split_datasets
from mmdet_ols.datasets.tree import unaugmented_dataset

CLASSES = ('cat', 'dog', 'elk')
TEXT = """# image clean worst
dog/0.png 1 2
cat/0.png 0 0
cat/1.png cat dog
elk/0.png 2 0
"""
#: The images in the order of the data set: cat/0, cat/1, dog/0, elk/0.
WORST = [0, 1, 2, 0]


@DATASETS.register_module()
class WithoutPaths(BaseDataset):
    """Samples that are known by their place only."""

    def __init__(self, labels=(1, 0, 0, 2)):
        self.labels = labels
        super().__init__('', classes=CLASSES, pipeline=[dict(type='PackInputs')])

    def load_data_list(self):
        image = np.zeros((2, 2, 3), np.uint8)
        return [dict(gt_label=label, img=image) for label in self.labels]


@pytest.fixture(scope='module', autouse=True)
def scope():
    register_all_modules(init_default_scope=False)
    init_default_scope('mmpretrain')


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(('cat/0', 'cat/1', 'dog/0', 'elk/0')):
        path = tmp_path / 'train' / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (2, 2), (number, 0, 0)).save(path)
    return tmp_path


def images(folder):
    return dict(
        type='CustomDataset', data_root=str(folder), data_prefix='train',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )  # fmt: skip


def labelled(folder, text=TEXT, column='worst', clean='clean', dataset=None, **kwargs):
    file = folder / 'labels.txt'
    file.write_text(text)
    return LabelFileDataset(dataset or images(folder), file, column, clean, **kwargs)


def test_each_image_gets_the_label_of_its_line(folder):
    dataset = labelled(folder)
    assert dataset.noisy_labels.tolist() == WORST
    assert dataset.clean_labels.tolist() == [0, 0, 1, 2]
    assert dataset.flipped.tolist() == [False, True, True, True]
    for source in (dataset, InMemoryDataset(labelled(folder))):
        assert [int(source[index]['data_samples'].gt_label) for index in range(4)] == WORST
        assert [int(source[index]['inputs'][2, 0, 0]) for index in range(4)] == [0, 1, 2, 3]
        assert [source.get_cat_ids(index) for index in range(4)] == [[label] for label in WORST]
        assert source.get_gt_labels().tolist() == WORST
        assert source.flipped.tolist() == dataset.flipped.tolist()
    assert not labelled(folder, column='clean').flipped.any()


def test_a_packed_file_and_names_with_other_folders(folder):
    path = folder / 'labels.txt.gz'
    path.write_bytes(gzip.compress(TEXT.replace('cat/0', 'train/cat/0').encode()))
    assert LabelFileDataset(images(folder), path, 'worst').noisy_labels.tolist() == WORST


def test_the_text_may_be_in_any_encoding(folder):
    path = folder / 'labels.txt'
    path.write_text(TEXT, encoding='utf-16')
    assert LabelFileDataset(images(folder), path, 'worst', 'clean').noisy_labels.tolist() == WORST
    path.write_bytes(bytes(9))
    with pytest.raises(ValueError, match=r'labels\.txt cannot be read, since it is not text'):
        LabelFileDataset(images(folder), path, 'worst', 'clean')


def test_the_wrong_labels_are_recorded(folder):
    path = labelled(folder).save_record(folder / 'run')
    assert path.read_text() == 'index,clean_label,noisy_label\n1,0,1\n2,1,2\n3,2,0\n'
    InMemoryDataset(labelled(folder)).save_record(folder / 'run')
    with pytest.raises(ValueError, match='column clean of .* has other wrong labels'):
        labelled(folder, column='clean').save_record(folder / 'run')


def test_samples_without_paths_follow_the_order_that_the_true_labels_prove(folder):
    dataset = labelled(folder, dataset=WithoutPaths())
    assert dataset.noisy_labels.tolist() == [2, 0, 1, 0]
    with pytest.raises(ValueError, match='2 of 4 differ; the first is .dog/0.png.'):
        labelled(folder, dataset=WithoutPaths((0, 0, 1, 2)))
    with pytest.raises(ValueError, match='for each of 3.* but got 4 lines'):
        labelled(folder, dataset=WithoutPaths((1, 0, 0)))
    with pytest.raises(ValueError, match='clean=None'):
        labelled(folder, dataset=WithoutPaths(), clean=None)


def test_a_part_of_the_images(folder):
    part = dict(type='KFoldDataset', num_splits=2, dataset=images(folder))
    with pytest.raises(ValueError, match='2 of 4 have none in `dataset`, the first one .cat/0.png'):
        labelled(folder, dataset=part)
    dataset = labelled(folder, dataset=part, whole=False)
    assert dataset.noisy_labels.tolist() == WORST[2:]
    assert [int(dataset[index]['inputs'][2, 0, 0]) for index in range(2)] == [2, 3]
    # A pass without augmentation sees the same images with the same labels.
    plain = unaugmented_dataset(dataset, lambda info: (info['img_path'][-9:], info['gt_label']))
    assert [plain[index] for index in range(2)] == [('dog/0.png', 2), ('elk/0.png', 0)]


def test_reports_see_the_labels_of_the_training(folder):
    from mmengine.config import Config

    (folder / 'labels.txt').write_text(TEXT)
    wrapper = dict(
        type='LabelFileDataset', file=str(folder / 'labels.txt'), column='worst',
        dataset=images(folder),
    )  # fmt: skip
    inner = dict(type='InMemoryDataset', dataset=wrapper)
    cfg = Config(dict(default_scope='mmpretrain', train_dataloader=dict(dataset=inner)))
    (dataset,) = split_datasets(cfg, 'train', images(folder)['pipeline'])
    assert [int(dataset[index]['data_samples'].gt_label) for index in range(4)] == WORST


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', r"must name the columns, as in .* it is ''"),
        ('image clean worst\n', "it is 'image clean worst'"),
        ('# image clean\ncat/0.png 0\n', 'worst is not among them: clean'),
        (TEXT.replace('cat/0.png 0 0', 'cat/0.png 0'), 'line 3: expected a name and 2 labels'),
        (TEXT.replace('elk/0.png 2 0', 'elk/0.png 2 3'), r"a number in \[0, 2\], but got '3' for"),
        (TEXT.replace('elk/0.png 2 0', 'elk/0.png 2 -1'), "but got '-1'"),
        (TEXT.replace('cat dog', 'cat ant'), "but got 'ant' for 'cat/1.png'"),
        (TEXT.replace('cat/1', 'cat/0'), "'cat/0.png' has more"),
        (
            '# image clean worst\n0.png 0 1\n1.png 0 0\n',
            r"'0.png' is the end of \S+cat/0.png and of \S+dog/0.png: name their folders",
        ),
        (TEXT.replace('cat/1', 'cat/2'), r'has none for .*cat/1.png; its names are like'),
        (TEXT.replace('cat dog', 'elk dog'), "1 of 4 differ; .* 'cat' in the data set and 'elk'"),
    ],
)
def test_a_file_of_other_data_is_refused(folder, text, message):
    with pytest.raises(ValueError, match=f'labels.txt.*{message}'):
        labelled(folder, text)


@pytest.mark.parametrize('packed', [TEXT.encode(), gzip.compress(TEXT.encode())[:-9]])
def test_a_packed_file_that_is_damaged_is_named(folder, packed):
    (folder / 'labels.txt.gz').write_bytes(packed)
    with pytest.raises(ValueError, match=r'labels.txt.gz cannot be unpacked \(.+\): fetch it'):
        LabelFileDataset(images(folder), folder / 'labels.txt.gz', 'worst')


def test_a_missing_file_and_a_data_set_in_memory(folder):
    with pytest.raises(FileNotFoundError, match='nowhere.txt, the file with the labels'):
        LabelFileDataset(images(folder), folder / 'nowhere.txt', 'worst')
    with pytest.raises(TypeError, match='put it around LabelFileDataset'):
        labelled(folder, dataset=InMemoryDataset(images(folder)))
