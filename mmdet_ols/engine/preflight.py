"""Looking at a config and its data before a training starts, so that no hours are lost."""

from __future__ import annotations

import inspect
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.logging import print_log
from mmengine.registry import DATASETS, MODELS, DefaultScope
from rich.progress import track

from mmdet_ols.core import SoftLabelState
from mmdet_ols.datasets.voc_annotations import LAYOUT, read_annotation

SPLITS = ('train', 'val', 'test')


def check_losses(cfg: Config) -> None:
    """Compare the soft-label losses of a config with their heads and with the hooks.

    Warns if nobody will roll the soft labels over.

    Raises:
        ValueError: A loss and its head disagree about the number of classes, or the hook counts
            epochs in an iteration-based loop.
    """
    found = False
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for head, loss in _nested_pairs(cfg.get('model') or {}):
            cls = _registered_class(MODELS, loss)
            if not (isinstance(cls, type) and issubclass(cls, SoftLabelState)):
                continue
            found = True
            if 'num_classes' in head and head['num_classes'] != loss.get('num_classes'):
                raise ValueError(
                    f'`num_classes` of {cls.__name__} must be that of its head '
                    f'({head.get("type", "the head")}), but got {loss.get("num_classes")!r} for '
                    f'{head["num_classes"]}: set num_classes={head["num_classes"]} in the loss.'
                )
    if not found:
        return
    train_cfg = cfg.get('train_cfg') or {}
    by_iteration = not train_cfg.get('by_epoch', _type_name(train_cfg) != 'IterBasedTrainLoop')
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    ours = [hook for hook in hooks if isinstance(hook, dict) and _type_name(hook) == 'OLSHook']
    if not ours:
        print_log(
            'The model has a loss with online soft labels, but the config has no OLSHook: unless '
            'something of yours calls update_soft_labels(), the soft labels never leave their '
            "start values. Add default_hooks = dict(ols=dict(type='OLSHook')).",
            logger='current',
            level=logging.WARNING,
        )
    elif by_iteration and any(hook.get('by_epoch', True) for hook in ours):
        raise ValueError(
            "`by_epoch` of OLSHook must be False, since the config's training loop counts "
            "iterations: set dict(type='OLSHook', by_epoch=False, interval=k), with k the number "
            'of iterations that make one pass over your data.'
        )


def check_datasets(cfg: Config, splits: tuple[str, ...] = SPLITS, strict: bool = False) -> None:
    """Look at every local file that the data sets of a config name.

    Paths must exist. Annotations in VOC's XML and COCO's JSON are read whole: broken files are
    named, and objects of classes that the config does not name, which MMDetection leaves out
    without a word, are counted. Remote data and data sets that download themselves are left to
    their own code.

    Args:
        cfg: A config for MMDetection or MMPretrain.
        splits: Which data loaders to look at, of 'train', 'val' and 'test'.
        strict: Whether objects of unnamed classes are an error rather than a warning.

    Raises:
        FileNotFoundError: A path does not exist; the message says what was expected and found.
        ValueError: An annotation file is broken, objects are of unnamed classes (`strict`), or
            no object at all is of a named class.
    """
    if os.environ.get('RANK', '0') != '0':
        return  # the first process looks for all
    seen: set[str] = set()
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for split in splits:
            loader = cfg.get(f'{split}_dataloader') or {}
            for dataset in _leaf_datasets(loader.get('dataset') or {}):
                places = {key: dataset.get(key) for key in ('data_root', 'ann_file', 'data_prefix')}
                if str(places) not in seen:  # the same images often serve to validate and to test
                    seen.add(str(places))
                    _check_dataset(dataset, split, strict)


def _check_dataset(dataset: ConfigDict, split: str, strict: bool) -> None:
    root = dataset.get('data_root') or ''
    ann_file = dataset.get('ann_file') or ''
    prefix = dataset.get('data_prefix') or {}
    prefixes = {'data_prefix': prefix} if isinstance(prefix, str) else dict(prefix)
    paths = {'data_root': root, 'ann_file': ann_file, **prefixes}
    cls = _registered_class(DATASETS, dataset)
    if not _is_local(dataset, paths) or _downloads_itself(cls):
        return

    where = f'{split}_dataloader, {_type_name(dataset)}'
    is_xml = _is_a(cls, 'XMLDataset')
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
                f'Found: {_listing(Path(root, path))}.'
            )
    if not ann_file:
        return
    if is_xml:
        folder = Path(root, prefixes.get('sub_data_root', ''))
        counts = _count_xml(dataset, folder, Path(root, ann_file), split)
    elif _is_a(cls, 'CocoDataset') and not _is_a(cls, 'CocoPanopticDataset'):
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
                    f'{ann_file} names {name}, but {path} does not exist. Found: {_listing(path)}.'
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


def _registered_class(registry: Any, cfg: dict) -> Any:
    """The class that `type` names, or None; looked up in the current default scope."""
    kind = cfg.get('type')
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(kind)


def _is_a(cls: Any, name: str) -> bool:
    """Whether a class or one of its bases is called so; the host need not be importable here."""
    return any(base.__name__ == name for base in getattr(cls, '__mro__', ()))


def _leaf_datasets(dataset: Any) -> Iterator[ConfigDict]:
    """The data sets inside ConcatDataset, RepeatDataset, MultiImageMixDataset and their kin."""
    if isinstance(dataset, (list, tuple)):
        for item in dataset:
            yield from _leaf_datasets(item)
    elif isinstance(dataset, dict) and dataset:
        inner = dataset.get('datasets') or dataset.get('dataset')
        if inner:
            yield from _leaf_datasets(inner)
        else:
            yield dataset


def _nested_pairs(node: Any) -> Iterator[tuple[dict, dict]]:
    """Every (dict, dict with a `type` inside it) of a nested config."""
    children = node.values() if isinstance(node, dict) else node
    for child in children:
        if isinstance(child, dict):
            if 'type' in child and isinstance(node, dict):
                yield node, child
            yield from _nested_pairs(child)
        elif isinstance(child, (list, tuple)):
            yield from _nested_pairs(child)


def _type_name(cfg: Any) -> str:
    kind = cfg.get('type')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '?')


def _listing(path: Path) -> str:
    """What lies at the nearest existing folder above a path that does not exist."""
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    names = sorted(item.name + '/' * item.is_dir() for item in folder.iterdir())
    more = f' and {len(names) - 8} more' if len(names) > 8 else ''
    return f'{folder} holds {", ".join(names[:8]) or "nothing"}{more}'


def _demo_hint(root: str) -> str:
    return ' The demo data are made by `python tools/make_demo_data.py`.' * ('demo' in str(root))
