"""From a config file and the options of a command line to the config that is run."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from mmengine.registry import METRICS, MODELS
from mmengine.runner import Runner

from mmdet_ols.checks.config_errors import config_errors
from mmdet_ols.checks.entries import check_entries, warn_of_variables
from mmdet_ols.checks.folders import check_path
from mmdet_ols.config_tree import import_package, imports_package, registered_class, type_name
from mmdet_ols.engine.cpu_amp import CPUAmpOptimWrapper, has_bfloat16_instructions
from mmdet_ols.engine.data_root import LOADERS, replace_data_root
from mmdet_ols.engine.old_variables import OLD_VARIABLES
from mmdet_ols.engine.own_classes import fill_in_classes

#: What MMEngine takes where a data loader does not say; the hosts' own train.py fill in others.
LOADER_DEFAULTS = dict(
    collate_fn=dict(type='pseudo_collate'), persistent_workers=False, pin_memory=False
)
#: What PyTorch refuses for a data loader without worker processes.
FOR_WORKERS = ('prefetch_factor', 'timeout', 'multiprocessing_context')
#: The packages whose names are also the names of their scopes.
HOSTS = ('mmdet', 'mmpretrain', 'mmyolo')


def read_config(
    path: str | Path,
    *,
    options: Mapping[str, Any] | Sequence[str] | None = None,
    method: str | None = None,
    data_root: str | None = None,
    work_dir: str | Path | None = None,
    launcher: str = 'none',
) -> Config:
    """Read the config that a run uses: whole and plain, so that its dump trains the same.

    Nothing but the result changes: no file, no environment variable, no setting of the process.

    Args:
        path: Of the config.
        options: Entries to override, first of all; parsed, or as `KEY=VALUE`.
        method: What to train with, such as 'ols' or 'ols:alpha=0.3'; applied last.
        data_root: Where the data of all data sets lie.
        work_dir: Where the run goes. By default that is the config's own `work_dir`, or else
            `work_dirs/<name of the config>`, with the method added to its name.
        launcher: Who starts the processes: 'none', 'pytorch', 'slurm' or 'mpi'.

    Raises:
        FileNotFoundError: The config does not exist; or there are no annotations to take the
            classes from.
        ValueError: An option cannot be used, or the config has no place for it.
    """
    options = options if isinstance(options, Mapping) else parse_options(options or ())
    work_dir = options.get('work_dir') if work_dir is None else work_dir
    check_path('--work-dir', work_dir)
    cfg = read_unfinished(path, options, data_root)
    return finish_config(cfg, path, method, work_dir, launcher)


def read_unfinished(
    path: str | Path,
    options: Mapping[str, Any] | Sequence[str] | None = None,
    data_root: str | None = None,
) -> Config:
    """Read a config as far as it is the same for every method; the arguments of `read_config`.

    Raises:
        FileNotFoundError: As `read_config`.
        ValueError: As `read_config`.
    """
    check_path('CONFIG', path)
    cfg = _read_plain(path)
    _warn_of_old_variables(cfg)
    merge_options(cfg, options if isinstance(options, Mapping) else parse_options(options or ()))
    check_entries(cfg)
    _name_the_host(cfg)
    if data_root is not None:
        replace_data_root(cfg, data_root)
    fill_in_classes(cfg)
    return cfg


def finish_config(
    cfg: Config,
    path: str | Path,
    method: str | None = None,
    work_dir: str | Path | None = None,
    launcher: str = 'none',
) -> Config:
    """Apply a method to a config that was read, and say where its run goes.

    Args:
        cfg: As `read_unfinished` returns it; it may be changed.
        path: Of the config.
        method: As for `read_config`.
        work_dir: As for `read_config`.
        launcher: As for `read_config`.

    Raises:
        ValueError: The method cannot be applied.
    """
    previous = cfg.get('applied_method')
    if method is not None:
        from mmdet_ols.methods import apply_method

        cfg = apply_method(cfg, method)
    if work_dir is not None:
        cfg.work_dir = os.path.expanduser(work_dir)
    else:
        cfg.work_dir = _default_work_dir(cfg, path, previous)
    cfg.launcher = launcher
    write_out_defaults(cfg)
    return cfg


def _default_work_dir(cfg: Config, path: str | Path, previous: str | None) -> str:
    """The config's own work directory, or one named like the config, with the method in its name.

    Args:
        cfg: The config, to which a method may have been applied.
        path: Of the config.
        previous: The method that the config was made with before, if any, as in the config that a
            run has dumped: its work directory has that name already.
    """
    work_dir = str(cfg.get('work_dir') or Path('work_dirs', Path(path).stem))
    method = cfg.get('applied_method')
    if method == previous:
        return work_dir
    from mmdet_ols.methods import parse_method

    work_dir = work_dir.rstrip('/')
    if previous:
        work_dir = work_dir.removesuffix(f'_{parse_method(previous).slug}')
    slug = parse_method(method).slug
    if Path(work_dir).name in ('', '..'):  # such as '.', which has no name to add to
        return str(Path(work_dir, slug))
    return f'{work_dir}_{slug}'


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Parse entries of a config as a command line gives them: `KEY=VALUE`, as MMEngine does.

    Raises:
        ValueError: One is not of this form.
    """
    for word in words:
        key, equals, _ = word.partition('=')
        if not key or not equals:
            raise ValueError(f'Entries of the config must be KEY=VALUE, but got {word!r}.')
    parser = argparse.ArgumentParser()
    parser.add_argument('--options', nargs='+', action=DictAction, default={})
    try:
        return parser.parse_args(['--options', *words] if words else []).options
    except AssertionError as error:  # MMEngine's, such as about brackets
        raise ValueError(f'An entry of the config cannot be read: {error}.') from error
    except RecursionError as error:  # which MMEngine's parser of lists makes of dicts
        raise ValueError(
            'A value must be a number, a word, a list or a tuple of these, but got '
            f'{" ".join(words)}: set the entries of a dict one by one, as in KEY.ENTRY=VALUE.'
        ) from error


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Override entries of a config, and warn of those that nothing reads.

    Raises:
        ValueError: The config has no place for an entry.
    """
    before = set(cfg)
    for key in options:
        _open(cfg, key.split('.')[:-1])
    try:
        cfg.merge_from_dict(dict(options))
    except (AttributeError, KeyError, TypeError) as error:
        given = ' '.join(f'{key}={value}' for key, value in options.items())
        raise ValueError(
            'Options must override entries below dicts, or items that a list has, but got '
            f'--cfg-options {given}: {error.args[0]}'
        ) from error
    warn_of_variables(cfg, options, before)


def _open(node: Any, keys: Sequence[str]) -> None:
    """Make a dict of what stands in the way of an option as None, as in `clip_grad=None`.

    MMEngine asks for `clip_grad._delete_=True` then.
    """
    for key in keys:
        if not isinstance(node, (Config, dict)) or key not in node:
            return
        if node[key] is None:
            node[key] = ConfigDict()
        node = node[key]


def write_out_defaults(cfg: Config) -> None:
    """Write out what MMEngine would take anyway, but the hosts' own train.py would change.

    MMPretrain's fills in `persistent_workers=True`, an error with `num_workers=0`, `pin_memory` and
    another `collate_fn`. What is only for worker processes goes where there are none: PyTorch
    refuses it with `num_workers=0`, which users of a debugger set.
    """
    for name in LOADERS:
        # A loop of a user's own may take several loaders, by names of its own.
        if 'dataset' in (cfg.get(name) or {}):
            loader = {**LOADER_DEFAULTS, **cfg[name]}
            if not loader.get('num_workers'):
                loader['persistent_workers'] = False
                for entry in FOR_WORKERS:
                    loader.pop(entry, None)
            cfg[name] = loader


def _read_plain(path: str | Path) -> Config:
    """Read a config, whose types are names and not classes even if it is one of the new style."""
    with config_errors(path):
        cfg = Config.fromfile(path)
        return renamed_config(cfg, cfg.filename)


def renamed_config(cfg: Config, filename: str | Path) -> Config:
    """A plain copy of a config under the name of another file, by which a run dumps it."""
    return Config(
        cfg.to_dict(),
        cfg_text=cfg.text,
        filename=filename,
        env_variables=cfg.env_variables,
        # It takes half a second each time, and a run writes its config into its log, its folder and
        # every checkpoint.
        format_python_code=False,
    )


def _name_the_host(cfg: Config) -> None:
    """Let a config in pure Python say whose it is, since methods and tools add modules by name.

    Such configs of the hosts have `default_scope = None`: they hold classes and need none.
    """
    model = cfg.get('model') or {}
    if cfg.get('default_scope') is not None or '.' not in str(model.get('type', '')):
        return
    for base in getattr(registered_class(MODELS, model), '__mro__', ()):
        package, _, module = base.__module__.partition('.')
        if package in HOSTS and module:
            cfg.default_scope = package
            return


def _warn_of_old_variables(cfg: Config) -> None:
    """Warn of environment variables by which configs of ours were once chosen.

    Only with configs of ours and those that import them: `DATA` is a common name.
    """
    if not imports_package(cfg):
        return
    for name, instead in OLD_VARIABLES.items():
        # A config of the user's own may still read it.
        if name in os.environ and name not in cfg.env_variables:
            warnings.warn(
                f'The environment variable {name} is set, but no longer read: use {instead} '
                '(or unset it).',
                stacklevel=3,
            )


def use_amp(cfg: Config) -> None:
    """Train in mixed precision: MMEngine's own on a GPU, bfloat16 autocast on a CPU.

    Raises:
        ValueError: The processor has no bfloat16 instructions, so that it would only get slower, or
            the config's strategy casts by itself, or it has another `optim_wrapper`.
    """
    if not cfg.get('optim_wrapper'):
        return  # MMEngine says what a training needs
    kind = type_name(cfg.optim_wrapper)
    if kind == 'DeepSpeedOptimWrapper':
        raise ValueError(
            '--amp does not go with DeepSpeed, which casts by itself: leave it out, and set '
            'strategy.bf16=dict(enabled=True) (or fp16) in the config.'
        )
    if kind not in ('?', 'OptimWrapper', 'AmpOptimWrapper', CPUAmpOptimWrapper.__name__):
        raise ValueError(
            f"--amp takes the place of MMEngine's OptimWrapper, but `optim_wrapper` is of type "
            f'{kind}: leave --amp out, and let {kind} cast.'
        )
    if get_device() != 'cpu':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    elif torch.ops.mkldnn._is_mkldnn_bf16_supported():
        cfg.optim_wrapper.type = CPUAmpOptimWrapper.__name__
        cfg.optim_wrapper.pop('loss_scale', None)
        import_package(cfg)  # which registers it
    else:
        raise ValueError(
            '--amp needs a GPU or a processor with bfloat16 instructions (AVX512 or AMX), and this '
            'machine shows neither: leave it out.'
        )


def use_quicker_precision(cfg: Config) -> str:
    """Train in bfloat16 if it runs on a CPU with instructions for it; return what was chosen."""
    if get_device() != 'cpu':
        return 'float32 (--auto-amp looks at processors only; --amp trains a GPU in half precision)'
    if not has_bfloat16_instructions():
        return 'float32, since this processor has no instructions for bfloat16'
    use_amp(cfg)
    return 'bfloat16, since this processor has instructions for it'


def use_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate with the total batch size.

    Raises:
        ValueError: The config does not say which batch size its learning rate is meant for.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError(
            '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) in the config: N is the '
            'total batch size that its learning rate is meant for.'
        )
    cfg.auto_scale_lr.enable = True


def use_visualization(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Draw the predictions, with the visualization hook of the config's host.

    Raises:
        ValueError: The config has no such hook.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if not hook:
        raise ValueError(
            '--show and --show-dir need default_hooks.visualization in the config '
            "(type='DetVisualizationHook' in MMDetection, 'VisualizationHook' in MMPretrain)."
        )
    hook.update(show=show, wait_time=wait_time)
    if cfg.get('default_scope') == 'mmpretrain':
        hook.update(enable=True, out_dir=show_dir, interval=1)
    else:
        hook.update(draw=True, test_out_dir=show_dir)


def save_predictions(runner: Runner, path: str) -> None:
    """Save the predictions of a test as a pickle file, as the hosts' tools do."""
    scope = runner.cfg.get('default_scope')
    kind = 'mmdet.DumpDetResults' if scope in ('mmdet', 'mmyolo') else 'DumpResults'
    runner.test_evaluator.metrics.append(METRICS.build(dict(type=kind, out_file_path=path)))
