"""The library of the fused step is made once, kept, and made again when it has to be."""

from __future__ import annotations

import multiprocessing
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_core.test_fused.steps import (
    assert_equals_plain,
    batch,
    make_state,
)

from mmdet_ols.core import (
    CannotCompileError,
    compiled_library,
)
from mmdet_ols.core.fused import library as library_module


@pytest.fixture(scope='module')
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp('library') / 'library.so'
    library_module._compile(path)
    return path


@pytest.fixture
def building(library, monkeypatch, tmp_path):
    """An empty cache, and a quick compiler: it copies the library that was made before.

    Gives a function that writes another compiler and names it in CXX.
    """
    log = tmp_path / 'log'

    def use(commands):
        script = tmp_path / 'compiler'
        script.write_text(
            f'#!/bin/sh\necho run >> "{log}"\n'
            f'while [ "$1" != -o ]; do shift; done\nlibrary="{library}"\n{commands}\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv('CXX', str(script))
        return script

    use.runs = lambda: len(log.read_text().split()) if log.exists() else 0
    use.cache = tmp_path / 'cache' / 'mmdet_ols'
    use('cp "$library" "$2"')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.delenv('MMDET_OLS_CACHE', raising=False)
    compiled_library.cache_clear()
    yield use
    compiled_library.cache_clear()


def assert_works():
    logits, label = batch(20)
    assert_equals_plain(logits, label, None, 1.0, 0.3, make_state(20))


def test_library_is_made_once_and_kept_for_later_processes(building, monkeypatch):
    assert_works()
    assert_works()
    assert building.runs() == 1
    (kept,) = building.cache.iterdir()  # and nothing unfinished
    assert kept.suffix == '.so'
    compiled_library.cache_clear()  # as a new process
    monkeypatch.delenv('CXX')
    monkeypatch.setenv('PATH', '')
    assert_works()
    assert building.runs() == 1


@pytest.mark.parametrize(
    ('name', 'value'),
    [('FLAGS', (*library_module.FLAGS, '-DNDEBUG')), ('_processor', lambda: 'another one')],
)
def test_library_is_made_anew_for_another_machine_or_other_flags(
    name, value, building, monkeypatch
):
    compiled_library()
    compiled_library.cache_clear()
    monkeypatch.setattr(library_module, name, value)
    compiled_library()
    assert building.runs() == 2
    assert len(list(building.cache.iterdir())) == 2


def test_library_is_made_anew_when_its_source_changes(building, monkeypatch, tmp_path):
    compiled_library()
    compiled_library.cache_clear()
    changed = tmp_path / 'changed.cpp'
    changed.write_text(library_module.SOURCE.read_text() + '// more\n')
    monkeypatch.setattr(library_module, 'SOURCE', changed)
    compiled_library()
    assert building.runs() == 2


def test_no_compiler(building, monkeypatch):
    monkeypatch.delenv('CXX')
    monkeypatch.setenv('PATH', '')
    with pytest.raises(CannotCompileError, match=r'No C\+\+ compiler .* install .*g\+\+.* CXX'):
        compiled_library()


def test_compiler_that_does_not_exist(building, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler -m64')
    with pytest.raises(CannotCompileError, match="could not be made .*'no-such-compiler'"):
        compiled_library()


def test_compiler_that_fails(building):
    building('echo "error: what is -O3?" >&2; exit 1')
    with pytest.raises(
        CannotCompileError, match=r'compiler .* failed.* CXX.*:\nerror: what is -O3\?'
    ):
        compiled_library()
    building('cp "$library" "$2"')  # mended
    assert_works()


@pytest.mark.parametrize('content', ['not a library', ''], ids=['text', 'nothing'])
def test_library_that_does_not_load(content, building):
    """As one that was made for a newer C++ runtime, or lies where nothing may be executed."""
    building(f'printf "{content}" > "$2"')
    with pytest.raises(CannotCompileError):
        compiled_library()
    assert building.runs() == 1
    building('cp "$library" "$2"')  # mended: what lies in the cache is replaced
    for _ in range(2):
        compiled_library.cache_clear()
        assert_works()
    assert building.runs() == 2


def test_cache_that_cannot_be_written(building, monkeypatch, tmp_path):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    assert_works()
    assert building.runs() == 1


def test_user_without_a_home(building, monkeypatch, tmp_path):
    def no_home():
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setattr('pathlib.Path.home', no_home)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    assert_works()


def test_two_processes_build_at_once(building):
    building('printf half > "$2"; sleep 0.3; cp "$library" "$2"; sleep 0.3')
    fork = multiprocessing.get_context('fork')  # a new process would import torch for seconds
    processes = [fork.Process(target=compiled_library) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [path.suffix for path in building.cache.iterdir()] == ['.so']
    assert_works()


def test_two_threads_build_at_once(building):
    """Nor do two containers meet that share a home, and may have processes of one number."""
    building('cp "$library" "$2"; sleep 0.3')
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(compiled_library) for _ in range(2)]:
            future.result()
    assert_works()
