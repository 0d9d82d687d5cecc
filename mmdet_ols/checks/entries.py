"""Whether the entries of a config are of the kinds that MMEngine expects."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmdet_ols.checks.logs import warn
from mmdet_ols.config_tree import constructor_parameters, hook_configs, nested_dicts
from mmdet_ols.core.suggestions import did_you_mean

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
#: Entries that must be whole numbers, and the least of each; they may be None as well.
LEAST = {
    'train_cfg.max_epochs': 0,
    'train_cfg.max_iters': 0,
    'train_cfg.val_interval': 1,
    'randomness.seed': 0,
    **{f'{split}_dataloader.batch_size': 1 for split in ('train', 'val', 'test')},
    **{f'{split}_dataloader.num_workers': 0 for split in ('train', 'val', 'test')},
}
#: The names in `default_hooks` that MMEngine fills in itself.
OWN_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
#: Other entries at the top of a config that MMEngine, the hosts' tools or ours read.
OTHERS = (
    *('resume', 'launcher', 'log_processor', 'log_level', 'experiment_name', 'compile'),
    *('runner_type', 'strategy', 'find_unused_parameters', 'sync_bn', 'model_wrapper_cfg'),
    *('activation_checkpointing', 'efficient_conv_bn_eval', 'tta_model', 'tta_pipeline'),
    *('channels_last', 'classes_from_annotations', 'classes_renamed', 'applied_method'),
    *('paper_result', 'paper_cell'),
)
#: What a training and a test need.
PARTS = {
    'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'test': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}
#: What configs of the hosts' earlier generation have in place of it.
OLD_PARTS = ('data', 'runner', 'total_epochs', 'optimizer', 'optimizer_config', 'lr_config')
WORDS = {_DICT: 'a dict', _LIST: 'a list of dicts', _TEXT: 'a string'}


def check_entries(cfg: Config) -> None:
    """Check that the entries of a config are of the kinds that they have to be.

    Of numbers, those are looked at that a run would stumble over late, or with a traceback.

    Raises:
        ValueError: One is not; the message names it.
    """
    _check_generation(cfg)
    for name, kinds in KINDS.items():
        _check(name, cfg.get(name), kinds)
    for name, hook in (cfg.get('default_hooks') or {}).items():
        _check(f'default_hooks.{name}', hook, _DICT)
        if hook is None and name not in OWN_HOOKS and _has_hosts_runner(cfg):
            raise ValueError(
                f'`default_hooks.{name}` of the config must be a dict, but got None, by which '
                f'MMEngine lets only its own hooks be switched off ({", ".join(OWN_HOOKS)}): take '
                'it out of the config, or out of the one in `_base_` that names it.'
            )
    for index, hook in enumerate(cfg.get('custom_hooks') or ()):
        _check(f'custom_hooks.{index}', hook, _DICT)
    for split in ('train', 'val', 'test'):
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if not isinstance(dataset, (list, tuple)):  # which may hold samples
            _check(f'{split}_dataloader.dataset', dataset, _DICT)
        elif any(isinstance(item, dict) and 'type' in item for item in dataset):
            raise ValueError(
                f'`{split}_dataloader.dataset` of the config must be one data set, but got a list '
                f'of {len(dataset)}, as MMDetection 2 took it: write '
                "dict(type='ConcatDataset', datasets=[...])."
            )
    for name, least in LEAST.items():
        part, _, key = name.partition('.')
        _check_number(name, (cfg.get(part) or {}).get(key), least)
    for hook in hook_configs(cfg, 'CheckpointHook'):
        _check_checkpoint_hook(hook)


def check_parts(cfg: Config, use: str) -> None:
    """Make sure that a config describes what it is used for at all.

    Args:
        cfg: The config.
        use: 'train' or 'test'.

    Raises:
        ValueError: It describes a model only.
    """
    if any(cfg.get(name) is not None for name in PARTS[use]):
        return  # MMEngine says which of them is missing
    needs = ', '.join(PARTS[use])
    remedy = 'add them'
    if use == 'test' and cfg.get('val_dataloader') is not None:
        remedy = 'write test_dataloader = val_dataloader and so on to test on the validation data'
    raise ValueError(f'To {use}, the config must have {needs}, but has none of them: {remedy}.')


def _check_generation(cfg: Config) -> None:
    old = [name for name in OLD_PARTS if name in cfg]
    if len(old) > 1 and not any(name in cfg for parts in PARTS.values() for name in parts):
        raise ValueError(
            f'The config has {", ".join(old)}, as MMDetection 2 and MMClassification 0 wanted it, '
            f'but must have {", ".join(PARTS["train"])}: start from a config of MMDetection 3 or '
            'MMPretrain 1, and bring over what is your own.'
        )


def _check(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if value is not None and not isinstance(value, kinds):
        expected = WORDS.get(kinds, 'a dict or a list of dicts')
        raise ValueError(
            f'`{name}` of the config must be {expected}, but got {type(value).__name__} {value!r}.'
        )


def _has_hosts_runner(cfg: Config) -> bool:
    return str(cfg.get('runner_type', 'Runner')) in ('Runner', 'FlexibleRunner')


def _check_number(name: str, value: Any, least: int) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (is_number and value == value // 1 and value >= least):
        raise ValueError(
            f'`{name}` of the config must be a whole number of at least {least}, but got {value!r}.'
        )


def _check_checkpoint_hook(hook: dict[str, Any]) -> None:
    """Refuse what the hook hands on to the saving of a checkpoint, which would fail only then."""
    known = [
        name
        for function in (CheckpointHook, Runner.save_checkpoint)
        for name in constructor_parameters(function)
    ]
    for name in hook:
        if name not in (*known, 'type', 'priority', '_scope_'):
            raise ValueError(
                f'CheckpointHook has no argument `{name}`{did_you_mean(name, known)}: correct or '
                'remove it. It would end the run when the first checkpoint is saved.'
            )


def warn_of_variables(cfg: Config, options: Collection[str], before: Collection[str]) -> None:
    """Warn of options that change what nothing reads: variables of a file, and misspelt keys.

    By the time an option is merged, the file has made its entries of its variables: `max_epochs=9`
    leaves `train_cfg.max_epochs` as it is.

    Args:
        cfg: The config, with the options merged.
        options: Their keys.
        before: The entries at the top of the config before.
    """
    if not _has_hosts_runner(cfg):
        return  # a runner of the user's own may read anything
    known = (*KINDS, *OTHERS)
    for key in options:
        if '.' in key or key in known:
            continue
        nodes = nested_dicts(cfg.to_dict())
        places = [f'{path}.{key}' for path, node in nodes if path and key in node][:3]
        if key == 'data_root':
            remedy = 'name the folder with --data-root'
        elif places:
            remedy = f'set {" or ".join(places)}'
        else:
            remedy = 'name an entry by its whole path, as in optim_wrapper.optimizer.lr'
        if key in before:
            problem = 'a variable of the config file, of which the entries have been made already'
        else:
            problem = f'no entry that something reads{did_you_mean(key, known)}'
        warn(
            f'--cfg-options {key}=... has no effect, since it is {problem}: {remedy}.',
        )
