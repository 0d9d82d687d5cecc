"""The stand-in for g++ compiles what g++ compiles, from headers that were compiled once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
sys.path.insert(0, str(TOOLS))
from environment import precompiled_header  # noqa: E402
from environment.precompiled_header import flags_of, is_gcc, write_compiler  # noqa: E402

needs_gcc = pytest.mark.skipif(not shutil.which('g++') or not is_gcc(['g++']), reason='needs g++')


@pytest.fixture
def build(tmp_path):
    """Compile a source file with the stand-in; `torch/types.h` is a small one."""
    header = tmp_path / 'include' / 'torch' / 'types.h'
    header.parent.mkdir(parents=True)
    header.write_text('inline int seven() { return SEVEN; }\n')
    folder = tmp_path / 'compiler'
    folder.mkdir()
    compiler = write_compiler(['g++', '-O1'], folder)

    def compile_(name: str, *flags: str) -> subprocess.CompletedProcess:
        source = tmp_path / name
        source.write_text('int main() { return seven() - 7; }\n')
        include = ('-I', str(header.parents[1]))
        command = [compiler, '-MMD', '-MF', f'{source}.d', *include, *flags]
        command += ['-c', '-c', str(source), '-o', f'{source}.o']
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    compile_.folder, compile_.program, compile_.header = folder, compiler, header
    return compile_


@needs_gcc
def test_files_with_the_same_flags_share_a_header_that_fits(build, tmp_path):
    for name in ('one.cpp', 'two.cpp'):
        result = build(name, '-DSEVEN=7')
        assert (result.returncode, result.stdout, result.stderr) == (0, '', '')
    assert len(list(build.folder.glob('*.gch'))) == 1
    # It was read: the files themselves do not include it, and the original is broken now.
    build.header.write_text('broken')
    assert build('three.cpp', '-DSEVEN=7').returncode == 0
    program = tmp_path / 'program'
    subprocess.run([build.program, tmp_path / 'one.cpp.o', '-o', program], check=True)
    assert subprocess.run([program]).returncode == 0


@needs_gcc
def test_other_flags_get_a_header_of_their_own(build, tmp_path):
    for name, flag in (('seven.cpp', '-DSEVEN=7'), ('six.cpp', '-DSEVEN=6')):
        assert build(name, flag).returncode == 0
        subprocess.run([build.program, tmp_path / f'{name}.o', '-o', tmp_path / name[:-4]])
    assert len(list(build.folder.glob('*.gch'))) == 2
    assert subprocess.run([tmp_path / 'seven']).returncode == 0
    assert subprocess.run([tmp_path / 'six']).returncode != 0


@needs_gcc
def test_a_header_that_does_not_compile_is_said_and_left_out(build):
    build.header.write_text('#error not for this compiler\n')
    result = build('one.cpp')
    assert precompiled_header.FAILED in result.stdout
    assert 'not for this compiler' in result.stdout
    assert 'was not declared' in result.stderr  # g++ itself was called, without the header
    assert not list(build.folder.glob('*.gch'))


@needs_gcc
def test_a_header_that_does_not_fit_is_said(build):
    assert build('one.cpp', '-DSEVEN=7').returncode == 0
    (compiled,) = build.folder.glob('*.gch')
    compiled.write_bytes(b'gpch of another compiler')
    result = build('two.cpp', '-DSEVEN=7')
    assert f'[{precompiled_header.WARNING}]' in result.stderr


@needs_gcc
def test_everything_but_compiling_goes_to_the_compiler_as_it_is(build):
    plain = subprocess.run(['g++', '-dumpfullversion'], capture_output=True, text=True)
    ours = subprocess.run([build.program, '-dumpfullversion'], capture_output=True, text=True)
    assert ours.stdout == plain.stdout
    assert not list(build.folder.glob('*.h'))


def test_flags_leave_out_what_belongs_to_one_file():
    command = [
        'g++',
        '-MMD',
        '-MF',
        'a.o.d',
        '-O2',
        '-I/x',
        '-c',
        '-c',
        '/src/a.cpp',
        '-o',
        '/out/a.o',
        '-std=c++17',
    ]
    assert flags_of(command) == ['g++', '-O2', '-I/x', '-std=c++17']


@pytest.mark.skipif(not shutil.which('clang++'), reason='needs clang++')
def test_clang_is_told_from_gcc():
    assert not is_gcc(['clang++'])


def test_a_compiler_that_does_not_say_what_it_is_counts_as_another(tmp_path):
    compiler = tmp_path / 'c++'
    compiler.write_text('#!/bin/sh\nexit 1\n')
    compiler.chmod(0o755)
    assert not is_gcc([str(compiler)])
