"""What executes many runs: this machine, or a cluster.

An executor knows folders and commands only. Another engine is one more file with a class like
`LocalExecutor`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

#: Called with 'started', 'running' (again and again), 'finished' or 'failed', the folder, and the
#: command or what went wrong.
Report = Callable[[str, Path, str], None]


class Task(Protocol):
    """A run as an executor sees it."""

    @property
    def folder(self) -> Path:
        """Where it goes, and what it is known by; made if absent."""

    def next_command(self) -> list[str] | None:
        """Give the command that the run needs next, or None once it is finished.

        The same command twice in a row means that it did not do its work the first time.

        Raises:
            ValueError: It cannot go on; the message says why.
            WaitsForAnotherRun: Its turn has to come later.
        """


class Executor(Protocol):
    """Executes tasks until each is finished or has failed."""

    def run(self, tasks: Sequence[Task], report: Report) -> dict[Path, str]:
        """Run the commands of every task, one after the other.

        Args:
            tasks: In the order in which to start them.
            report: Told of everything that happens.

        Returns:
            What went wrong, by folder. One failed run does not stop the others.
        """


class WaitsForAnotherRun(Exception):  # noqa: N818  (no error: its turn comes later)
    """Says that a run cannot start before another one has got further, and which that is."""


class ExecutorError(Exception):
    """Says what keeps an executor from working, and what to do about it."""


def silent(event: str, folder: Path, text: str) -> None:
    """Ignore an event."""
