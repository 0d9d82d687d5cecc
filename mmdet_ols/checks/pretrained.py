"""Getting hold of the pretrained weights that a model starts from, before a training starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import mmengine.model  # noqa: F401  (registers the initializers)
import torch
from mmengine.config import Config
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import checkpoint as hosts_checkpoints

from mmdet_ols.checks.checkpoints import load_checkpoint
from mmdet_ols.checks.downloads import server_timeout
from mmdet_ols.checks.option_names import option_names
from mmdet_ols.checks.processes import is_first_on_machine
from mmdet_ols.checks.unregistered import unregistered
from mmdet_ols.config_tree import nested_dicts, type_name


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
    if not is_first_on_machine():
        return
    for place, checkpoint in _pretrained_weights(cfg.get('model') or {}):
        where = f"The pretrained weights of {place}, '{checkpoint}',"
        entries = option_names().entries
        otherwise = f'To start from random weights: {entries} {place}.init_cfg=None'
        source = resolve(checkpoint)
        file = local_file(source)
        if file is None:
            continue  # left to the storage backend
        fetch = _is_url(source) and not file.is_file()
        try:
            if fetch:
                file.parent.mkdir(parents=True, exist_ok=True)
                with server_timeout():
                    torch.hub.download_url_to_file(source, str(file))
            load_checkpoint(file)
        except (OSError, HTTPException) as error:
            message = f'{where} are not there: {error}.'
            if fetch:
                message += f' Fetch it from {source} by other means and save it as {file}.'
            raise FileNotFoundError(f'{message} {otherwise}') from error
        except ValueError as error:
            if fetch:
                file.unlink()  # or the next start would take it for complete
            raise ValueError(f'{where} cannot be used: {error} {otherwise}') from error


def local_file(source: str) -> Path | None:
    """Where MMEngine looks for weights on this machine; None if a storage backend holds them.

    Args:
        source: A URL or path, as `resolve` returns it.
    """
    if _is_url(source):
        # Where `torch.hub`, which MMEngine fetches with, keeps its files.
        return Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(source).path).name)
    return None if '://' in source else Path(source).expanduser()


def _is_url(source: str) -> bool:
    return source.startswith(('http://', 'https://'))


def _pretrained_weights(model: Any) -> Iterator[tuple[str, str]]:
    """(place in the config, checkpoint) of every part that starts from pretrained weights."""
    for place, node in nested_dicts(model, 'model'):
        _check_initializers(node.get('init_cfg'), place)
        for init in pretrained_inits(node.get('init_cfg')):
            if not init.get('checkpoint'):
                raise ValueError(
                    f'`checkpoint` of {place}.init_cfg must name a file, since its type is '
                    f"'Pretrained', but got {init.get('checkpoint')!r}."
                )
            yield place, init['checkpoint']


def _check_initializers(init_cfg: Any, place: str) -> None:
    """Check that MMEngine knows what an `init_cfg` asks for: it would look only in the first step.

    Raises:
        ValueError: It does not.
    """
    for init in init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]:
        if not init:
            continue
        if not isinstance(init, dict):
            raise ValueError(
                f"`{place}.init_cfg` must be a dict, as in dict(type='Pretrained', "
                f'checkpoint=...), but got {init!r}.'
            )
        kind = init.get('type')
        if isinstance(kind, str) and WEIGHT_INITIALIZERS.get(kind) is None:
            raise ValueError(f'{place}.init_cfg: {unregistered(kind, WEIGHT_INITIALIZERS)}')


def pretrained_inits(init_cfg: Any) -> list[dict]:
    """Those entries of an `init_cfg` that load a file.

    MMDetection's PVT, which loads it by itself, needs no `type`, and its configs have none.
    """
    inits = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    return [init for init in inits if init and _loads_a_file(init)]


def _loads_a_file(init: dict) -> bool:
    if 'type' in init:
        return type_name(init) in ('Pretrained', 'PretrainedInit')
    return 'checkpoint' in init


def resolve(checkpoint: str) -> str:
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
