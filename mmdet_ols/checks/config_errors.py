"""Errors in a config file, as the file, the line and the text that the user wrote."""

from __future__ import annotations

import linecache
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmdet_ols.checks.folders import listing
from mmdet_ols.host_imports import causes, failed_host_import

#: MMEngine's functions that read one config file each; their variable `filename` holds its name.
READERS = ('_file2dict', '_parse_lazy_import', 'fromfile')


@contextmanager
def config_errors(path: str | Path) -> Iterator[None]:
    """Turn errors while a config file is read into one message with file, line and text.

    Args:
        path: Of the config.

    Raises:
        FileNotFoundError: It, or a config that it is based on, does not exist.
        ValueError: It cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise _not_there(error, path) from error
    except SyntaxError as error:
        file = _file(error, path)
        text = (error.text or linecache.getline(file, error.lineno or 0)).strip()
        raise ValueError(
            f'{file}, line {error.lineno}, is not Python: {error.msg}: {text}'
        ) from error
    except UnicodeDecodeError as error:
        file = _file(error, path)
        raise ValueError(f'{file} must be saved as UTF-8, but it is not: {error}.') from error
    except Exception as error:  # whatever Python code in a config can raise
        raise ValueError(_message(error, path)) from error


def _message(error: Exception, path: str | Path) -> str:
    file = _file(error, path)
    host = failed_host_import(error)
    if host:
        return f'{file}: {host}'
    if isinstance(error, ImportError):
        *_, first = causes(error)
        return f'{file}: {_failed_import(first)}'
    what = f'{type(error).__name__}: {error.args[0] if error.args else error}'.rstrip('.')
    frames = list(traceback.walk_tb(error.__traceback__))
    line_of_config = _line_of(error)
    if line_of_config:
        return f'{line_of_config}: {what}.'
    if isinstance(error, KeyError) and any(
        frame.f_code.co_name == '_substitute_base_vars' for frame, _ in frames
    ):
        return f'{file}: `{{{{_base_...}}}}` names {what[10:]!r}, which no config in `_base_` has.'
    own = frames[-1][0].f_code.co_filename
    if 'mmengine' not in own:  # such as a module that the config imports
        what += f' ({own}, line {frames[-1][1]})'
    return f'{file} cannot be read: {what}.'


def _line_of(error: Exception) -> str:
    """The innermost line of a config that was running, or ''."""
    files = _files(error)
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        if file in files:
            return f'{file}, line {line}: {linecache.getline(file, line).strip()}'
    return ''


def _failed_import(error: BaseException) -> str:
    """Say what could not be imported, and why."""
    what = f'a module that it imports cannot be imported: {error}'
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    if isinstance(error, ImportError) and 'importlib' in frame.f_code.co_filename:
        return (
            f'{what}. If it is a module of your own, name its folder before the command: '
            'PYTHONPATH=FOLDER.'
        )
    return f'{what} ({frame.f_code.co_filename}, line {line}).'


def _not_there(error: FileNotFoundError, path: str | Path) -> FileNotFoundError:
    files = _files(error)
    missing = Path(os.path.normpath(error.filename or _file(error, path)))
    if missing.is_dir():
        return FileNotFoundError(
            f'{missing} is a folder: name a config file: {listing(missing, 20)}.'
        )
    if missing.exists() or str(missing) not in [*files, os.path.normpath(str(path))]:
        # Something that the config reads.
        return FileNotFoundError(f'{_line_of(error) or _file(error, path)}: {error}')
    based = [file for file in files if file != str(missing)]
    names = f' `_base_` of {based[-1]} names it.' if based else ''
    return FileNotFoundError(f'{missing} does not exist: {listing(missing, 20)}.{names}')


def _file(error: BaseException, path: str | Path) -> str:
    """The config file that was being read, the innermost one; that of the run by default."""
    return [str(path), *_files(error)][-1]


def _files(error: BaseException) -> list[str]:
    """The config files that were being read, from the outermost to the innermost."""
    files = [
        os.path.normpath(str(frame.f_locals.get('filename')))
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_name in READERS and 'config' in frame.f_code.co_filename
    ]
    return list(dict.fromkeys(files))
