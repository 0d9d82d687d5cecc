"""Running the commands of a set-up."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path


def run(
    *command: str, log: Path, shows: str = '$^', env: dict[str, str] | None = None, remedy: str = ''
) -> None:
    """Run a command, log what it prints, and show its progress.

    Args:
        command: The program and its arguments.
        log: The file that its output is added to.
        shows: A regular expression for the part of its output that tells the progress.
        env: The environment of the command.
        remedy: What may help where it fails.
    """
    start = shown = time.monotonic()
    line_end = ''
    process = subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
        close_fds=False,  # the child holds main's lock too
    )
    with log.open('a') as file, process:
        file.write(f'$ {shlex.join(command)}\n')
        for line in process.stdout or ():
            file.write(line)
            match = re.search(shows, line)
            now = time.monotonic()
            # In a terminal one line that changes, elsewhere a new line now and then.
            if match and (sys.stdout.isatty() or now - shown > 15):
                shown = now
                minutes, seconds = divmod(int(now - start), 60)
                text = f'      {minutes}:{seconds:02d} {match[0]}'
                if sys.stdout.isatty():
                    width = shutil.get_terminal_size().columns
                    print(f'\r{text[: width - 1]}\033[K', end='', flush=True)
                    line_end = '\n'
                else:
                    print(text, flush=True)
    print(end=line_end, flush=True)
    if process.returncode:
        tail = log.read_text().splitlines()[-30:]
        sys.exit(
            '\n'.join(tail)
            + f'\nerror: {shlex.join(command[:5])} ... failed; its whole output is in {log}.'
            f' Remedy: see above, then run the same command again; it continues from here. {remedy}'
        )
