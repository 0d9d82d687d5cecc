"""Checking what a run is going to load, before it starts: the checkpoint and its folder."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel
from mmengine.runner import BaseLoop, Runner, find_latest_checkpoint
from torch import nn

from mmdet_ols.checks.checkpoint_classes import RENAMED, compare_classes
from mmdet_ols.checks.checkpoints import load_checkpoint
from mmdet_ols.checks.initial_weights import (
    report_checkpoint,
    report_pretrained,
    report_whole,
)
from mmdet_ols.checks.logs import warn
from mmdet_ols.checks.matching import WeightMatch, check_match
from mmdet_ols.checks.processes import is_first_process
from mmdet_ols.checks.schedules import warn_of_resumed_settings
from mmdet_ols.checks.weight_report import WeightReport
from mmdet_ols.config_tree import type_name
from mmdet_ols.evaluation.passes import unwrapped
from mmdet_ols.methods import METHODS, parse_method
from mmdet_ols.results.run_folder import dumped_configs, newest_checkpoint


def check_checkpoint_exists(cfg: Config) -> None:
    """Look for the checkpoint that a run starts from before anything else takes time.

    Raises:
        FileNotFoundError: `load_from` names a file that is not there.
    """
    path = cfg.get('load_from')
    if path and '://' not in str(path) and not Path(path).exists():
        raise FileNotFoundError(f'There is no checkpoint file {path}.{_others(Path(path).parent)}')


def checkpoint_to_resume(work_dir: str) -> str | None:
    """Find the checkpoint from which a run goes on, if MMEngine does not find it by itself.

    The file `last_checkpoint` holds a whole path, which is wrong once the folder has moved, and
    names the checkpoint of another folder once it was copied.

    Returns:
        The path; None where MMEngine finds the right one, or where there is none yet.

    Raises:
        FileNotFoundError: The checkpoint that `last_checkpoint` names is gone, or it names none.
    """
    folder, pointer = Path(work_dir), Path(work_dir, 'last_checkpoint')
    if not pointer.is_file():
        return None
    named = pointer.read_text('utf-8').strip()
    if '://' in named:
        return None
    here = newest_checkpoint(folder)
    is_here = here is not None and here.exists()
    if named and Path(named).exists() and not (is_here and _is_in_other_run(Path(named), folder)):
        return None
    if is_here:
        return str(here)
    problem = 'is empty'  # as a full disk leaves it
    if named:
        problem = f'names {named} as the checkpoint to go on from, which is not there'
    raise FileNotFoundError(
        f'{pointer} {problem}.{_others(folder)} Name one with --resume CHECKPOINT, or remove the '
        'folder to start again.'
    )


def _is_in_other_run(checkpoint: Path, folder: Path) -> bool:
    """Whether a checkpoint lies in the work directory of another training.

    One that CheckpointHook saves in its `out_dir` does not: the pointer is in the work directory.
    """
    parent = checkpoint.parent
    return (parent / 'last_checkpoint').is_file() and not parent.samefile(folder)


def _others(folder: Path) -> str:
    """Which checkpoints a folder holds, as a sentence."""
    names = [path.name for path in sorted(folder.glob('*.pth'))]
    more = f' and {len(names) - 8} more' if len(names) > 8 else ''
    return f' {folder} holds {", ".join(names[-8:])}{more}.' if names else ''


def check_work_dir(cfg: Config) -> None:
    """Make sure that a run can write into its folder, before anything else takes time.

    Raises:
        ValueError: See `check_folder`.
    """
    check_folder(cfg.work_dir, 'The work directory of a run', '--work-dir')


def check_folder(folder: str | Path, what: str, option: str) -> None:
    """Make sure that something can be written into a folder, which need not be there yet.

    Args:
        folder: The folder.
        what: What it is, for the message.
        option: What names another one.

    Raises:
        ValueError: A file has that name, or nothing may be written there.
    """
    path = Path(folder).absolute()
    place = next(place for place in (path, *path.parents) if place.exists())
    if not place.is_dir():
        problem = f'{place} is a file'
    elif not os.access(place, os.W_OK | os.X_OK):
        problem = f'nothing may be written in {place}'
    else:
        return
    raise ValueError(
        f'{what} must be a folder that can be written to, but got {folder}, and {problem}: name '
        f'another one with {option}.'
    )


def warn_of_earlier_run(cfg: Config) -> None:
    """Warn of a new training in the folder of another one."""
    names = [] if cfg.get('resume') else [path.name for path in Path(cfg.work_dir).glob('*.pth')]
    if names and is_first_process():
        warn(
            f'{cfg.work_dir} holds checkpoints of an earlier training, such as {min(names)}, '
            'and this one starts from the beginning and writes over them: pass --resume to go on '
            'from them (--resume CHECKPOINT, if the folder has no file last_checkpoint), or name '
            'another --work-dir to keep them.',
        )


def resumes_by_itself(cfg: Config) -> str:
    """What to say of a config that goes on from a checkpoint without being told to; or ''."""
    if not cfg.get('resume') or not cfg.get('load_from'):
        return ''
    return (
        f'`resume` and `load_from` of the config let the training go on from {cfg.load_from}, as '
        'they do in what a resumed run dumps: for a new training, set resume=False load_from=None '
        'with --cfg-options.'
    )


def check_teacher_exists(cfg: Config) -> None:
    """Look for the checkpoint of a frozen teacher before anything else takes time.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: None is named.
    """
    model = cfg.get('model') or {}
    if type_name(model) != 'SelfTaughtClassifier':
        return
    path = model.get('teacher')
    if not path:
        raise ValueError(
            '`teacher` of tfkd_self must name the checkpoint of a network that was trained from '
            f'the same config, but got {path!r}: --method tfkd_self:teacher=FILE.'
        )
    if '://' not in str(path) and not Path(path).is_file():
        raise FileNotFoundError(f'There is no checkpoint file {path}.')


def check_same_method(cfg: Config) -> None:
    """Make sure that a run that is to be resumed was made with the method of this config.

    Args:
        cfg: The config. Nothing is checked unless its `resume` is set.

    Raises:
        ValueError: The run was made with another method.
    """
    if not cfg.get('resume') or not is_first_process():
        return  # the first process checks for all, before it overwrites the dumped config
    folder = Path(cfg.load_from).parent if cfg.get('load_from') else Path(cfg.work_dir)
    dumped = dumped_configs(folder) or [p for p in sorted(folder.glob('*.py')) if _is_dump(p)]
    if not dumped:
        return
    before = _applied_method(dumped[-1])
    asked = cfg.get('applied_method')
    if before != asked and not (before and asked and _is_same(before, asked)):
        remedy = f'pass --method {before}' if before else 'leave --method out'
        raise ValueError(
            f'The run in {folder} was made {_method(before)} and cannot be resumed '
            f'{_method(asked)}: {remedy}, or start a new run in another --work-dir.'
        )


def _is_dump(path: Path) -> bool:
    """Whether a file may be a config that MMEngine dumped: it holds assignments and nothing else.

    Next to a checkpoint that was copied there may be scripts.
    """
    try:
        statements = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError):
        return False
    return bool(statements) and all(isinstance(node, ast.Assign) for node in statements)


def _applied_method(dump: Path) -> str | None:
    """The method in a dumped config, which is not executed: some hold `inf` and other names."""
    for node in ast.parse(dump.read_bytes()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'applied_method':
            return ast.literal_eval(node.value)
    return None


def _is_same(before: str, asked: str) -> bool:
    """Whether two methods differ at most in where the checkpoint lies that they learn from."""
    one, other = (
        [
            (name, {key: _file_of(name, key, value) for key, value in given.items()})
            for name, given in parse_method(method).parts
        ]
        for method in (before, asked)
    )
    return one == other


def _file_of(name: str, key: str, value: Any) -> Any:
    """The value of a method's option; of a checkpoint, which may have moved, the file's name."""
    needs = METHODS[name].needs
    return Path(str(value)).name if needs is not None and key == needs.option else value


def _method(name: str | None) -> str:
    return f'with --method {name}' if name else 'without --method'


def check_start(runner: Runner, trained: bool = False, strict: bool = False) -> None:
    """Check all weights that a built Runner is going to load, before it starts.

    Logs a table of how much of them the model takes.

    Args:
        runner: A built Runner, not yet started. If its loops are built, their data name the classes
            that are compared with the checkpoint's.
        trained: Whether the checkpoint is to be tested rather than trained on.
        strict: Whether what may be wrong is an error rather than a warning.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        ValueError: It cannot be loaded safely, or does not fit the model where it has to; its
            classes are not those of the data; or pretrained weights are not those of their part.
    """
    model, path = unwrapped(runner.model), _checkpoint_path(runner)
    if isinstance(model, BaseTTAModel):
        model = model.module
    use = 'test' if trained else 'resume' if runner._resume else 'start'
    content = load_checkpoint(path) if path else {}
    report, match = WeightReport(), None
    if isinstance(model, nn.Module):  # a strategy may build it later
        report, match = _report_weights(model, content, path, use)
        loop = runner._test_loop if trained else runner._train_loop
        if path and isinstance(loop, BaseLoop):
            ours = (getattr(loop.dataloader.dataset, 'metainfo', None) or {}).get('classes') or ()
            renamed = bool(runner.cfg.get(RENAMED))
            compare_classes(report, model, content, ours, path, use, renamed)
        if use == 'start' and not report.rows:
            report.notes.append('Every layer of the model starts at random.')
    if is_first_process():
        report.say()
    report.raise_errors(strict)
    if match is not None and str(match):
        print_log(f'{path} and the model differ:\n{match}', logger='current')
    if use == 'resume' and path:
        _check_progress(content, path)
        _warn_if_finished(runner, content, path)
        if is_first_process():
            warn_of_resumed_settings(runner, content, path)


def weights_at_start(model: nn.Module, load_from: str | None) -> WeightReport:
    """Find out how much of its weights a model takes before a new training.

    Args:
        model: Built, and not initialised yet.
        load_from: The checkpoint that the training starts from, if any.
    """
    path = None if '://' in str(load_from) else load_from
    return _report_weights(model, load_checkpoint(path) if path else {}, path, 'start')[0]


def _report_weights(
    model: nn.Module, content: dict[str, Any], path: str | None, use: str
) -> tuple[WeightReport, WeightMatch | None]:
    """What a model takes of a checkpoint, if there is one, and of pretrained weights."""
    report, match = WeightReport(), None
    if path:
        match = check_match(model, content, path, use)
        if use == 'start':
            report_checkpoint(report, model, match, content, path)
        else:
            report_whole(report, match, path, use)
    if use == 'start' and is_first_process():
        report_pretrained(report, model, match.loaded if match else ())
    return report, match


def _checkpoint_path(runner: Runner) -> str | None:
    """The file that a Runner is going to load, if it is one that can be read here."""
    path = runner._load_from
    if runner._resume and path is None:
        path = find_latest_checkpoint(runner.work_dir)
    # Remote files are MMEngine's to fetch and folders (of DeepSpeed, or of each rank in FSDP) its
    # strategies' to read, under the same rule of safe loading.
    sharded = runner.cfg.get('runner_type') == 'FlexibleRunner' and Path(str(path)).is_dir()
    return None if path is None or '://' in str(path) or sharded else str(path)


def _check_progress(content: dict[str, Any], path: str) -> None:
    """Make sure that a checkpoint says how far its training had come.

    Raises:
        ValueError: It does not, or not as MMEngine needs it.
    """
    meta = content.get('meta')
    has_progress = isinstance(meta, dict) and {'epoch', 'iter'} <= meta.keys()
    if not has_progress or 'message_hub' not in content:
        raise ValueError(
            f'--resume needs a checkpoint that a training with MMEngine has saved, with all of its '
            f'progress, but {path} has none (as published weights and checkpoints of MMDetection 2 '
            'have none): to start a new training from these weights, leave --resume out and pass '
            f'--cfg-options load_from={path}'
        )
    if 'optimizer' not in content:
        warn(
            f'{path} holds no state of the optimizer (save_optimizer=False, or a published file), '
            'which starts again, so that the training does not go on exactly as it was.',
        )


def _warn_if_finished(runner: Runner, content: dict[str, Any], path: str) -> None:
    """Warn if a checkpoint that is resumed has all epochs, or iterations, behind it."""
    train_cfg, done = runner.cfg.get('train_cfg') or {}, content['meta']
    for length, unit in (('max_epochs', 'epoch'), ('max_iters', 'iter')):
        if train_cfg.get(length) and done[unit] >= train_cfg[length]:
            units = 'epochs' if unit == 'epoch' else 'iterations'
            warn(
                f'{path} has all {train_cfg[length]} {units} behind it: nothing is left to train. '
                f'To start again, remove {runner.work_dir}; to go on, raise train_cfg.{length} '
                '(the learning rate then stays where the schedules of the checkpoint end).',
            )
