"""One folder for everything that is kept, whichever part of the project keeps it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from mmdet_ols.core.cache import cache_folder

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ('environment', 'expected'),
    [
        (dict(HOME='/home/me'), '/home/me/.cache/mmdet_ols'),
        (dict(HOME='/home/me', XDG_CACHE_HOME='/large'), '/large/mmdet_ols'),
        (dict(HOME='/home/me', XDG_CACHE_HOME=''), '/home/me/.cache/mmdet_ols'),
        (dict(HOME='/home/me', XDG_CACHE_HOME='/large', MMDET_OLS_CACHE='/mine'), '/mine'),
    ],
)
def test_the_library_and_the_wheels_lie_in_one_folder(environment, expected, monkeypatch):
    for name in ('HOME', 'XDG_CACHE_HOME', 'MMDET_OLS_CACHE'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)
    set_up = runpy.run_path(str(ROOT / 'tools/environment/layout.py'), run_name='layout')
    assert set_up['CACHE'] == Path(expected)


def test_a_user_without_a_home_has_none(monkeypatch):
    def no_home():
        raise RuntimeError('Could not determine home directory.')

    for name in ('XDG_CACHE_HOME', 'MMDET_OLS_CACHE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, 'home', no_home)
    assert cache_folder() is None
