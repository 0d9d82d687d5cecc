"""A subset copies its own data set, whatever has lain at its addresses before."""

from __future__ import annotations

from copy import deepcopy

import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from toy_images import ToyImages

from mmdet_ols.datasets.host_subsets import mend_subsets
from mmdet_ols.engine.launch import build_runner

#: A data set that is gone: at its address lies the pipeline of another one now.
GONE = object()


@pytest.fixture
def images(monkeypatch):
    """A data set in an MMEngine that remembers the copy of one that is gone."""
    images = ToyImages()
    remembered = {id(images.pipeline): GONE}

    def copy_without_annotation(self, memo=remembered):
        other = type(self).__new__(type(self))
        for key, value in vars(self).items():
            setattr(other, key, deepcopy(value, memo))
        return other

    monkeypatch.setattr(BaseDataset, '_copy_without_annotation', copy_without_annotation)
    return images


def test_every_subset_has_its_own_pipeline(images):
    assert images.get_subset([0]).pipeline is GONE
    mend_subsets()
    subset = images.get_subset([2, 1])
    assert isinstance(subset.pipeline, type(images.pipeline))
    assert subset.pipeline is not images.pipeline
    assert [subset[i]['gt_label'] for i in range(2)] == [images[i]['gt_label'] for i in (2, 1)]


def test_what_is_mended_stays_as_it_is(images):
    mend_subsets()
    mended = BaseDataset._copy_without_annotation
    mend_subsets()
    assert BaseDataset._copy_without_annotation is mended


def test_runners_of_the_tools_are_built_with_it(images):
    with pytest.raises(Exception, match='model'):
        build_runner(Config(dict(work_dir='unused')))
    assert images.get_subset([0]).pipeline is not GONE
