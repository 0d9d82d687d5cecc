"""Looking at the data sets of a config before a training starts, so that no hours are lost."""

from __future__ import annotations

import inspect
import json
import logging
import os
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.logging import print_log
from mmengine.registry import DATASETS, METRICS, DefaultScope
from rich.progress import track

from mmdet_ols.checks.classification_data import (
    SOURCES,
    check_files,
    check_imagenet,
    check_num_classes,
    check_samples,
    instructions,
)
from mmdet_ols.checks.servers import SERVER_TIMEOUT, server_timeout
from mmdet_ols.config_tree import is_a, registered_class, type_name
from mmdet_ols.datasets.tree import leaf_datasets
from mmdet_ols.datasets.voc_annotations import LAYOUT, read_annotation

SPLITS = ('train', 'val', 'test')


def check_datasets(cfg: Config, splits: tuple[str, ...] = SPLITS, strict: bool = False) -> None:
    """Look at every local file that the data sets of a config name.

    Paths must exist. Annotations in VOC's XML and COCO's JSON are read whole: broken files are
    named, and objects of classes that the config does not name, which MMDetection leaves out
    without a word, are counted. MMPretrain's `CustomDataset`, CUB, Flowers-102, Stanford Cars and
    FGVC Aircraft are loaded once (without decoding images), and their labels compared with the
    head of the classifier. Remote data and data sets that download themselves are left to their
    own code (see `fetch_datasets`).

    Args:
        cfg: A config for MMDetection or MMPretrain.
        splits: Which data loaders to look at, of 'train', 'val' and 'test'.
        strict: Whether objects of unnamed classes are an error rather than a warning.

    Raises:
        FileNotFoundError: A path does not exist; the message says what was expected and found.
        ValueError: An annotation file is broken, objects are of unnamed classes (`strict`), or
            no object at all is of a named class; or the head of a classifier has not as many
            classes as the data.
    """
    if os.environ.get('RANK', '0') != '0':
        return  # the first process looks for all
    seen: set[str] = set()
    model = cfg.get('model') or {}
    model = model.get('module', model)  # with test-time augmentation
    num_classes = (model.get('head') or {}).get('num_classes')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for split in splits:
            loader = cfg.get(f'{split}_dataloader') or {}
            for dataset in leaf_datasets(loader.get('dataset') or {}):
                keys = ('data_root', 'ann_file', 'data_prefix', 'split')
                places = {key: dataset.get(key) for key in keys}
                if str(places) not in seen:  # the same images often serve to validate and to test
                    seen.add(str(places))
                    _check_dataset(dataset, split, strict, num_classes)
            metrics = cfg.get(f'{split}_evaluator') or []
            for metric in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
                if type_name(metric) == 'CIFAR10HDivergence':
                    METRICS.build(metric)  # it reads its file, and says where to get it


def fetch_datasets(cfg: Config, splits: tuple[str, ...] = SPLITS) -> None:
    """Build the data sets that download themselves once, so that later ones find their files.

    The first process does it for all.

    Args:
        cfg: A config for MMPretrain or MMDetection.
        splits: Which data loaders to look at, of 'train', 'val' and 'test'.

    Raises:
        ValueError: One cannot be built, mostly for want of a network; the message says how to do
            without.
    """
    if os.environ.get('RANK', '0') != '0':
        return
    done: list[ConfigDict] = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for split in splits:
            loader = cfg.get(f'{split}_dataloader') or {}
            for dataset in leaf_datasets(loader.get('dataset') or {}):
                if dataset in done or not _downloads_itself(registered_class(DATASETS, dataset)):
                    continue
                done.append(dataset)
                try:
                    with server_timeout(SERVER_TIMEOUT):
                        DATASETS.build(deepcopy(dataset))
                except Exception as error:  # whatever its code raises
                    name, root = type_name(dataset), dataset.get('data_root') or ''
                    by_hand = instructions(name, root) or 'put the data there by hand.'
                    raise ValueError(
                        f'{split}_dataloader, {name}, which downloads its data to {root!r}, cannot '
                        f'be built: {error!r}. Check the network, or: {by_hand}'
                    ) from error


def _check_dataset(dataset: ConfigDict, split: str, strict: bool, num_classes: int | None) -> None:
    root = dataset.get('data_root') or ''
    ann_file = dataset.get('ann_file') or ''
    prefix = dataset.get('data_prefix') or {}
    prefixes = {'data_prefix': prefix} if isinstance(prefix, str) else dict(prefix)
    paths = {'data_root': root, 'ann_file': ann_file, **prefixes}
    cls = registered_class(DATASETS, dataset)
    kind = type_name(dataset)
    where = f'{split}_dataloader, {kind}'
    if is_a(cls, 'CIFAR10') or is_a(cls, 'ImageNet'):
        check_num_classes(_classes(dataset, cls), num_classes, where)
    if not _is_local(dataset, paths) or _downloads_itself(cls):
        return

    if kind in SOURCES:
        check_files(dataset, kind, where)
        if kind == 'ImageNet':
            check_imagenet(dataset, where)
        else:
            check_samples(dataset, kind, where, num_classes)
        return
    is_xml = is_a(cls, 'XMLDataset')
    layout = f'Expected this layout below the ROOT of each data set:\n{LAYOUT}\n' if is_xml else ''
    if root and not Path(root).is_dir():
        raise FileNotFoundError(
            f'`data_root` of {where} must be a folder, but {root} does not exist. {layout}'
            'Put the data there, or name their place with --cfg-options.' + _demo_hint(root)
        )
    for name, path in paths.items():
        if path and name != 'data_root' and not Path(root, path).exists():
            raise FileNotFoundError(
                f'`{name}` of {where} does not exist: {Path(root, path)}. {layout}'
                f'Found: {listing(Path(root, path))}.'
            )
    if kind == 'CustomDataset':
        check_samples(dataset, kind, where, num_classes)
    if not ann_file:
        return
    if is_xml:
        folder = Path(root, prefixes.get('sub_data_root', ''))
        counts = _count_xml(dataset, folder, Path(root, ann_file), split)
    elif is_a(cls, 'CocoDataset') and not is_a(cls, 'CocoPanopticDataset'):
        counts = _count_coco(Path(root, ann_file))
    else:
        return
    classes = _classes(dataset, cls)
    if classes:
        _report_unknown(counts, classes, where, Path(root, ann_file), strict)


def _count_xml(dataset: ConfigDict, folder: Path, ann_file: Path, split: str) -> Counter[str]:
    annotations = folder / dataset.get('ann_subdir', 'Annotations')
    images = folder / dataset.get('img_subdir', 'JPEGImages')
    counts: Counter[str] = Counter()
    empty_boxes = 0
    names = [line.strip() for line in list_from_file(ann_file) if line.strip()]
    if not names:
        raise ValueError(f'The split {ann_file} is empty: it must hold one image name a line.')
    # Long lists alone deserve a bar.
    bar = track(names, f'Checking {split} annotations', transient=True, disable=len(names) < 2000)
    for name in bar:
        for path in (annotations / f'{name}.xml', images / f'{name}.jpg'):
            if not path.is_file():
                raise FileNotFoundError(
                    f'{ann_file} names {name}, but {path} does not exist. Found: {listing(path)}.'
                )
        objects, empty = read_annotation(annotations / f'{name}.xml')
        counts += objects
        empty_boxes += empty
    if empty_boxes:
        print_log(
            f'{ann_file}: {empty_boxes} boxes have no area (xmax <= xmin or ymax <= ymin).',
            logger='current',
            level=logging.WARNING,
        )
    return counts


def _count_coco(ann_file: Path) -> Counter[str]:
    try:
        content = json.loads(ann_file.read_text())
        names = {category['id']: category['name'] for category in content['categories']}
        return Counter(names[item['category_id']] for item in content.get('annotations', []))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"The annotation file {ann_file} is not in COCO's format ({error!r})."
        ) from error


def _report_unknown(
    counts: Counter[str], classes: tuple[str, ...], where: str, ann_file: Path, strict: bool
) -> None:
    unknown = {name: count for name, count in counts.most_common() if name not in classes}
    if not unknown:
        return
    listed = ', '.join(f'{name} ({count})' for name, count in list(unknown.items())[:10])
    message = (
        f'{ann_file} ({where}) holds {sum(unknown.values())} objects of {len(unknown)} classes '
        f'that `metainfo.classes` of the config does not name: {listed}. '
    )
    if len(unknown) == len(counts):
        raise ValueError(
            f'{message}It names {", ".join(classes[:10])}, so nothing is left to learn from: set '
            'metainfo=dict(classes=...) in the data sets and num_classes in the head.'
        )
    if strict:
        raise ValueError(message + 'Name them, or leave --strict-classes out.')
    print_log(message + 'They are left out.', logger='current', level=logging.WARNING)


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


def _downloads_itself(cls: Any) -> bool:
    """Whether missing data are fetched on first use, as MMPretrain's CIFAR and MNIST do."""
    return isinstance(cls, type) and 'download' in inspect.signature(cls).parameters


def listing(path: Path, at_most: int = 8) -> str:
    """What lies at the nearest existing folder above a path that does not exist."""
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    names = sorted(item.name + '/' * item.is_dir() for item in folder.iterdir())
    more = f' and {len(names) - at_most} more' if len(names) > at_most else ''
    return f'{folder} holds {", ".join(names[:at_most]) or "nothing"}{more}'


def _demo_hint(root: str) -> str:
    return ' The demo data are made by `python tools/make_demo_data.py`.' * ('demo' in str(root))
