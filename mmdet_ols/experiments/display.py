"""Showing how far many trainings have come: live in a terminal, as plain lines elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from mmdet_ols.experiments.tables import duration
from mmdet_ols.results.run_folder import Run

#: Width of what is printed where no terminal limits it.
WIDTH_OF_LOGS = 160


def make_console() -> Console:
    """A console as wide as the terminal, or wide enough for tables where there is none.

    It prints brackets as they are: names and messages hold them.
    """
    terminal = Console(markup=False)
    return terminal if terminal.is_terminal else Console(width=WIDTH_OF_LOGS, markup=False)


class ShownRuns(Protocol):
    """The runs of an experiment as a display needs them."""

    @property
    def folders(self) -> list[Path]:
        """What each run is known by."""

    def label(self, folder: Path) -> str:
        """A run's name for people."""

    def read(self, folder: Path) -> Run:
        """How far it is."""

    def newest(self, run: Run) -> str:
        """The newest value of its main metric, as text."""


class RunDisplay:
    """Shows what runs, at which epoch, with which metric, and how long all will take.

    Args:
        experiment: Whose runs to show.
        jobs: How many run at once, if there is room for them.
    """

    def __init__(self, experiment: ShownRuns, jobs: int) -> None:
        self.experiment, self.jobs = experiment, jobs
        self.console = make_console()
        self.live = self.console.is_terminal
        self.runs = {folder: experiment.read(folder) for folder in experiment.folders}
        #: The runs that were not finished at the start.
        self.open = [folder for folder, run in self.runs.items() if not run.final]
        self._still_open = set(self.open)
        self._begun: dict[Path, tuple[float, float]] = {}  # when, and epochs done by then
        self._most_at_once = 0  # a cluster may have room for fewer than `jobs`
        self._bars: dict[Path, TaskID] = {}
        self._progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            TextColumn('{task.fields[text]}'),
            console=self.console,
            disable=not self.live,
        )
        self._overall = self._progress.add_task(
            'all runs', total=sum(run.length for run in self.runs.values()), text=''
        )

    def __enter__(self) -> RunDisplay:
        kept = len(self.runs) - len(self.open)
        if kept:
            self.say(f'{kept} of {len(self.runs)} runs are finished and kept')
        self._progress.start()
        self._update()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def report(self, event: str, folder: Path, text: str) -> None:
        """Show an event that an executor reports."""
        before, run = self.runs[folder], self.experiment.read(folder)
        self.runs[folder] = run
        label, newest = self.experiment.label(folder), self.experiment.newest(run)
        if event == 'started':
            self._begun[folder] = (time.monotonic(), run.done)
            self._most_at_once = max(self._most_at_once, len(self._begun))
            self._still_open.add(folder)
            if folder not in self._bars:
                self._bars[folder] = self._progress.add_task(label, total=run.length, text='')
            self.say(f'{label} started: {text}' if text and not self.live else f'{label} started')
        elif event == 'running':
            if len(run.validations) > len(before.validations) and not self.live:
                at = f'{int(run.done)} of {run.length}'
                self.say(f'{label} at {at}, {newest}, {self._time_left()}')
        else:
            self._still_open.discard(folder)
            self._begun.pop(folder, None)
            if folder in self._bars:
                self._progress.remove_task(self._bars.pop(folder))
            if event == 'finished':
                text = f'{newest} in {duration(run.seconds)}, {self._time_left()}'
            self.say(f'{label} {event}: {text}')
        self._update()

    def say(self, text: str) -> None:
        """Print a line with the time of day."""
        # In one line, since logs are searched line by line.
        line = f'{time.strftime("%H:%M:%S")} {text}'
        self.console.print(line, highlight=False, soft_wrap=True)

    def warn(self, text: object) -> None:
        """Print a warning; nothing where `text` is empty."""
        if text:
            self.console.print(f'warning: {text}', soft_wrap=True)

    def is_finished(self, folder: Path) -> bool:
        """Whether the result of a run is there now."""
        return bool(self.experiment.read(folder).final)

    def _update(self) -> None:
        for folder, bar in self._bars.items():
            run = self.runs[folder]
            text = f'{run.done:.1f} of {run.length}  {self.experiment.newest(run)}'
            self._progress.update(bar, completed=run.done, text=text)
        over = len(self.runs) - len(self._still_open)
        self._progress.update(
            self._overall,
            completed=sum(self._done(folder) for folder in self.runs),
            text=f'{over} of {len(self.runs)} runs  {self._time_left()}',
        )

    def _done(self, folder: Path) -> float:
        run = self.runs[folder]
        return run.done if folder in self._still_open else run.length

    def _time_left(self) -> str:
        """Estimate from the pace of what is running, or of what ran before until that is known."""
        seconds = epochs = 0.0
        for folder, (begun, done) in self._begun.items():
            if self.runs[folder].done > done:
                seconds += time.monotonic() - begun
                epochs += self.runs[folder].done - done
        if not epochs:
            known = [run for run in self.runs.values() if run.done and run.seconds]
            seconds, epochs = sum(r.seconds for r in known), sum(r.done for r in known)
        if not epochs:
            return 'time left not known yet'
        left = [self.runs[folder].length - self._done(folder) for folder in self._still_open]
        # The last run cannot be shared among jobs.
        at_once = min(self.jobs, self._most_at_once or self.jobs)
        longest = max(sum(left) / at_once, max(left, default=0))
        return f'{duration(longest * seconds / epochs)} left'
