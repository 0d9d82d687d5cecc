"""Checking the data sets of a config before a training starts, so that no hours are lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS, METRICS, DefaultScope

from mmdet_ols.checks.classification_data import (
    SOURCES,
    check_files,
    check_imagenet,
    check_num_classes,
    check_samples,
)
from mmdet_ols.checks.detection_data import (
    check_class_names,
    count_coco_objects,
    count_xml_objects,
)
from mmdet_ols.checks.downloads import downloads_itself
from mmdet_ols.checks.folders import listing
from mmdet_ols.checks.processes import is_first_process
from mmdet_ols.config_tree import is_a, registered_class, type_name
from mmdet_ols.datasets.tree import SPLITS, datasets_of_config
from mmdet_ols.datasets.voc_files import LAYOUT


def check_datasets(cfg: Config, splits: tuple[str, ...] = SPLITS, strict: bool = False) -> None:
    """Check every local file that the data sets of a config name.

    Paths must exist. Annotations in VOC's XML and COCO's JSON are read whole: broken files are
    named, and objects of classes that the config does not name, which MMDetection leaves out
    without a word, are counted. MMPretrain's `CustomDataset`, CUB, Flowers-102, Stanford Cars and
    FGVC Aircraft are loaded once (without decoding images), and their labels compared with the
    head of the classifier. Remote data and data sets that download themselves are left to their
    own code (see `mmdet_ols.checks.downloads`).

    Args:
        cfg: A config for MMDetection or MMPretrain.
        splits: Which data loaders to check, of 'train', 'val' and 'test'.
        strict: Whether objects of unnamed classes are an error rather than a warning.

    Raises:
        FileNotFoundError: A path does not exist; the message says what was expected and found.
        ValueError: An annotation file is broken, objects are of unnamed classes (`strict`), or
            no object at all is of a named class; or the head of a classifier has not as many
            classes as the data.
    """
    if not is_first_process():
        return  # the first process checks for all
    seen: set[str] = set()
    num_classes = _classes_of_classifier(cfg)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for split, dataset in datasets_of_config(cfg, splits):
            keys = ('data_root', 'ann_file', 'data_prefix', 'split')
            places = str({key: dataset.get(key) for key in keys})
            if places not in seen:  # the same images often serve to validate and to test
                seen.add(places)
                _check_dataset(dataset, split, strict, num_classes)
        for split in splits:
            metrics = cfg.get(f'{split}_evaluator') or []
            for metric in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
                if type_name(metric) == 'CIFAR10HDivergence':
                    METRICS.build(metric)  # it reads its file, and says where to get it


def _classes_of_classifier(cfg: Config) -> int | None:
    model = cfg.get('model') or {}
    model = model.get('module', model)  # with test-time augmentation
    return (model.get('head') or {}).get('num_classes')


def _check_dataset(dataset: ConfigDict, split: str, strict: bool, num_classes: int | None) -> None:
    root = dataset.get('data_root') or ''
    cls, kind, paths = registered_class(DATASETS, dataset), type_name(dataset), _paths(dataset)
    where = f'{split}_dataloader, {kind}'
    if is_a(cls, 'CIFAR10') or is_a(cls, 'ImageNet'):
        check_num_classes(_classes(dataset, cls), num_classes, where)
    if not _is_local(dataset, paths) or downloads_itself(cls):
        return
    if kind in SOURCES:
        check_files(dataset, kind, where)
        if kind == 'ImageNet':
            check_imagenet(dataset, where)
        else:
            check_samples(dataset, kind, where, num_classes)
        return
    is_xml = is_a(cls, 'XMLDataset')
    _check_paths(root, paths, where, is_xml)
    if kind == 'CustomDataset':
        check_samples(dataset, kind, where, num_classes)
    if not paths['ann_file']:
        return
    ann_file = Path(root, paths['ann_file'])
    if is_xml:
        counts = count_xml_objects(
            dataset, Path(root, paths.get('sub_data_root', '')), ann_file, split
        )
    elif is_a(cls, 'CocoDataset') and not is_a(cls, 'CocoPanopticDataset'):
        counts = count_coco_objects(ann_file)
    else:
        return
    classes = _classes(dataset, cls)
    if classes:
        check_class_names(counts, classes, where, ann_file, strict)


def _paths(dataset: ConfigDict) -> dict[str, Any]:
    """What a data set's config calls `data_root`, `ann_file` and its prefixes."""
    prefix = dataset.get('data_prefix') or {}
    prefixes = {'data_prefix': prefix} if isinstance(prefix, str) else dict(prefix)
    return {
        'data_root': dataset.get('data_root') or '',
        'ann_file': dataset.get('ann_file') or '',
        **prefixes,
    }


def _check_paths(root: str, paths: dict[str, Any], where: str, is_xml: bool) -> None:
    layout = f'Expected this layout below the ROOT of each data set:\n{LAYOUT}\n' if is_xml else ''
    if root and not Path(root).is_dir():
        message = (
            f'`data_root` of {where} must be a folder, but {root} does not exist. {layout}'
            'Put the data there, or name the folder that holds them with --data-root.'
        )
        if 'demo' in str(root):
            message += ' The demo data are made by `python tools/make_demo_data.py`.'
        raise FileNotFoundError(message)
    for name, path in paths.items():
        if path and name != 'data_root' and not Path(root, path).exists():
            raise FileNotFoundError(
                f'`{name}` of {where} does not exist: {Path(root, path)}. {layout}'
                f'Found: {listing(Path(root, path))}.'
            )


def _classes(dataset: ConfigDict, cls: Any) -> tuple[str, ...]:
    """The class names that a data set will use: the config's, or the data set class's own."""
    classes = (dataset.get('metainfo') or {}).get('classes')
    if classes is None:
        classes = getattr(cls, 'METAINFO', {}).get('classes', ())
    if isinstance(classes, str):  # MMEngine takes it for a file of names where there is one
        classes = list_from_file(classes) if Path(classes).is_file() else [classes]
    return tuple(classes)


def _is_local(dataset: ConfigDict, paths: dict[str, Any]) -> bool:
    """Whether plain file paths are all that the data set needs; MMEngine's backends know others."""
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    return backend in ('local', 'disk') and all(
        isinstance(path, str) and '://' not in path for path in paths.values()
    )
