"""Which reader knows the files of which data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmdet_ols.checks.survey.coco import read_coco
from mmdet_ols.checks.survey.image_folders import read_image_folders, read_image_list
from mmdet_ols.checks.survey.records import FileContents
from mmdet_ols.checks.survey.voc import read_voc
from mmdet_ols.config_tree import is_a, is_users, owner_of

#: These read JSON of COCO's kind for other purposes than boxes of classes.
NOT_BOXES = ('CocoPanopticDataset', 'CocoCaptionDataset', 'CocoSegDataset')


def reader_of(dataset: Any) -> Callable[[Any], FileContents] | None:
    """The reader for a built data set; None where the format of its files is not known here."""
    cls = type(dataset)
    lists = getattr(
        owner_of(cls, 'load_data_list'), '__name__', ''
    )  # the class that finds its files
    if is_a(cls, 'XMLDataset') and lists in ('XMLDataset', 'LenientVOCDataset'):
        return read_voc
    if is_a(cls, 'CocoDataset') and not any(is_a(cls, name) for name in NOT_BOXES):
        return read_coco
    if lists == 'CustomDataset' and dataset.with_label:
        return read_image_list if dataset.ann_file else read_image_folders
    return None


def reads_as_known(dataset: Any) -> bool:
    """Whether all that decides on what a data set loads is code whose reasons a reader knows.

    That is the hosts' own code, or ours; of COCO's kind, only that of CocoDataset itself.
    """
    cls = type(dataset)
    methods = ('load_data_list', 'parse_data_info', '_parse_instance_info', 'filter_data')
    owners = {method: owner_of(cls, method) for method in methods}
    if is_a(cls, 'CocoDataset'):
        names = {owners[method].__name__ for method in ('parse_data_info', 'filter_data')}
        if names != {'CocoDataset'}:
            return False
    return not any(owner is not None and is_users(owner) for owner in owners.values())
