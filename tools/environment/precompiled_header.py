"""A stand-in for g++ that compiles torch's headers once for all source files of a build.

Nearly all of the time that an extension's file takes goes into torch's headers. The first call that
compiles a C++ file therefore compiles them into a precompiled header, with that call's own flags,
and every call with the same flags starts from it. The rest goes to g++ as it came.

A build calls the script that `write_compiler` writes. It needs only the standard library.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

#: What nearly all files of a torch extension include.
HEADER = '#include <torch/types.h>\n'
#: g++'s name of the warning for a header that it has to leave aside. Its build says it too.
WARNING = '-Winvalid-pch'
#: Begins the line that says that the header itself did not compile.
FAILED = 'No precompiled header:'
SOURCES = ('.cpp', '.cc', '.cxx')
#: What differs from file to file and says nothing about the code: with a value, and without one.
FILE_OPTIONS = ('-o', '-MF', '-MT', '-MQ')
FILE_FLAGS = ('-c', '-MD', '-MMD', '-MP')


def is_gcc(compiler: list[str]) -> bool:
    """Return whether a compiler is g++, under whichever name, and not clang or another one."""
    result = subprocess.run(
        [*compiler, '-dM', '-E', '-x', 'c++', os.devnull], capture_output=True, text=True
    )
    return '__GNUC__' in result.stdout and '__clang__' not in result.stdout


def write_compiler(compiler: list[str], folder: Path) -> Path:
    """Write the program to be called in place of g++, and return its path.

    Args:
        compiler: The g++ that does the work, with options that every call gets.
        folder: An empty folder that exists as long as the build; headers are compiled into it.
    """
    # torch believes that a compiler of this name suits it.
    program = folder / 'g++'
    words = [sys.executable, '-S', str(Path(__file__).resolve()), str(folder), *compiler]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    return program


def main() -> None:
    """Run g++ with the arguments that the build gave, and with a precompiled header if it helps."""
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    if '-c' in arguments and any(word.endswith(SOURCES) for word in arguments):
        header = precompiled(folder, flags_of(arguments))
        if header:
            arguments[1:1] = ['-include', str(header), WARNING]
    os.execvp(arguments[0], arguments)


def flags_of(arguments: list[str]) -> list[str]:
    """Return the compiler and the flags that a precompiled header must have been made with.

    Args:
        arguments: A whole command that compiles one file.
    """
    flags = []
    words = iter(arguments)
    for word in words:
        if word in FILE_OPTIONS:
            next(words, None)
        elif word not in FILE_FLAGS and not word.endswith(SOURCES):
            flags.append(word)
    return flags


def precompiled(folder: Path, flags: list[str]) -> Path | None:
    """Return the header that was compiled with these flags; compile it if it is not there yet.

    `None` if it does not compile: the files are then compiled without one, which takes longer.
    """
    # Include paths may be relative to the working directory.
    key = hashlib.sha256('\0'.join([os.getcwd(), *flags]).encode()).hexdigest()[:12]
    header = folder / f'torch_types_{key}.h'
    with open(header.with_suffix('.lock'), 'w') as lock:
        # The other files of the build wait for the first one to compile the header.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not header.exists():
            header.write_text(HEADER)
            compiled = header.with_suffix('.h.gch')
            command = [*flags, '-x', 'c++-header', str(header), '-o', str(compiled)]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                compiled.unlink(missing_ok=True)
                # It ends up in the log of the set-up.
                print(f'{FAILED} {shlex.join(command)}\n{result.stderr}')
        return header if header.with_suffix('.h.gch').exists() else None


if __name__ == '__main__':
    main()
