"""Missing and broken data of classifiers are named before a training starts."""

from __future__ import annotations

import gc
import re

import made_image_configs
import pytest
from mmengine.config import Config
from mmpretrain.datasets import cifar

from mmdet_ols import config_path
from mmdet_ols.checks.data import check_datasets
from mmdet_ols.checks.downloads import fetch_datasets
from mmdet_ols.checks.evaluation import check_evaluation
from mmdet_ols.reproduction import made_data

#: The config of each kind of data.
CONFIGS = {
    'cifar10': 'cifar10/resnet29_cifar10.py',
    'cifar10_folder': 'cifar10/resnet29_cifar10_folder.py',
    'cifar100': 'cifar100/resnet34_cifar100.py',
    'imagenet': 'imagenet/resnet50_imagenet.py',
    'cub': 'fine_grained/resnet50_cub.py',
    'flowers': 'fine_grained/resnet50_flowers.py',
    'cars': 'fine_grained/resnet50_cars.py',
    'aircraft': 'fine_grained/resnet50_aircraft.py',
    'aircraft_100': 'fine_grained/resnet50_aircraft_100.py',
}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Makes tiny data of a layout and reads a config for them."""
    # MMEngine's data sets call it at each start, which takes seconds in a process of many tests.
    monkeypatch.setattr(gc, 'collect', lambda: 0)
    root = tmp_path / 'data'
    root.mkdir()

    def make(data):
        made_image_configs.MAKERS[data](root)
        cfg = made_image_configs.moved(Config.fromfile(config_path(CONFIGS[data])), root)
        # CIFAR-10H has a test of its own below.
        cfg.val_evaluator = cfg.test_evaluator = cfg.val_evaluator[:2]
        return cfg

    make.root = root
    return make


@pytest.mark.parametrize('data', CONFIGS)
def test_data_in_their_public_layout_pass(data, read):
    check_datasets(read(data))


@pytest.mark.parametrize('data', [data for data in CONFIGS if data not in ('cifar10', 'cifar100')])
def test_head_and_data_must_have_as_many_classes(data, read):
    cfg = read(data)
    classes = cfg.model.head.num_classes
    cfg.model.head.num_classes = 7
    # Flowers-102 has no names of classes, only labels.
    rule = 'be in \\[0, 6\\]' if data == 'flowers' else f'be the {classes} classes'
    with pytest.raises(ValueError, match=rule):
        check_datasets(cfg)


def test_classes_of_cifar_need_no_data(read):
    cfg = read('cifar100')
    cfg.model.head.num_classes = 10
    for dataset in (cfg.train_dataloader.dataset.dataset.dataset, cfg.val_dataloader.dataset):
        dataset.data_root = '/nowhere'
    with pytest.raises(ValueError, match='100 classes of train_dataloader, CIFAR100, but is 10:'):
        check_datasets(cfg)


def remove(path):
    path.rename(path.with_name('elsewhere'))


def empty(path):
    path.write_text('')


@pytest.mark.parametrize(
    ('data', 'path', 'harm', 'error', 'message'),
    [
        ('cub', '.', remove, FileNotFoundError, r'data does not exist\. Download CUB_200_2011'),
        ('cub', 'images.txt', remove, FileNotFoundError, 'lacks images.txt.*caltech.edu'),
        ('cub', 'images/200.Bird/3.jpg', remove, None, ''),  # no such image
        ('cub', 'images/200.Bird/2.jpg', remove, FileNotFoundError, r'1 of 2 images .*Bird/2\.jpg'),
        ('cub', 'images.txt', empty, ValueError, 'cannot be read.*AssertionError.*unpack'),
        ('flowers', 'setid.mat', empty, ValueError, 'cannot be read.*102flowers.tgz'),
        ('flowers', 'jpg/image_00003.jpg', remove, FileNotFoundError, '1 of 5 images are not'),
        ('cars', 'devkit/cars_train_annos.mat', remove, FileNotFoundError, 'lacks devkit/cars_tr'),
        ('aircraft', 'data/images', remove, FileNotFoundError, 'lacks data/images.*vgg/data/fgvc'),
        ('imagenet', 'val', remove, FileNotFoundError, r'lacks val.*ILSVRC2012_img_val\.tar'),
        ('imagenet', 'meta/val.txt', remove, ValueError, '1000 folders.*holds 0.*meta/val.txt'),
        ('cifar10_folder', 'meta/test.txt', remove, FileNotFoundError, '`ann_file` of val_data'),
        ('cifar10_folder', 'train/bird', remove, ValueError, "'cat' is label 2.* calls 'bird'"),
        ('cifar10_folder', 'test/00003.png', remove, FileNotFoundError, r'1 of 10 .*00003\.png'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_data_is_said(data, path, harm, error, message, read):
    cfg = read(data)
    if (read.root / path).exists():
        harm(read.root / path if path != '.' else read.root)
    if error is None:
        check_datasets(cfg)
    else:
        with pytest.raises(error, match=f'(?s){message}') as caught:
            check_datasets(cfg)
        assert str(read.root) in str(caught.value)


def test_labels_of_a_list_must_be_numbers_and_in_range(read):
    cfg = read('cifar10_folder')
    made_data.lines(read.root / 'meta/test.txt', '00000.png ten')
    with pytest.raises(ValueError, match=r"val_dataloader, CustomDataset.*cannot be read.*'ten'"):
        check_datasets(cfg)
    made_data.lines(read.root / 'meta/test.txt', '00000.png 10')
    with pytest.raises(ValueError, match=r'labels must be in \[0, 9\].*10 to 10'):
        check_datasets(cfg)


def test_cifar_that_cannot_be_downloaded(read, monkeypatch):
    cfg = read('cifar10')
    monkeypatch.setattr(cifar, 'check_md5', lambda *args: True)
    fetch_datasets(cfg)

    def no_network(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr(cifar, 'download_and_extract_archive', no_network)
    monkeypatch.setattr(cifar, 'check_md5', lambda path, md5: 'batch_3' not in str(path))
    expected = (
        r"CIFAR10, which .* be built: OSError\('no network'\).*Download cifar-10-python\.tar\.gz "
        r'from https://www\.cs\.toronto\.edu/~kriz/cifar\.html and unpack, so that '
        + re.escape(str(read.root))
        + r' holds cifar-10-batches-py/data_batch_1'
    )
    with pytest.raises(ValueError, match=f'(?s){expected}'):
        fetch_datasets(cfg)
    monkeypatch.setenv('RANK', '1')
    fetch_datasets(cfg)  # the first process does it for all


def test_the_file_of_human_labels_is_looked_for(read):
    cfg = read('cifar10')
    plain = Config.fromfile(config_path(CONFIGS['cifar10']))
    cfg.val_evaluator = made_image_configs.moved(plain, read.root).val_evaluator
    assert cfg.val_evaluator[2].human == str(read.root / 'meta/cifar10h-probs.npy')
    with pytest.raises(ValueError, match=r'there is no .*cifar10h-probs\.npy.*cifar-10h'):
        check_evaluation(cfg)
