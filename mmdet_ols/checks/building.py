"""Errors while model, hooks, data and loops are built, as what the user wrote and can mend."""

from __future__ import annotations

import linecache
import logging
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import OPTIMIZERS

from mmdet_ols.checks.unregistered import unregistered
from mmdet_ols.config_tree import constructor_parameters, nested_dicts, type_name
from mmdet_ols.core.suggestions import did_you_mean
from mmdet_ols.host_imports import failed_host_import

#: What constructors raise when they are called wrongly. OSError and ImportError say enough.
MISTAKES = (
    TypeError,
    KeyError,
    IndexError,
    AssertionError,
    AttributeError,
    NameError,
    RuntimeError,
    ZeroDivisionError,
)
#: Entries that MMEngine builds without its registries, by the method that does it.
UNREGISTERED = {
    'build_train_loop': 'train_cfg',
    'build_val_loop': 'val_cfg',
    'build_test_loop': 'test_cfg',
    'build_dataloader': 'a data loader',
    'build_optim_wrapper': 'optim_wrapper',
    'build_param_scheduler': 'param_scheduler',
}
#: What runs between the building of everything and the first step.
BEFORE_FIRST_STEP = (
    'before_run',
    'before_train',
    'before_test',
    '_init_model_weights',
    'load_or_resume',
)
#: MMEngine prints whole configs into some of its messages.
MAX_LENGTH = 600


class StartError(ValueError):
    """What kept a run from its first step, in words for the user."""


class Built(NamedTuple):
    """What was being built when an error came up."""

    #: The entry of the config.
    cfg: Mapping[str, Any]
    #: What its `type` names: None if nothing is registered under that name.
    cls: Any
    #: Where MMEngine looked it up.
    registry: Any


@contextmanager
def building_errors(cfg: Config) -> Iterator[None]:
    """Turn errors in a block of code that builds what a config describes into one clear message.

    The whole traceback goes to the log file of the run, if there is one already.

    Raises:
        ValueError: Something could not be built; says where in the config, and what to do.
    """
    try:
        yield
    except ValueError as error:
        where = _place(cfg, _builds(_frames(error)))
        text = _short(str(error))
        raise ValueError(f'{where}: {text}' if where else text) from error
    except MISTAKES as error:
        frames = _frames(error)
        if isinstance(error, RuntimeError) and not _builds(frames):
            raise  # no mistake in the config, such as a GPU that is gone
        raise ValueError(f'{explain(error, cfg)}{_log_traceback()}') from error


@contextmanager
def starting_errors(cfg: Config) -> Iterator[None]:
    """Turn errors before the first step of a run into messages, and leave all later ones alone.

    Those are what hooks object to, and what the weights of `init_cfg` cannot be made from.

    Raises:
        StartError: Something is wrong with the config; says where, and what to do.
    """
    try:
        yield
    except (ValueError, *MISTAKES) as error:
        frames = _frames(error)
        before = any(frame.f_code.co_name in BEFORE_FIRST_STEP for frame, _ in frames)
        # What is no ValueError and comes from no entry of the config is a bug, for a traceback.
        if not before or not (isinstance(error, ValueError) or _builds(frames)):
            raise
        try:
            with building_errors(cfg):
                raise
        except ValueError as explained:
            raise StartError(*explained.args) from error


def explain(error: BaseException, cfg: Config) -> str:
    """Say which entry of a config an error is about, what is wrong there, and what to do."""
    host = failed_host_import(error)
    if host:
        return host
    frames = _frames(error)
    builds = _builds(frames)
    last, line = frames[-1]
    where = _place(cfg, builds)
    cls = builds[-1].cls if builds else None
    direct = _built_directly(frames)
    text = str(error.args[0]) if error.args else ''
    if direct is not None:
        where, cls = _direct_place(cfg, direct), _class_in(direct, text)
    where = where or 'The config'
    optimizer = _unregistered_optimizer(frames)
    if optimizer:
        return f'optim_wrapper.optimizer: {unregistered(optimizer, OPTIMIZERS, cfg)}'
    if isinstance(error, KeyError) and last.f_code.co_name == 'build_from_cfg':
        return _wrong_type(where, builds[-1], cfg)
    if isinstance(error, KeyError) and last.f_globals.get('__name__') == 'mmengine.config.config':
        return f'{where} lacks the entry `{error.args[0]}`, which is needed: add it.'
    called_wrongly = _wrong_call(where, text, cls) if isinstance(error, TypeError) else ''
    if called_wrongly:
        return called_wrongly
    what = _short(text)
    code = _statement(last.f_code.co_filename, line)
    return (
        f'{where} cannot be built: {type(error).__name__}{": " if what else ""}{what} '
        f'({last.f_code.co_filename}, line {line}: {code}).'
    )


def _frames(error: BaseException) -> list[tuple[FrameType, int]]:
    return list(traceback.walk_tb(error.__traceback__))


def _builds(frames: list[tuple[FrameType, int]]) -> list[Built]:
    """What MMEngine's registries were building, from the outermost to the innermost."""
    return [_built(frame) for frame, _ in frames if frame.f_code.co_name == 'build_from_cfg']


def _built(frame: FrameType) -> Built:
    values = frame.f_locals
    cfg, defaults = values.get('cfg') or {}, values.get('default_args') or {}
    whole = {**defaults, **cfg} if isinstance(cfg, Mapping) else {}
    return Built(whole, values.get('obj_cls'), values.get('registry'))


def _built_directly(frames: list[tuple[FrameType, int]]) -> FrameType | None:
    """The method of MMEngine that was building without a registry, if it was one at last."""
    for frame, _ in reversed(frames):
        if frame.f_code.co_name == 'build_from_cfg':
            return None
        if frame.f_code.co_name in UNREGISTERED:
            return frame
    return None


def _direct_place(cfg: Config, frame: FrameType) -> str:
    place = UNREGISTERED[frame.f_code.co_name]
    loader = frame.f_locals.get('dataloader')
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if frame.f_code.co_name == 'build_dataloader' and _equal(cfg.get(name), loader):
            return name
    return place


def _class_in(frame: FrameType, text: str) -> Any:
    """The class that a message about `NAME.__init__()` names, if it is known in a frame."""
    name = re.match(r'(\w+)\.__init__\(\)', text)
    return frame.f_globals.get(name[1]) if name else None


def _unregistered_optimizer(frames: list[tuple[FrameType, int]]) -> str | None:
    """The name of an optimizer that is not registered: its constructor asks what it takes first."""
    for frame, _ in reversed(frames):
        wanted = frame.f_locals.get('optimizer_cfg')
        kind = wanted.get('type') if isinstance(wanted, Mapping) else None
        if isinstance(kind, str) and OPTIMIZERS.get(kind) is None:
            return kind
    return None


def _statement(file: str, line: int) -> str:
    """The statement that begins in a line, a few lines long at most."""
    text = linecache.getline(file, line).strip()
    for more in range(1, 6):
        if text.count('(') <= text.count(')'):
            break
        text += f' {linecache.getline(file, line + more).strip()}'
    return text


def _short(text: str) -> str:
    return text if len(text) <= MAX_LENGTH else f'{text[:MAX_LENGTH]} ...'


def _wrong_type(where: str, built: Built, cfg: Config) -> str:
    kind = built.cfg.get('type')
    if kind is None:
        where, only = where.removesuffix(' (?)'), ', '.join(built.cfg) or 'nothing'
        return f'{where} must have a `type`, which names what to build, but has only {only}.'
    return f'{where}: {unregistered(kind, built.registry, cfg)}'


def _wrong_call(where: str, text: str, cls: Any) -> str:
    """The message about an argument that a constructor does not know or lacks; or ''."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", text)
    if unknown:
        known = list(constructor_parameters(cls))
        takes = f' It takes {", ".join(known)}.' if known else ''
        hint = did_you_mean(unknown[1], known)
        return f'{where} has no argument `{unknown[1]}`{hint}: correct or remove it.{takes}'
    missing = re.search(r'missing \d+ required [\w-]+ arguments?: (.+)', text)
    if missing:
        names = re.findall(r"'(\w+)'", missing[1])
        listed = ', '.join(f'`{name}`' for name in names)
        return f'{where} needs {listed}, which the config does not give: add {listed} there.'
    return ''


def _place(cfg: Config, builds: list[Built]) -> str:
    """Where in the config the innermost thing that was being built stands, and what it is."""
    for built in reversed(builds):
        places = _alike(cfg, built.cfg) if built.cfg else ''
        if places:
            name, innermost = type_name(built.cfg), type_name(builds[-1].cfg)
            inside = '' if built is builds[-1] or innermost == '?' else f', in it {innermost}'
            return f'{places} ({name}{inside})'
    return type_name(builds[-1].cfg) if builds else ''


def _alike(cfg: Config, built: Mapping[str, Any]) -> str:
    """The path of the entry of a config that has most in common with what was being built."""
    candidates = []
    for path, node in nested_dicts(dict(cfg.items())):
        if path and node.get('type') == built.get('type'):
            agreeing = sum(key in built and _equal(built[key], node[key]) for key in node)
            candidates.append((agreeing - len(node), path))
    best = max((score for score, _ in candidates), default=0)
    paths = [path for score, path in candidates if score == best]
    return ' or '.join(paths[:2])


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # such as tensors
        return False


def _log_traceback() -> str:
    """Write the traceback of the error that is being handled to the run's log file; name the file.

    Only there: on the screen it would bury the message.
    """
    logger = MMLogger.get_current_instance()
    files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    for handler in files:
        record = logger.makeRecord(
            logger.name, logging.ERROR, '', 0, traceback.format_exc(), (), None
        )
        handler.emit(record)
    return f' The whole traceback is in {files[0].baseFilename}.' if files else ''
