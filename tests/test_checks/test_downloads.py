"""A download that fails leaves nothing behind that could be taken for data."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmpretrain.datasets import CIFAR10, CustomDataset

from mmdet_ols.checks.downloads import downloads_itself, fetch_datasets


@pytest.fixture
def downloading():
    """A data set that writes a half archive and half unpacks it before the network is gone."""

    @DATASETS.register_module()
    class GoesWrong:
        base_folder = 'unpacked'

        def __init__(self, data_root, data_prefix='', error=OSError, download=True):
            root = Path(data_root, data_prefix)
            (root / 'unpacked').mkdir(parents=True, exist_ok=True)
            (root / 'unpacked' / 'part').write_text('half')
            (root / 'data.tar.gz').write_text('half')
            if error:
                raise error('no network')

    yield
    DATASETS.module_dict.pop('GoesWrong')


def fetch(root, **options):
    dataset = dict(type='GoesWrong', data_root=str(root), **options)
    fetch_datasets(Config(dict(train_dataloader=dict(dataset=dataset))))


def test_a_failed_download_leaves_no_folder(tmp_path, downloading):
    with pytest.raises(ValueError, match='no network'):
        fetch(tmp_path / 'data/new', data_prefix='cifar')
    assert not any(tmp_path.iterdir())


def test_what_fails_before_a_folder_is_made_is_said(tmp_path, downloading):
    with pytest.raises(ValueError, match='unexpected keyword'):
        fetch(tmp_path / 'data/new/cifar', rot=1)
    assert not any(tmp_path.iterdir())


def test_an_interrupted_download_leaves_no_half_file(tmp_path, downloading):
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path / 'new', error=KeyboardInterrupt)
    assert not any(tmp_path.iterdir())


def test_what_lay_in_the_folder_before_stays(tmp_path, downloading):
    (tmp_path / 'others').mkdir()
    (tmp_path / 'others.zip').write_text('whole')
    (tmp_path / 'data.tar.gz').write_text('half of an earlier attempt')
    with pytest.raises(ValueError, match='no network'):
        fetch(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {'others', 'others.zip'}


def test_a_finished_download_stays(tmp_path, downloading):
    fetch(tmp_path / 'new', error=None)
    assert (tmp_path / 'new/unpacked/part').is_file()


def test_a_class_of_ones_own_downloads_itself_if_its_base_does():
    class Own(CIFAR10):
        def __init__(self, **options):
            super().__init__(**options)

    assert downloads_itself(Own) and not downloads_itself(CustomDataset)
