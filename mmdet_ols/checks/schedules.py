"""Whether learning rates and checkpoints follow the training, and what a resumed one changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.hooks import ParamSchedulerHook
from mmengine.runner import Runner

from mmdet_ols.checks.logs import warn
from mmdet_ols.config_tree import hook_configs, nested_dicts, type_name

#: Schedules that come to their lowest learning rate at their end.
FALLING = ('CosineAnnealingLR', 'PolyLR')
#: What changes in a schedule as it goes on.
PROGRESS = ('last_step', 'verbose', 'base_values', '_global_step', '_last_value')
#: Settings of an optimizer that no schedule changes.
SETTINGS = ('initial_lr', 'weight_decay', 'nesterov')


def check_schedules(cfg: Config) -> None:
    """Warn of schedules that are made for another length, or another loop, than the training has.

    `train_cfg.max_epochs` alone is easily changed. The learning rate then stays at 0 for the rest,
    rises again, or is still high when the training ends. In an iteration-based loop, MMEngine ends
    an epoch only with the training, so what counts epochs does nothing before.
    """
    for warning in schedule_warnings(cfg):
        warn(warning)


def schedule_warnings(cfg: Config) -> list[str]:
    """What `check_schedules` warns of, in whole sentences."""
    train_cfg = cfg.get('train_cfg') or {}
    by_epoch = train_cfg.get('max_epochs') is not None
    length = train_cfg.get('max_epochs') if by_epoch else train_cfg.get('max_iters')
    if not length:
        return []
    idle = [] if by_epoch else _without_epochs(cfg)
    return [*idle, *_of_another_length(cfg, by_epoch, length)]


def _without_epochs(cfg: Config) -> list[str]:
    """What counts epochs although the training loop counts iterations."""
    end = 'but the training loop counts iterations, and its only epoch ends with the training'
    warnings = [
        f'{place} ({type_name(schedule)}) counts epochs, {end}: nothing changes before. Set '
        f'{place}.by_epoch=False, and its numbers in iterations.'
        for place, schedule in schedules_of(cfg)
        if schedule.get('by_epoch', True)
        and not schedule.get('convert_to_iter_based')
        and not type_name(schedule).startswith('ReduceOnPlateau')  # which follows validations
    ]
    if 'checkpoint' in (cfg.get('default_hooks') or {}):
        hooks = hook_configs(cfg, 'CheckpointHook')
    else:
        hooks = [{}]  # MMEngine's own
    if hooks and all(hook.get('by_epoch', True) for hook in hooks):
        warnings.append(
            f'CheckpointHook counts epochs, {end}: nothing is saved before. Set '
            'default_hooks.checkpoint.by_epoch=False, and its interval in iterations.'
        )
    return warnings


def _of_another_length(cfg: Config, by_epoch: bool, length: int) -> list[str]:
    schedules = [
        (place, schedule)
        for place, schedule in schedules_of(cfg)
        if schedule.get('by_epoch', True) == by_epoch
    ]
    warnings = []
    for place, schedule in schedules:
        if type_name(schedule) not in FALLING:
            continue
        # Where it names no end, MMEngine takes that of the training.
        begin, end = schedule.get('begin', 0), schedule.get('end', length)
        stop = _stop(schedule, begin, end)
        over = min(stop, end)
        goes_on = any(
            other.get('begin', 0) >= over and other.get('end', length) >= length
            for _, other in schedules
        )
        if stop == length or begin >= length or (over < length and goes_on):
            continue
        unit = 'epoch' if by_epoch else 'iteration'
        warnings.append(_about(place, schedule, stop, end, length, unit))
    # MMYOLO's own schedule, which counts epochs, and after its last one goes on to negative rates.
    for hook in hook_configs(cfg, 'YOLOv5ParamSchedulerHook') if by_epoch else ():
        epochs = hook.get('max_epochs', 300)
        if epochs != length:
            consequence = 'when it is still high' if epochs > length else 'and it goes on falling'
            warnings.append(
                f'YOLOv5ParamSchedulerHook lowers the learning rate until epoch {epochs}, but the '
                f'training ends after epoch {length}, {consequence}: set '
                f'default_hooks.param_scheduler.max_epochs={length}, unless this is meant.'
            )
    return warnings


def schedules_of(cfg: Config) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schedule of a config, which has one, a list or a dict of lists, and its place there."""
    nodes = nested_dicts(cfg.get('param_scheduler'), 'param_scheduler')
    return ((place, node) for place, node in nodes if 'type' in node)


def _stop(schedule: Mapping[str, Any], begin: int, end: int) -> int:
    """When a schedule comes to its lowest learning rate."""
    duration = schedule.get('T_max') if type_name(schedule) == 'CosineAnnealingLR' else None
    return begin + duration if duration else end


def _about(
    place: str, schedule: Mapping[str, Any], stop: int, end: int, length: int, unit: str
) -> str:
    if stop > length:
        consequence = 'when it is still high'
    elif end > stop:
        consequence = 'and it rises again before that'
    else:
        consequence = 'and it stays at its lowest before that'
    remedy = f'{place}.end={length}'
    if schedule.get('T_max'):
        remedy += f' and {place}.T_max={length - schedule.get("begin", 0)}'
    return (
        f'{place} ({type_name(schedule)}) lowers the learning rate until {unit} {stop}, but the '
        f'training ends after {unit} {length}, {consequence}: set {remedy}, unless this is meant.'
    )


def warn_of_resumed_settings(runner: Runner, content: Mapping[str, Any], path: str) -> None:
    """Warn where a run that goes on keeps settings of its checkpoint that the config has changed.

    MMEngine takes the optimizer and the schedules from the checkpoint, with their settings.

    Args:
        runner: Whose optimizer and schedules are built.
        content: Of the checkpoint.
        path: Of the checkpoint, for messages.
    """
    differing = []
    schedules = getattr(runner, 'param_schedulers', None)
    saved = content.get('param_schedulers')
    if isinstance(schedules, list) and isinstance(saved, list):
        for built, state in zip(schedules, saved):
            if hasattr(built, 'state_dict') and isinstance(state, Mapping):
                names = [name for name in state if name not in PROGRESS]
                differing += _differing(type(built).__name__, built.state_dict(), state, names)
    wrapper = getattr(runner, 'optim_wrapper', None)
    groups = getattr(getattr(wrapper, 'optimizer', None), 'param_groups', None)
    optimizer = content.get('optimizer')
    states = optimizer.get('param_groups') if isinstance(optimizer, Mapping) else None
    if groups and states:  # those of the first group tell
        ours, names = dict(groups[0]), list(SETTINGS)
        if any(map(_is_a_schedule, getattr(runner, 'hooks', ()))):
            ours.setdefault('initial_lr', ours['lr'])  # as it does when the training begins
        else:
            names += () if schedules else ('lr',)
            if not any('Momentum' in type(schedule).__name__ for schedule in schedules or ()):
                names += ['momentum', 'betas']
        differing += _differing('the optimizer', ours, states[0], names)
    if differing:
        warn(
            f'MMEngine goes on with the optimizer and the schedules of {path}, not with those of '
            f'the config: {"; ".join(differing)}. To train with the settings of the config, start '
            f'a new run from the weights (--cfg-options load_from={path}, without --resume).',
        )


def _is_a_schedule(hook: Any) -> bool:
    """Whether a hook is itself a schedule of learning rate and momentum, as MMYOLO's are."""
    return isinstance(hook, ParamSchedulerHook) and type(hook) is not ParamSchedulerHook


def _differing(
    owner: str, ours: Mapping[str, Any], saved: Mapping[str, Any], names: list[str]
) -> list[str]:
    """What differs between two states, each as a clause."""
    both = [name for name in names if name in ours and name in saved]
    return [
        f'{name} of {owner} is {_shown(saved[name])} there and {_shown(ours[name])} in the config'
        for name in both
        if _shown(saved[name]) != _shown(ours[name])
    ]


def _shown(value: Any) -> str:
    """A setting as text, in which a tuple and a list are alike."""
    if isinstance(value, Mapping):  # milestones, with how often each comes
        return str(sorted(value))
    return str(list(value) if isinstance(value, (list, tuple)) else value)
