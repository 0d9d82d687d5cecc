"""Filling the classes of annotations in where a config asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope

from mmdet_ols.config_tree import is_a, registered_class, type_name
from mmdet_ols.datasets.tree import datasets_of_config
from mmdet_ols.datasets.voc_annotations import voc_classes

#: The entry by which a config asks for it.
MARKER = 'classes_from_annotations'


def fill_in_classes(cfg: Config) -> None:
    """Fill in the classes of a config that has `classes_from_annotations = True`.

    They are those of all XML annotations of its data sets. Each data set gets them as
    `metainfo.classes`, each head and loss of the model their number as `num_classes`; the marker
    goes, so that the config says from then on what it was trained with.

    Args:
        cfg: The config, which is changed.

    Raises:
        FileNotFoundError: There are no annotations.
        ValueError: An annotation is broken, a data set has none in VOC's layout, or the model has
            no `num_classes` to fill in.
    """
    if not cfg.pop(MARKER, False):
        return
    datasets = list(datasets_of_config(cfg))
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        roots = sorted({_annotations_root(dataset, split) for split, dataset in datasets})
    if not roots:
        raise ValueError(f'{MARKER} needs a data set whose annotations name the classes.')
    classes = tuple(sorted({name for root in roots for name in voc_classes(root)}))
    for _, dataset in datasets:
        dataset.metainfo = dict(dataset.get('metainfo') or {}, classes=classes)
    if not _fill_in(cfg.get('model') or {}, len(classes), inside_head=False):
        raise ValueError(
            f'{MARKER} needs `num_classes` in the head of the model, but there is none: write it '
            'there, with any number.'
        )


def _annotations_root(dataset: ConfigDict, split: str) -> Path:
    """The folder that holds `Annotations`."""
    if not is_a(registered_class(DATASETS, dataset), 'XMLDataset'):
        raise ValueError(
            f"{MARKER} needs XML annotations in VOC's layout (type='XMLDataset'), but got "
            f'{split}_dataloader, {type_name(dataset)}: name the classes in '
            'metainfo=dict(classes=...) instead.'
        )
    prefix = dataset.get('data_prefix') or {}
    return Path(dataset.get('data_root') or '.', prefix.get('sub_data_root') or '')


def _fill_in(node: Any, count: int, inside_head: bool) -> int:
    """Set each `num_classes` of a model's heads and of what is inside; return how many there are.

    The head of a region proposal network tells objects from background, whatever their classes.
    """
    if isinstance(node, (list, tuple)):
        return sum(_fill_in(item, count, inside_head) for item in node)
    if not isinstance(node, dict):
        return 0
    filled = 0
    if inside_head and 'num_classes' in node:
        node['num_classes'] = count
        filled = 1
    for key, child in node.items():
        if key != 'rpn_head':
            filled += _fill_in(child, count, inside_head or key.endswith('head'))
    return filled
