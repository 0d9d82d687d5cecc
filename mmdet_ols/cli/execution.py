"""What the tools that start many runs do alike: run them or watch, record them, and end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from mmdet_ols.cli.executor_options import executor_from
from mmdet_ols.cli.options import command_line, user_errors
from mmdet_ols.experiments.display import RunDisplay
from mmdet_ols.experiments.executors import Executor, ExecutorError, Report, Task
from mmdet_ols.experiments.executors.local import terminating_is_interrupting
from mmdet_ols.experiments.experiment import Experiment
from mmdet_ols.experiments.provenance import facts
from mmdet_ols.experiments.starter import starting, watch
from mmdet_ols.experiments.states import LOG


class Outcome(NamedTuple):
    """What came of runs.

    Attributes:
        failed: What went wrong, by folder.
        left: How many runs were left unfinished by the process that was watched.
    """

    failed: Mapping[Path, str]
    left: int = 0


@contextmanager
def ending_on_interrupt() -> Iterator[None]:
    """End with a message on Ctrl-C, on `kill` and when the terminal is closed."""
    try:
        with terminating_is_interrupting():
            yield
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or 'Interrupted. The same command goes on.', file=sys.stderr)
        sys.exit(130)


def recording(
    args: argparse.Namespace,
    display: RunDisplay,
    experiment_of: Callable[[Path], Experiment],
    write: Callable[[Path], None],
    variables: Mapping[str, str],
) -> Report:
    """Make a report that shows events, and keeps what is known of each run as soon as it is.

    Args:
        args: Of a parser with `add_executor_options`.
        display: Shows the events.
        experiment_of: Gives the comparison that the run of a folder belongs to.
        write: Called with the folder of each finished run, to write the results so far.
        variables: The environment variables that the configs read.
    """

    def keep(event: str, folder: Path, text: str) -> None:
        if event == 'started' and args.executor == 'local':
            made = facts(command_line(), args.jobs, variables)
            experiment_of(folder).record(folder, made)
        elif event == 'finished':  # so that nothing is lost
            display.warn(experiment_of(folder).keep(folder))
            write(folder)

    def report(event: str, folder: Path, text: str) -> None:
        for listener in (display.report, keep):
            try:
                listener(event, folder, text)
            except (OSError, ValueError) as error:  # a full disk, a stale file handle, broken rows
                display.warn(error)  # the other runs need not stop

    return report


def run_or_watch(
    args: argparse.Namespace,
    work_dir: Path,
    tasks: Sequence[Task],
    display: RunDisplay,
    report: Report,
    variables: Mapping[str, str],
    finish: Callable[[Executor], Mapping[Path, str]] | None = None,
) -> Outcome:
    """Run tasks, or watch the process that already runs those of this folder.

    Args:
        args: Of a parser with `add_executor_options`.
        work_dir: The folder of all runs.
        tasks: The runs that are not finished.
        display: Shows what happens.
        report: Told of what happens to the runs that are started here.
        variables: The environment variables that the configs read.
        finish: Executes what is left to do when the tasks are over, and returns what went wrong.
    """
    with ExitStack() as stack:
        with user_errors((OSError,)):  # nothing can be written into the folder
            other = stack.enter_context(starting(work_dir, command_line()))
        stack.enter_context(display)
        if other is None:
            made = facts(command_line(), args.jobs, variables)
            executor = executor_from(args, work_dir, made, display.say)
            with user_errors((ExecutorError,)):
                failed = executor.run(tasks, report)
                return Outcome({**failed, **(finish(executor) if finish else {})})
        display.say(f'Only watching: these runs were started by {other}')
        try:
            failed = watch(tasks, display.is_finished, display.report, work_dir)
        except KeyboardInterrupt:
            raise KeyboardInterrupt('Stopped watching. The runs go on.') from None
        open_runs = (task for task in tasks if not display.is_finished(task.folder))
        return Outcome(failed, sum(task.folder not in failed for task in open_runs))


def end_unless_finished(outcome: Outcome, total: int) -> None:
    """End with an error where runs failed, or where the process that was watched left some over.

    Args:
        outcome: What came of the runs.
        total: How many runs there are, including those that were finished before.
    """
    failed, left = outcome
    if failed:
        logs = ', '.join(str(folder / LOG) for folder in failed)
        sys.exit(f'error: {len(failed)} of {total} runs failed, see {logs}')
    if left:
        sys.exit(
            f'error: {left} of {total} runs are not finished, and the process that started runs '
            'here has ended. The same command goes on.'
        )
