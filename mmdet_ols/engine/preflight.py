"""Looking at a config and its data before a training starts, so that no hours are lost."""

from __future__ import annotations

import difflib
import inspect
import json
import logging
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.logging import print_log
from mmengine.registry import DATASETS, METRICS, MODELS, DefaultScope
from mmengine.runner import checkpoint as hosts_checkpoints
from rich.progress import track

from mmdet_ols.core import SoftLabelState
from mmdet_ols.datasets.voc_annotations import LAYOUT, read_annotation
from mmdet_ols.engine.checkpoint import load_checkpoint
from mmdet_ols.engine.classification_data import (
    SOURCES,
    check_files,
    check_imagenet,
    check_num_classes,
    check_samples,
    instructions,
)
from mmdet_ols.losses.classification_loss import ClassificationLoss

SPLITS = ('train', 'val', 'test')
SERVER_TIMEOUT = 30  # seconds without an answer; by default Python waits for ever


def check_losses(cfg: Config) -> None:
    """Compare our losses in a config with their heads and with the hooks.

    Says which there are, and warns if nobody will roll the soft labels over.

    Raises:
        ValueError: A loss and its head disagree about the number of classes, or the hook counts
            epochs in an iteration-based loop.
    """
    found = False
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for head, loss in _nested_pairs(cfg.get('model') or {}):
            cls = _registered_class(MODELS, loss)
            if not (isinstance(cls, type) and issubclass(cls, ClassificationLoss)):
                continue
            found |= issubclass(cls, SoftLabelState)
            if 'num_classes' in head and head['num_classes'] != loss.get('num_classes'):
                raise ValueError(
                    f'`num_classes` of {cls.__name__} must be that of its head '
                    f'({head.get("type", "the head")}), but got {loss.get("num_classes")!r} for '
                    f'{head["num_classes"]}: set num_classes={head["num_classes"]} in the loss.'
                )
            # Seen at a glance: what was meant as FocalLoss's alpha, or kept without `_delete_`.
            settings = ', '.join(f'{key}={value}' for key, value in loss.items() if key != 'type')
            print_log(
                f'{head.get("type", "The model")}: {cls.__name__}({settings})', logger='current'
            )
    if not found:
        return
    train_cfg = cfg.get('train_cfg') or {}
    by_iteration = not train_cfg.get('by_epoch', type_name(train_cfg) != 'IterBasedTrainLoop')
    ours = ols_hooks(cfg)
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
                if dataset in done or not _downloads_itself(_registered_class(DATASETS, dataset)):
                    continue
                done.append(dataset)
                try:
                    with _server_timeout(SERVER_TIMEOUT):
                        DATASETS.build(deepcopy(dataset))
                except Exception as error:  # whatever its code raises
                    name, root = type_name(dataset), dataset.get('data_root') or ''
                    by_hand = instructions(name, root) or 'put the data there by hand.'
                    raise ValueError(
                        f'{split}_dataloader, {name}, which downloads its data to {root!r}, cannot '
                        f'be built: {error!r}. Check the network, or: {by_hand}'
                    ) from error


def check_pretrained(cfg: Config) -> None:
    """Get hold of the pretrained weights that the model starts from, or say how to.

    Files that are not yet here are fetched to where MMEngine looks for them, and every file is
    read once. On each machine one process does it for all.

    Args:
        cfg: A config whose model may have `init_cfg=dict(type='Pretrained', checkpoint=...)`.

    Raises:
        FileNotFoundError: A file is not there, or could not be fetched; the message says from
            where, where to put it by hand, and how to train without it.
        ValueError: MMEngine has no model of that name, or the file cannot be loaded.
    """
    if os.environ.get('LOCAL_RANK', '0') != '0':
        return
    for place, checkpoint in _pretrained_weights(cfg.get('model') or {}, 'model'):
        where = f"The pretrained weights of {place}, '{checkpoint}',"
        otherwise = f'To start from random weights: --cfg-options {place}.init_cfg=None'
        source = _source(checkpoint)
        fetch = source.startswith(('http://', 'https://'))
        if fetch:
            # Where `torch.hub`, which MMEngine fetches with, keeps its files.
            file = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(source).path).name)
            fetch = not file.is_file()
        elif '://' in source:
            continue  # a storage backend's own affair
        else:
            file = Path(source).expanduser()
        try:
            if fetch:
                file.parent.mkdir(parents=True, exist_ok=True)
                with _server_timeout(SERVER_TIMEOUT):
                    torch.hub.download_url_to_file(source, str(file))
            load_checkpoint(file)
        except (OSError, HTTPException) as error:
            by_hand = f' Fetch it from {source} by other means and save it as {file}.' * fetch
            raise FileNotFoundError(
                f'{where} are not there: {error}.{by_hand} {otherwise}'
            ) from error
        except ValueError as error:
            if fetch:
                file.unlink()  # or the next start would take it for whole
            raise ValueError(f'{where} cannot be used: {error} {otherwise}') from error


def _pretrained_weights(node: Any, place: str) -> Iterator[tuple[str, str]]:
    """(place in the config, checkpoint) of every part that starts from pretrained weights."""
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        if key == 'init_cfg':
            for init in child if isinstance(child, (list, tuple)) else [child]:
                if init and type_name(init) in ('Pretrained', 'PretrainedInit'):
                    yield place, init['checkpoint']
        elif isinstance(child, (dict, list, tuple)):
            yield from _pretrained_weights(child, f'{place}.{key}')


def _source(checkpoint: str) -> str:
    """The URL or path that MMEngine reads for a name such as 'open-mmlab://resnet50'."""
    scheme, _, name = checkpoint.partition('://')
    tables = {
        'open-mmlab': hosts_checkpoints.get_external_models,
        'openmmlab': hosts_checkpoints.get_external_models,
        'torchvision': hosts_checkpoints.get_torchvision_models,
        'modelzoo': hosts_checkpoints.get_torchvision_models,
        'mmcls': hosts_checkpoints.get_mmcls_models,
    }
    if scheme not in tables:
        return checkpoint
    models = tables[scheme]()
    if scheme.endswith('mmlab'):
        name = hosts_checkpoints.get_deprecated_model_names().get(name, name)
    if name not in models:
        similar = ', '.join(difflib.get_close_matches(name, models)) or 'none similar'
        raise ValueError(f"MMEngine knows no model '{checkpoint}'; it knows {similar}.")
    source = models[name]
    return source if '://' in source else str(Path(hosts_checkpoints._get_mmengine_home(), source))


@contextmanager
def _server_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _check_dataset(dataset: ConfigDict, split: str, strict: bool, num_classes: int | None) -> None:
    root = dataset.get('data_root') or ''
    ann_file = dataset.get('ann_file') or ''
    prefix = dataset.get('data_prefix') or {}
    prefixes = {'data_prefix': prefix} if isinstance(prefix, str) else dict(prefix)
    paths = {'data_root': root, 'ann_file': ann_file, **prefixes}
    cls = _registered_class(DATASETS, dataset)
    kind = type_name(dataset)
    where = f'{split}_dataloader, {kind}'
    if _is_a(cls, 'CIFAR10') or _is_a(cls, 'ImageNet'):
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
                f'Found: {listing(Path(root, path))}.'
            )
    if kind == 'CustomDataset':
        check_samples(dataset, kind, where, num_classes)
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


def leaf_datasets(dataset: Any, whole: tuple[str, ...] = ()) -> Iterator[ConfigDict]:
    """The data sets inside ConcatDataset, RepeatDataset, MultiImageMixDataset and their kin.

    Args:
        dataset: The config.
        whole: Types of wrappers that are given as they are, with what is inside.
    """
    if isinstance(dataset, (list, tuple)):
        for item in dataset:
            yield from leaf_datasets(item, whole)
    elif isinstance(dataset, dict) and dataset:
        inner = dataset.get('datasets') or dataset.get('dataset')
        if inner and type_name(dataset) not in whole:
            yield from leaf_datasets(inner, whole)
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


def ols_hooks(cfg: Config) -> list[dict]:
    """The configs of every OLSHook, wherever it stands and however its type is written."""
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    return [hook for hook in hooks if isinstance(hook, dict) and type_name(hook) == 'OLSHook']


def type_name(cfg: Any) -> str:
    """The last part of the name of what a config's `type` asks for; '?' where it names none."""
    kind = cfg.get('type')
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '?')


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
