"""Whether the entries of a config are of the kinds that MMEngine expects."""

from __future__ import annotations

import os
from typing import Any

from mmengine.config import Config

_DICT: tuple[type, ...] = (dict,)
_LIST: tuple[type, ...] = (list, tuple)
_TEXT: tuple[type, ...] = (str, os.PathLike)
#: Every entry may be None as well.
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(('model', 'optim_wrapper', 'default_hooks', 'visualizer'), _DICT),
    **dict.fromkeys(('train_dataloader', 'val_dataloader', 'test_dataloader'), _DICT),
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg', 'env_cfg', 'randomness'), _DICT),
    **dict.fromkeys(('custom_imports', 'auto_scale_lr', 'data_preprocessor'), _DICT),
    'custom_hooks': _LIST,
    'param_scheduler': (*_DICT, *_LIST),
    **dict.fromkeys(('val_evaluator', 'test_evaluator'), (*_DICT, *_LIST)),
    **dict.fromkeys(('work_dir', 'load_from', 'default_scope'), _TEXT),
}
WORDS = {_DICT: 'a dict', _LIST: 'a list of dicts', _TEXT: 'a string'}


def check_entries(cfg: Config) -> None:
    """Check that the entries of a config are dicts, lists or strings where they have to be.

    Raises:
        ValueError: One is not; the message names it.
    """
    for name, kinds in KINDS.items():
        _check(name, cfg.get(name), kinds)
    for name, hook in (cfg.get('default_hooks') or {}).items():
        _check(f'default_hooks.{name}', hook, _DICT)
    for index, hook in enumerate(cfg.get('custom_hooks') or ()):
        _check(f'custom_hooks.{index}', hook, _DICT)
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader') or {}
        _check(f'{split}_dataloader.dataset', loader.get('dataset'), (*_DICT, *_LIST))


def _check(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if value is not None and not isinstance(value, kinds):
        expected = WORDS.get(kinds, 'a dict or a list of dicts')
        raise ValueError(
            f'`{name}` of the config must be {expected}, but got {type(value).__name__} {value!r}.'
        )
