"""Reading the folder of a training: how far it got, what it reached and how long it took."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from math import isnan
from operator import itemgetter
from pathlib import Path
from typing import Any

TIMESTAMP = '%Y%m%d_%H%M%S'
#: What MMEngine logs in addition to the metrics of a validation or a test.
NO_METRICS = ('data_time', 'time', 'step')
#: What OLSHook reports about its own loss, which other methods do not have.
OWN_GROUP = 'ols/'


@dataclass
class Run:
    """What a work directory says about its training.

    A resumed training has one folder for each start; they are read as one run.
    """

    folder: Path
    #: How many epochs (iterations in an iteration-based loop) the training is to have.
    length: int
    #: How many it has behind it; a running epoch counts in part.
    done: float = 0.0
    #: Metrics of the validations, by epoch or iteration.
    validations: dict[int, dict[str, float]] = field(default_factory=dict)
    #: What hooks measured outside the validations, such as the error on the training images.
    measured: dict[int, dict[str, float]] = field(default_factory=dict)
    #: Metrics of a separate test of the last checkpoint.
    tested: dict[str, float] | None = None
    #: Wall time of all starts together, including epochs that were lost and trained again.
    seconds: float = 0.0
    last_checkpoint: Path | None = None
    #: Whether only a separate test counts as the result, not the validation after the last epoch.
    needs_test: bool = False
    #: Whether this was read from a row of a file, which knows the end and the best epoch only.
    recorded: bool = False
    #: By which metric that best epoch was chosen.
    best_by: str | None = None
    #: Whether `length` counts epochs or iterations.
    by_epoch: bool = True

    @property
    def trained(self) -> bool:
        """Whether the last epoch is done, with a checkpoint or a validation to prove it."""
        return self.length in self.validations or self.saved_at_end

    @property
    def saved_at_end(self) -> bool:
        """Whether the newest checkpoint is that of the last epoch, according to its name."""
        name = self.last_checkpoint.stem if self.last_checkpoint else ''
        counted, _, number = name.rpartition('_')
        # CheckpointHook may count iterations where the loop counts epochs.
        return number == str(self.length) and counted != ('iter' if self.by_epoch else 'epoch')

    @property
    def final(self) -> dict[str, float] | None:
        """The metrics that count: those of the test, or of the validation after the last epoch.

        What hooks measured at the end of the last epoch is added. None if the run is not finished.
        """
        if self.tested or self.needs_test:
            result = self.tested
        else:
            result = self.validations.get(self.length)
        if not result:
            return None
        return {**result, **self.measured.get(self.length, {})}

    def over_time(self, key: str) -> dict[int, float]:
        """A metric from the validations or the hooks, by epoch or iteration."""
        both = sorted([*self.validations.items(), *self.measured.items()], key=itemgetter(0))
        return {epoch: values[key] for epoch, values in both if key in values}

    def best(self, key: str, lower_is_better: bool | None = False) -> tuple[int, float] | None:
        """The first epoch with the best value of a metric, and the value; NaN is none.

        Args:
            key: As it was logged.
            lower_is_better: Direction of the logged value; there is no best one where it is None.
        """
        curve = {at: value for at, value in self.over_time(key).items() if not isnan(value)}
        if not curve or lower_is_better is None or (self.recorded and self.best_by != key):
            return None
        return (min if lower_is_better else max)(curve.items(), key=itemgetter(1))


def read_run(
    folder: str | Path,
    length: int,
    by_epoch: bool = True,
    test_folder: str | Path | None = None,
    needs_test: bool = False,
    val_interval: int = 1,
) -> Run:
    """Read what MMEngine wrote into a work directory; an absent one is a run that has not begun.

    Args:
        folder: The work directory of the training.
        length: Epochs (or iterations) that the training is to have.
        by_epoch: Whether its loop counts epochs or iterations.
        test_folder: Work directory of a separate test. A test older than the last training does
            not count.
        needs_test: Whether only the test counts as the result.
        val_interval: Iterations between two validations; see `read_lines`.
    """
    run = Run(Path(folder), length, needs_test=needs_test, by_epoch=by_epoch)
    unit = 'epoch' if by_epoch else 'step'
    starts = training_folders(folder)
    last = 0
    for line in read_lines(folder, length, by_epoch, val_interval):
        if 'iter' in line:
            last = line.get(unit, last)
            run.done = last - 1 if by_epoch else last
        else:
            run.done = max(line['step'], last)
            run.validations[int(run.done)] = _metrics(line)
    validated = {key for values in run.validations.values() for key in values}
    for line in read_lines(folder, length, by_epoch, val_interval, 'scalars.json'):
        if 'iter' not in line:
            for key, value in _metrics(line).items():
                if key not in validated and not key.startswith(OWN_GROUP):
                    run.measured.setdefault(line['step'], {})[key] = value
    if by_epoch and starts:
        run.done = max(run.done, _epochs_in_log(starts[-1]))
    run.seconds = sum(_seconds(start) for start in starts)
    run.last_checkpoint = newest_checkpoint(folder)
    if test_folder is not None and starts:
        for test in _timestamps(test_folder):
            result = _read_result(_result_of_test(test))
            if result is not None and test.name >= starts[-1].name:
                run.tested = _metrics(result)
    if run.tested and not needs_test:  # it stands for a last validation that was cut short
        run.validations.setdefault(length, run.tested)
    return run


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint that MMEngine's pointer names, whether or not it is still there.

    Only its name counts, since folders are moved. None where there is no pointer, or an empty one,
    as a full disk leaves it.
    """
    pointer = Path(folder, 'last_checkpoint')
    name = Path(pointer.read_text().strip()).name if pointer.is_file() else ''
    return Path(folder, name) if name else None


def val_interval_of(train_cfg: Mapping[str, Any]) -> int:
    """Epochs or iterations between two validations, MMEngine's own where a config names none."""
    return train_cfg.get('val_interval', 1 if 'max_epochs' in train_cfg else 1000)


def read_lines(
    folder: str | Path,
    length: int,
    by_epoch: bool = True,
    val_interval: int = 1,
    name: str | None = None,
) -> list[dict[str, Any]]:
    """Read what a training logged, in order; what was lost and done again counts once.

    Args:
        folder: The work directory of the training.
        length: Epochs (or iterations) that the training is to have.
        by_epoch: Whether its loop counts epochs or iterations.
        val_interval: Iterations between two validations. Unless told otherwise, MMEngine writes
            step 0 for all of an iteration-based loop; they get the next multiple of this.
        name: The file. `scalars.json` holds what every hook logged; the default, `<start>.json`,
            only the lines of training and validations.
    """
    unit = 'epoch' if by_epoch else 'step'
    merged: list[dict[str, Any]] = []
    for start in training_folders(folder):
        lines = _scalars(start, name)
        first = next((line.get(unit) for line in lines if 'iter' in line), None)
        resumed = None if by_epoch else _resumed_at(start)
        if resumed is not None:
            first = resumed + 1  # its first line comes later, or never
        if first is not None:
            again = (i for i, line in enumerate(merged) if line.get(unit, 0) >= first)
            del merged[next(again, len(merged)) :]
        trained = validated = resumed or 0
        for line in lines:
            if 'iter' in line:
                trained = line['step']
            elif not by_epoch and not line['step']:
                at_least = max(trained, validated + 1)
                validated = min(-(-at_least // val_interval) * val_interval, length)
                line = {**line, 'step': validated}
            merged.append(line)
    return merged


def training_folders(folder: str | Path) -> list[Path]:
    """List the starts of a training that trained or validated, oldest first.

    A short resumed run may log nothing but validations; a start that only tested leaves the result
    of the test in its folder.
    """
    return [
        start
        for start in _timestamps(folder)
        if (lines := _scalars(start))
        and (any('iter' in line for line in lines) or not _result_of_test(start).is_file())
    ]


def dumped_configs(folder: str | Path) -> list[Path]:
    """The configs of the starts of a training, oldest first, as MMEngine dumped them.

    Unlike the one in the folder itself, they stay when a test follows.
    """
    dumped = [start / 'vis_data' / 'config.py' for start in training_folders(folder)]
    return [path for path in dumped if path.is_file()]


def _result_of_test(start: Path) -> Path:
    return start / f'{start.name}.json'


def _read_result(path: Path) -> dict[str, Any] | None:
    """What a test wrote; None where it is not there, or not whole."""
    try:
        result: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # being written, or cut short by a full disk
        return None
    return result


def _timestamps(folder: str | Path) -> list[Path]:
    return sorted(
        path
        for path in Path(folder).glob('[0-9]*_[0-9]*')
        if path.is_dir() and re.fullmatch(r'\d{8}_\d{6}', path.name)
    )


def _scalars(start: Path, name: str | None = None) -> tuple[dict[str, Any], ...]:
    path = start / 'vis_data' / (name or f'{start.name}.json')
    if not path.is_file():
        return ()
    status = path.stat()
    return _parsed(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)  # a display of running trainings asks every second
def _parsed(path: Path, size: int, changed: int) -> tuple[dict[str, Any], ...]:
    """The lines of a file of this size and time."""
    return tuple(json_lines(path))


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file with JSON in each line, without one that is being written or was cut short."""
    lines = []
    for line in path.read_text(encoding='utf-8').splitlines():
        with suppress(json.JSONDecodeError):
            lines.append(json.loads(line))
    return lines


def _metrics(line: dict[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in line.items()
        if key not in NO_METRICS and isinstance(value, (int, float))
    }


def _log_tail(start: Path) -> str:
    path = start / f'{start.name}.log'
    if not path.is_file():
        return ''
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - 2**16))
        return file.read().decode(errors='replace')


def _resumed_at(start: Path) -> int | None:
    """The iteration of the checkpoint that a start resumed from, if its log mentions one."""
    path = start / f'{start.name}.log'
    if not path.is_file():
        return None
    with path.open('rb') as file:
        head = file.read(2**18).decode(errors='replace')  # it follows the config
    match = re.search(r'resumed epoch: \d+, iter: (\d+)', head)
    return int(match[1]) if match else None


def _seconds(start: Path) -> float:
    """The time from the start, which names the folder, to the last line of the log.

    The files' own times do not survive copying.
    """
    stamps = re.findall(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', _log_tail(start), re.M)
    if not stamps:
        return 0.0
    end = datetime.strptime(stamps[-1], '%Y/%m/%d %H:%M:%S')
    return (end - datetime.strptime(start.name, TIMESTAMP)).total_seconds()


def _epochs_in_log(start: Path) -> float:
    """How many epochs the last line of training is at, with the part of the running one."""
    lines = re.findall(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]', _log_tail(start))
    if not lines:
        return 0.0
    epoch, iteration, length = map(int, lines[-1])
    return epoch - 1 + iteration / length
