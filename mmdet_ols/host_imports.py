"""What keeps OpenMMLab's packages from being imported."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

#: The distributions that bring a host: OpenMMLab's own, and their continuation.
DISTRIBUTIONS = {
    'mmengine': ('mmengine', 'mmengine-lite', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-lite', 'mmcv-full', 'onedl-mmcv'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}
#: The packages that the extras of this one install.
HOSTS = tuple(DISTRIBUTIONS)
HOW_TO_INSTALL = (
    "pip install --no-build-isolation 'mmdet_ols[onedl]' (or 'mmdet_ols[openmmlab]'), as "
    'docs/environment.md describes'
)


def hosts_installed_twice() -> str | None:
    """Which host two distributions have written, and what to do; None where there is none.

    The files of one replace those of the other, and stay mixed if one of them is uninstalled.
    """
    for host, names in DISTRIBUTIONS.items():
        found = [name for name in names if _version(name)]
        if len(found) > 1:
            listed = ' and '.join(f'{name} {_version(name)}' for name in found)
            return (
                f'{listed} are both installed and write the same files, so that {host} may be a '
                f'mixture of them: pip uninstall {" ".join(found)}, then install one of them again.'
            )
    return None


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@contextmanager
def host_import_errors() -> Iterator[None]:
    """Say which host cannot be imported, and what to do, if that is what fails in this block.

    Raises:
        ImportError: A host cannot be imported.
    """
    try:
        yield
    except Exception as error:  # a host's modules may fail in any way
        explained = failed_host_import(error)
        if explained is None:
            raise
        raise ImportError(explained) from error


def failed_host_import(error: BaseException) -> str | None:
    """Which host could not be imported, why, and what to do; None if the error is another one.

    An error that was raised because a host could not be imported counts as well.
    """
    return next(filter(None, map(_failed_host_import, causes(error))), None)


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on to the first one.

    What was raised `from None` ends them, as it does in Python's tracebacks.
    """
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _failed_host_import(error: BaseException) -> str | None:
    frames = list(traceback.walk_tb(error.__traceback__))
    importing = (frame for frame, _ in frames if frame.f_code.co_name == '<module>')
    packages = [frame.f_globals.get('__name__', '').partition('.')[0] for frame in importing]
    hosts = [package for package in packages if package in (*HOSTS, 'mmyolo')]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing in HOSTS:
        return f'{missing} is needed here, but it is not installed: {HOW_TO_INSTALL}.'
    if not hosts:
        return None
    host = hosts[-1]  # which another may import
    frame, line = frames[-1]
    return (
        f'{host} cannot be imported: {type(error).__name__}: {error} ({frame.f_code.co_filename}, '
        f'line {line}).{_remedy(host, str(error))}'
    )


def _remedy(host: str, error: str) -> str:
    if 'libGL' in error:
        return (
            ' OpenCV wants a graphics library that this machine lacks, but works without one: '
            'pip uninstall opencv-python, then pip install --force-reinstall '
            'opencv-python-headless.'
        )
    if host == 'mmcv' and '_ext' in error:
        return (
            ' This mmcv comes without its compiled operators, or with those for another torch. To '
            'compile them for the torch that is installed: pip install --force-reinstall --no-deps '
            '--no-cache-dir --no-build-isolation onedl-mmcv (or mmcv), as docs/environment.md '
            'describes.'
        )
    if host == 'mmyolo' and 'MMCV==' in error:
        return (
            ' MMYOLO 0.6.0, its last release, works with later releases of mmcv as well: raise '
            'mmcv_maximum_version in that file.'
        )
    if host == 'mmpretrain':
        installed = _version('transformers')
        # MMPretrain 1.2 and 1.3 use functions that are gone since.
        if installed and int(installed.partition('.')[0]) >= 5:
            return (
                f' It does not work with transformers {installed}, which is installed: pip install '
                "'transformers<5', or pip uninstall transformers, which only its models of images "
                'and text need.'
            )
    return ''
