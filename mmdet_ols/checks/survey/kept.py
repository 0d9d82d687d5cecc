"""Keeping surveys, so that the next start with the same data is instant."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from mmdet_ols.checks.survey.loaded import Decoding
from mmdet_ols.checks.survey.records import (
    DatasetSurvey,
    FileContents,
    LeftOut,
    Loaded,
    SplitSurvey,
    category_number,
)
from mmdet_ols.config_tree import registered_class
from mmdet_ols.core.cache import cache_folder
from mmdet_ols.core.whole_files import whole_file
from mmdet_ols.datasets.tree import walk_datasets
from mmdet_ols.version import __version__

#: So many surveys are kept.
MOST = 100


def read_kept(path: Path | None) -> SplitSurvey | None:
    """Return the survey of a data set from an earlier start, if its files are still the same.

    Args:
        path: As `kept_path` returns it.
    """
    try:
        if path is None or not path.is_file():
            return None
        kept = json.loads(path.read_text('utf-8'))
        if any(stamp != _stamp(source) for source, stamp in kept['sources'].items()):
            return None
        return _survey(kept['survey'])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # damaged, or of another version


def keep(path: Path | None, survey: SplitSurvey) -> None:
    """Keep a survey for the next start, if it is known which files it depends on.

    Args:
        path: As `kept_path` returns it.
        survey: What is known of the data set.
    """
    known = [(d.contents, d.loaded) for d in survey.datasets if d.contents and d.loaded]
    if path is None or len(known) < len(survey.datasets):
        return
    sources = {
        source: _stamp(source)
        for contents, loaded in known
        for source in (*contents.sources, *loaded.paths)
    }
    content = dict(sources=sources, survey=survey)
    with contextlib.suppress(OSError):  # such as a full disk
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            json.dump(content, file, default=vars)
        _forget_oldest(path.parent)


def kept_path(config: Any, decodings: Sequence[Decoding]) -> Path | None:
    """The file for a data set: another one wherever the code that reads the data is another.

    Args:
        config: As `plain_config` returns it.
        decodings: How the images of each of the innermost data sets are decoded.
    """
    folder = cache_folder()
    if folder is None:
        return None
    facts: list[Any] = [__version__, os.getcwd(), _plain(config), list(decodings)]
    facts += [_stamp(str(file)) for file in _own_files()]
    for node in walk_datasets(config):
        cls = registered_class(DATASETS, node)
        for base in getattr(cls, '__mro__', ())[:-1]:
            facts.append([base.__qualname__, _stamp(_file_of(base))])
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()
    return folder / 'surveys' / f'{digest}.json'


def _own_files() -> list[Path]:
    """The project's own code that a survey depends on."""
    package = Path(__file__).parents[2]
    return [
        *sorted(Path(__file__).parent.glob('*.py')),
        package / 'checks' / 'images.py',
        *sorted((package / 'datasets').glob('*.py')),
    ]


def _forget_oldest(folder: Path) -> None:
    files = sorted(folder.glob('*.json'), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[MOST:]:
        file.unlink(missing_ok=True)


def _plain(node: Any) -> Any:
    """The config as plain values, whose text is the same in every process."""
    if isinstance(node, dict):
        return {str(key): _plain(node[key]) for key in sorted(node, key=str)}
    if isinstance(node, (list, tuple)):
        return [_plain(item) for item in node]
    return getattr(node, '__qualname__', None) or repr(node)


def _file_of(cls: Any) -> str:
    try:
        return inspect.getfile(cls)
    except (TypeError, OSError):
        return ''


def _stamp(path: str) -> list[int] | None:
    """Size and time of change of a file or folder; None for what is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _survey(kept: dict[str, Any]) -> SplitSurvey:
    datasets = [
        DatasetSurvey(
            **{
                **entry,
                'contents': entry['contents'] and _contents(entry['contents']),
                'loaded': entry['loaded'] and _loaded(entry['loaded']),
            }
        )
        for entry in kept['datasets']
    ]
    loaded = kept['loaded'] and _loaded(kept['loaded'])
    return SplitSurvey(**{**kept, 'datasets': datasets, 'loaded': loaded})


def _contents(kept: dict[str, Any]) -> FileContents:
    contents = FileContents(**kept)
    contents.objects = Counter(contents.objects)
    contents.category_names = {
        category_number(number): name for number, name in contents.category_names.items()
    }
    for reasons in (contents.objects_left_out, contents.images_left_out):
        for reason, entry in reasons.items():
            reasons[reason] = LeftOut(**entry)  # type: ignore[arg-type]
    return contents


def _loaded(kept: dict[str, Any]) -> Loaded:
    loaded = Loaded(**kept)
    loaded.objects = Counter({int(label): count for label, count in loaded.objects.items()})
    return loaded
