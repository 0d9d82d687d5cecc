"""Configs of runs on the toy data, as the checks before a run get them."""

from __future__ import annotations

from mmengine.config import Config


def run_config(head=None, scope='mmdet', **splits):
    """The config of a run with a data set for each split that is named.

    Args:
        head: Its number of classes, if the run has a model.
        scope: The host.
        splits: The config of the data set of each split.
    """
    loaders = {f'{split}_dataloader': dict(dataset=dataset) for split, dataset in splits.items()}
    model = {}
    if head is not None:
        part = 'bbox_head' if scope == 'mmdet' else 'head'
        model = dict(model={part: dict(num_classes=head)})
    return Config(dict(default_scope=scope, **loaders, **model))


def coco_set(root, ann_file, classes, **changes):
    """The config of a data set in COCO's format on the pictures of `toy_voc`."""
    return dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file=ann_file,
        data_prefix=dict(img='JPEGImages'),
        metainfo=dict(classes=classes),
        **changes,
    )


def voc_set(root, classes, split='trainval', **changes):
    """The config of a data set in VOC's layout."""
    return dict(
        type='XMLDataset',
        data_root=str(root),
        ann_file=f'ImageSets/Main/{split}.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=classes),
        **changes,
    )


def folder_set(root, split, **changes):
    """The config of a data set of MMPretrain with a folder for each class."""
    return dict(type='CustomDataset', data_root=str(root), data_prefix=split, **changes)
