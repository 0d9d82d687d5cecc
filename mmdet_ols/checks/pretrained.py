"""Getting hold of the pretrained weights that a model starts from, before a training starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.config import Config
from mmengine.runner import checkpoint as hosts_checkpoints

from mmdet_ols.checks.checkpoints import load_checkpoint
from mmdet_ols.checks.processes import is_first_on_machine
from mmdet_ols.checks.servers import SERVER_TIMEOUT, server_timeout
from mmdet_ols.config_tree import type_name


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
            continue  # left to the storage backend
        else:
            file = Path(source).expanduser()
        try:
            if fetch:
                file.parent.mkdir(parents=True, exist_ok=True)
                with server_timeout(SERVER_TIMEOUT):
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
