"""Letting data sets that download themselves do so once, before a training starts."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from itertools import takewhile
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope

from mmdet_ols.checks.folders import nearest_folder
from mmdet_ols.checks.processes import is_first_process
from mmdet_ols.checks.public_data import instructions
from mmdet_ols.config_tree import constructor_parameters, registered_class, type_name
from mmdet_ols.datasets.tree import SPLITS, datasets_of_config

#: Endings of the files that public data sets are downloaded as.
ARCHIVES = {'.gz', '.tgz', '.tar', '.zip', '.xz', '.bz2', '.mat'}
#: Seconds without an answer; by default Python waits without end.
SERVER_TIMEOUT = 30


def fetch_datasets(cfg: Config, splits: tuple[str, ...] = SPLITS) -> None:
    """Build the data sets that download themselves once, so that later ones find their files.

    The first process does it for all. What a download that fails has written is removed: no half
    file is taken for a whole one later, and no empty folder for the data.

    Args:
        cfg: A config for MMPretrain or MMDetection.
        splits: Which data loaders to fetch for, of 'train', 'val' and 'test'.

    Raises:
        ValueError: One cannot be built, mostly for want of a network; the message says how to do
            without.
    """
    if not is_first_process():
        return
    done: list[ConfigDict] = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for split, dataset in datasets_of_config(cfg, splits):
            if dataset in done or not downloads_itself(registered_class(DATASETS, dataset)):
                continue
            done.append(dataset)
            try:
                with _unfinished_removed(dataset), server_timeout():
                    DATASETS.build(deepcopy(dataset))
            except Exception as error:  # whatever its code raises
                name, root = type_name(dataset), dataset.get('data_root') or ''
                by_hand = instructions(name, root) or 'put the data there by hand.'
                raise ValueError(
                    f'{split}_dataloader, {name}, which downloads its data to {root!r}, cannot '
                    f'be built: {error!r}. Check the network, or: {by_hand}'
                ) from error


def downloads_itself(cls: Any) -> bool:
    """Whether missing data are fetched on first use, as MMPretrain's CIFAR and MNIST do."""
    return 'download' in constructor_parameters(cls)


@contextmanager
def _unfinished_removed(dataset: ConfigDict) -> Iterator[None]:
    """Remove what a block of code has downloaded for a data set if it fails or is interrupted.

    In a folder that was there before, that is what the download itself names: archives, and the
    folder that they are unpacked into. Other things may be written there at the same time.
    """
    root = _root(dataset)
    kept = nearest_folder(root)
    before = _modified(root)
    try:
        yield
    except BaseException:
        if kept != root:
            shutil.rmtree(root, ignore_errors=True)
            for folder in takewhile(lambda above: above != kept, root.parents):
                with suppress(OSError):  # not made yet, or not empty
                    folder.rmdir()
        else:
            cls = registered_class(DATASETS, dataset)
            for path, time in _modified(root).items():
                if before.get(path) != time and _is_of_download(path, cls):
                    _remove(path)
        raise


@contextmanager
def server_timeout() -> Iterator[None]:
    """Let connections that are opened in a block of code fail where a server does not answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SERVER_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _root(dataset: ConfigDict) -> Path:
    """The folder into which a data set downloads."""
    prefix = dataset.get('data_prefix') or ''
    if isinstance(prefix, dict):
        prefix = prefix.get('root') or ''
    return Path(dataset.get('data_root') or '', prefix).expanduser().absolute()


def _modified(folder: Path) -> dict[Path, int]:
    """When each thing that lies directly in a folder was last changed, in nanoseconds."""
    if not folder.is_dir():
        return {}
    return {path: path.lstat().st_mtime_ns for path in folder.iterdir()}


def _is_of_download(path: Path, cls: Any) -> bool:
    """Whether a file or folder is an archive, or what the archives of a data set unpack into."""
    if path.is_dir():
        return path.name == getattr(cls, 'base_folder', None)
    return path.suffix in ARCHIVES or path.name == getattr(cls, 'filename', None)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
