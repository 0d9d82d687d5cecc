"""Reading the folder of a training: how far it is, what it reached, how long it took."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

TIMESTAMP = '%Y%m%d_%H%M%S'
#: What MMEngine logs beside the metrics of a validation or a test.
NO_METRICS = ('data_time', 'time', 'step')


@dataclass
class Run:
    """What a work directory says about its training.

    A resumed training has one folder a start; they are read as one.
    """

    folder: Path
    #: How many epochs, or iterations in an iteration-based loop, it is to have.
    length: int
    #: How many are behind it; a running epoch counts in part.
    done: float = 0.0
    #: Metrics of the validations, by epoch or iteration.
    validations: dict[int, dict[str, float]] = field(default_factory=dict)
    #: Metrics of a separate test of the last checkpoint.
    tested: dict[str, float] | None = None
    #: Wall time of all starts together, epochs that were lost and trained again included.
    seconds: float = 0.0
    last_checkpoint: Path | None = None

    #: Whether the validation after the last epoch does not stand for the test.
    needs_test: bool = False

    @property
    def trained(self) -> bool:
        """Whether the last epoch is behind it, with a checkpoint or a validation to prove it."""
        name = self.last_checkpoint.stem if self.last_checkpoint else ''
        return self.length in self.validations or name.rpartition('_')[2] == str(self.length)

    @property
    def final(self) -> dict[str, float] | None:
        """The metrics that count: of the test, or of the validation after the last epoch."""
        if self.tested or self.needs_test:
            return self.tested
        return self.validations.get(self.length)

    def best(self, key: str, lower_is_better: bool = False) -> tuple[int, float] | None:
        """The epoch with the best value of a metric, and the value; first if several."""
        curve = {epoch: values[key] for epoch, values in self.validations.items() if key in values}
        if not curve:
            return None
        return (min if lower_is_better else max)(curve.items(), key=lambda item: item[1])


def read_run(
    folder: str | Path,
    length: int,
    by_epoch: bool = True,
    test_folder: str | Path | None = None,
    needs_test: bool = False,
) -> Run:
    """Read what MMEngine wrote into a work directory; an absent one is a run not yet begun.

    Args:
        folder: The work directory of the training.
        length: Epochs (or iterations) that the training is to have.
        by_epoch: Whether its loop counts epochs or iterations.
        test_folder: Work directory of a separate test. A test older than the last training counts
            for nothing.
        needs_test: Whether only the test counts as the result.
    """
    run = Run(Path(folder), length, needs_test=needs_test)
    unit = 'epoch' if by_epoch else 'step'
    starts = training_folders(folder)
    for start in starts:
        lines = _scalars(start)
        first = next(line[unit] for line in lines if 'iter' in line)
        # What a later start trained again, it also validates again.
        run.validations = {step: v for step, v in run.validations.items() if step < first}
        last = first
        for line in lines:
            if 'iter' in line:
                last = line[unit]
                run.done = last - by_epoch
            else:
                # Unless told otherwise, MMEngine writes epoch 0 in an iteration-based loop.
                run.done = max(line['step'], last)
                run.validations[int(run.done)] = _metrics(line)
        if by_epoch:
            run.done = max(run.done, _epochs_in_log(start))
        run.seconds += _seconds(start)
    pointer = run.folder / 'last_checkpoint'
    if pointer.is_file():
        # By its name alone, for folders that were moved.
        run.last_checkpoint = run.folder / Path(pointer.read_text().strip()).name
    if test_folder is not None and starts:
        for test in _timestamps(test_folder):
            result = test / f'{test.name}.json'
            if result.is_file() and test.name >= starts[-1].name:
                run.tested = _metrics(json.loads(result.read_text()))
    return run


def training_folders(folder: str | Path) -> list[Path]:
    """The folders of the starts of a training that learned anything, oldest first."""
    return [
        start for start in _timestamps(folder) if any('iter' in line for line in _scalars(start))
    ]


def _timestamps(folder: str | Path) -> list[Path]:
    return sorted(
        path
        for path in Path(folder).glob('[0-9]*_[0-9]*')
        if path.is_dir() and re.fullmatch(r'\d{8}_\d{6}', path.name)
    )


#: The scalars read so far, by file, with its size then: a display asks every second.
_read: dict[Path, tuple[int, list[dict[str, Any]]]] = {}


def _scalars(start: Path) -> list[dict[str, Any]]:
    path = start / 'vis_data' / f'{start.name}.json'
    if not path.is_file():
        return []
    size = path.stat().st_size
    if _read.get(path, (-1,))[0] != size:
        lines = []
        for line in path.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # being written, or cut short by the end of the process
        _read[path] = size, lines
    return _read[path][1]


def _metrics(line: dict[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in line.items()
        if key not in NO_METRICS and isinstance(value, (int, float))
    }


def _log_tail(start: Path, size: int = 65536) -> str:
    path = start / f'{start.name}.log'
    if not path.is_file():
        return ''
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read().decode(errors='replace')


def _seconds(start: Path) -> float:
    """From the start, which names the folder, to the last line of the log.

    Times of files would say something else after copying.
    """
    stamps = re.findall(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - ', _log_tail(start), re.M)
    if not stamps:
        return 0.0
    end = datetime.strptime(stamps[-1], '%Y/%m/%d %H:%M:%S')
    return (end - datetime.strptime(start.name, TIMESTAMP)).total_seconds()


def _epochs_in_log(start: Path) -> float:
    """Epochs behind the last training line, with the part of the running one."""
    lines = re.findall(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\]', _log_tail(start))
    if not lines:
        return 0.0
    epoch, iteration, length = map(int, lines[-1])
    return epoch - 1 + iteration / length
