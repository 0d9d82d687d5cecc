"""Paths that cannot be used, and what lies where something was expected."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote

from mmdet_ols.checks.problems import listed


def check_path(name: str, path: str | Path | None) -> None:
    """Refuse a path that cannot be used whatever lies there.

    Raises:
        ValueError: It is empty, begins a variable of a config, or is not UTF-8, as configs are.
    """
    if path is None:
        return
    if not str(path):  # such as a variable of the shell that is not set
        raise ValueError(f"{name} must be a path, but got '': name one, or leave the option out.")
    if name != 'CONFIG' and '{{' in str(path):
        raise ValueError(
            f"{name} must not contain '{{{{', which configs read as the start of a variable, but "
            f'got {str(path)!r}: name the folder through a link.'
        )
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors='replace')
        raise ValueError(
            f'{name} must be a path in UTF-8, but got {shown!r}: rename the folder or file, or '
            'name it through a link.'
        ) from error


def listing(path: Path, at_most: int = 8) -> str:
    """List what lies in a folder, or in the nearest one above a path that does not exist."""
    folder = nearest_folder(path)
    names = sorted(f'{item.name}/' if item.is_dir() else item.name for item in folder.iterdir())
    return f'{folder} holds {listed(names, at_most) or "nothing"}'


def nearest_folder(path: Path) -> Path:
    """The path itself if it is a folder, or the nearest one above that is."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def remedy_of_missing(path: str) -> str:
    """Say what to do about a file that is not there, by what lies where it could be meant."""
    if os.path.islink(path):
        return (
            f'It is a link to {os.readlink(path)}, which is not there: fetch what it links to, as '
            "with 'git annex get' or 'dvc pull'."
        )
    plain = path.replace('\\', '/')
    if plain != path and (Path(plain).is_file() or Path(_once(plain)).is_file()):
        return 'The names in the annotations have backslashes, as in Windows: write / there.'
    if Path(unquote(path)).is_file():
        return f'The names in the annotations are encoded: write {Path(unquote(path)).name} there.'
    if Path(_once(plain)).is_file():
        return (
            f'{_once(plain)} is there: the names in the annotations begin with a folder that '
            '`data_prefix` of the data set adds once more. Leave it out there.'
        )
    file = Path(path)
    for other in os.listdir(file.parent) if file.parent.is_dir() else ():
        if other.casefold() == file.name.casefold():
            return f'{other} is there: correct the capital letters of one of the names.'
        if normalize('NFC', other).casefold() == normalize('NFC', file.name).casefold():
            return (
                f'{ascii(other)} is there, and {ascii(file.name)} is asked for, which are two '
                "Unicode forms of one name: write the file's name in the annotations, or rename it."
            )
    folder = nearest_folder(Path(plain))
    if folder != Path(plain).parent and (folder / Path(plain).name).is_file():
        return (
            f'{folder / Path(plain).name} is there: leave out the folders that the names in the '
            'annotations begin with.'
        )
    return f'Correct the paths, or put the images there: {listing(file)}.'


def _once(path: str) -> str:
    """A path in which no run of folders is repeated, as in data/images/images/a.jpg."""
    *folders, name = path.split('/')
    for end in range(len(folders), 1, -1):
        for length in range(1, end // 2 + 1):
            start = end - length
            if folders[start:end] == folders[start - length : start]:
                return '/'.join([*folders[:start], *folders[end:], name])
    return path


def dataset_paths(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """What a data set's config calls `data_root`, `ann_file` and its prefixes."""
    prefix = dataset.get('data_prefix') or {}
    prefixes = {'data_prefix': prefix} if isinstance(prefix, str) else dict(prefix)
    return {
        'data_root': dataset.get('data_root') or '',
        'ann_file': dataset.get('ann_file') or '',
        **prefixes,
    }


def is_local(dataset: Mapping[str, Any]) -> bool:
    """Whether plain file paths are all that a data set needs; MMEngine's backends know others."""
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    return backend in ('local', 'disk') and all(
        isinstance(path, str) and '://' not in path for path in dataset_paths(dataset).values()
    )
