"""Finished runs as rows of a CSV file that is kept with the project, and counts as a result."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

from mmdet_ols.core.whole_files import whole_file
from mmdet_ols.results.run_folder import Run

#: The kinds of test in the rows of `benchmarks/label_mistakes.py` and `.../plain_comparison.py`,
#: which share no table with those of `tools/compare.py`.
MISTAKES, PLAIN_LOOP = 'mistakes', 'plain loop'
#: Before the name of a metric: its value at the best epoch.
BEST = 'best '


@dataclass(frozen=True)
class EvidenceRow:
    """One finished run.

    Args:
        settings: Key of everything that decides what the run reaches, its seed excepted; the same
            on every machine.
        base: The same key with every method undone: rows with the same one are comparable.
        name: What its row of a comparison was called.
        method: As for `--method`; empty where the config was trained as it is.
        config: Path of the config.
        options: What overrode entries of the config, each `KEY=VALUE`.
        test: 'plain', 'tta' for test-time augmentation, or the kind of another benchmark.
        seed: Random seed.
        length: How long it trained, as in '20 epochs'.
        seconds: Wall time of all its starts.
        commit: Commit of the project, with '-dirty' where files were changed.
        machine: GPUs, processor and cores.
        torch: Version of PyTorch.
        date: Of its last start.
        best_by: The metric by which the best epoch was chosen; empty where none was.
        best_epoch: The epoch that was best by it.
        metrics: What it reached at the end, as it was logged.
        best: What it had reached at the best epoch.
    """

    settings: str
    base: str
    name: str
    method: str
    config: str
    options: str
    test: str
    seed: int
    length: str
    seconds: int
    commit: str
    machine: str
    torch: str
    date: str
    best_by: str = ''
    best_epoch: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, int, str]:
        """What no other row of a file has: settings, seed and kind of test."""
        return self.settings, self.seed, self.test

    def as_run(self, folder: Path = Path()) -> Run:
        """The run as far as the row knows it: the end and the best epoch.

        Args:
            folder: Where it would be trained.
        """
        number = int(self.length.split()[0])
        validations = {} if self.best_epoch is None else {self.best_epoch: dict(self.best)}
        return Run(
            folder,
            number,
            number,
            validations,
            tested=dict(self.metrics),
            seconds=self.seconds,
            recorded=True,
            best_by=self.best_by or None,
        )


#: The columns that every file has; those of the metrics follow.
COLUMNS = tuple(f.name for f in fields(EvidenceRow) if f.name not in ('metrics', 'best'))
_NUMBERS = ('seed', 'seconds', 'best_epoch')


class EvidenceFile:
    """A CSV file with a row for each finished run.

    Several processes may add rows at the same time: each holds a lock while it reads the file and
    puts a new one in its place. A reader never sees a part of a row.

    Args:
        path: The file; made with its folder once there is a row.
        others: Files whose rows count as well, and which are only read.
        read_only: Whether no row will be added, so that its folder may be another user's.

    Raises:
        ValueError: A file is not one of these.
        OSError: One cannot be read, or the folder of the first cannot be written into.
    """

    def __init__(
        self, path: str | Path, others: Sequence[str | Path] = (), read_only: bool = False
    ) -> None:
        self.path = Path(path)
        self._others = [(row, Path(other)) for other in others for row in read_rows(other)]
        self._read: tuple[tuple[int, int, int] | None, list[EvidenceRow]] = (None, [])
        if self.path.is_dir():
            raise ValueError(f'{path} is a folder: name a CSV file in it.')
        self.rows()
        if read_only:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(self.path.parent, os.W_OK):
            raise PermissionError(
                f'{self.path.parent} must be writable, so that rows can be added to {path}.'
            )

    def rows(self) -> list[EvidenceRow]:
        """Every row, in the order of the file, and then those of the other files."""
        return [*self._own_rows(), *(row for row, _ in self._others)]

    def _own_rows(self) -> list[EvidenceRow]:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return []
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if stamp != self._read[0]:  # a display of running trainings asks every second
            try:
                rows = read_rows(self.path)
            except ValueError:
                if self._read[0] is None:
                    raise
                rows = self._read[1]  # `add` says what is wrong with it now, and ends no training
            self._read = (stamp, rows)
        return self._read[1]

    def row(self, identity: tuple[str, int, str]) -> EvidenceRow | None:
        """The row of a run; None where there is none."""
        return next((row for row in self.rows() if row.identity == identity), None)

    def facts(self, row: EvidenceRow) -> dict[str, str]:
        """How the run of a row was made, by names of facts."""
        source = next((path for other, path in self._others if other is row), self.path)
        return {
            'machine': row.machine,
            'versions': f'torch {row.torch}, mmdet_ols {row.commit}',
            'date': row.date,
            'read from': str(source),
        }

    def add(self, row: EvidenceRow) -> bool:
        """Add a row, unless its run has one; say whether it was added.

        Raises:
            ValueError: The file is broken now, or the row cannot be written into one.
        """
        if any(known.identity == row.identity for known, _ in self._others):
            return False
        with self._locked():
            rows = read_rows(self.path)
            if any(known.identity == row.identity for known in rows):
                return False
            with whole_file(self.path) as file:
                file.write(to_csv([*rows, row]))
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the file that lies at the path, and not one that another process has replaced."""
        import fcntl

        while True:
            with self.path.open('a', encoding='utf-8') as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
                own = os.fstat(file.fileno())
                if self.path.exists() and os.path.samestat(own, self.path.stat()):
                    yield
                    return


def read_rows(path: str | Path) -> list[EvidenceRow]:
    """Read the rows of a file.

    Args:
        path: The file; an empty one has no rows.

    Raises:
        ValueError: It is not a file of rows, or a row is broken.
        OSError: It cannot be read.
    """
    with Path(path).open(encoding='utf-8-sig', newline='') as file:  # spreadsheets write a mark
        lines = list(csv.reader(file))
    if not lines:
        return []
    header, *cells = lines
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise ValueError(
            f'{path} must have the columns of a file of runs, but {", ".join(missing)} is not '
            'there: name another file, or move this one away.'
        )
    rows: dict[tuple[str, int, str], EvidenceRow] = {}
    for number, line in enumerate(cells, 2):
        if not any(line):
            continue
        try:
            if len(line) != len(header):
                raise ValueError(f'it has {len(line)} cells, but the file {len(header)} columns')
            row = _row(dict(zip(header, line)))
            if row.identity in rows:
                raise ValueError('its settings, seed and test are those of another row')
            rows[row.identity] = row
        except ValueError as error:
            raise ValueError(
                f'{path}, row {number}: {error}. Mend the row, or remove it; its run can be '
                'recorded again as long as its folder is there.'
            ) from error
    return list(rows.values())


def to_csv(rows: Sequence[EvidenceRow]) -> str:
    """Write rows as the text of a file, metrics in the order in which they first occur.

    Raises:
        ValueError: A metric has the name of a column, so that the file could not be read.
    """
    metrics = list(dict.fromkeys(key for row in rows for key in row.metrics))
    wrong = [key for key in metrics if key in COLUMNS or key.startswith(BEST)]
    if wrong:
        raise ValueError(
            f'A metric must not have the name of a column of a file of rows, but got {wrong[0]!r}: '
            'give its evaluator a `prefix`.'
        )
    best = list(dict.fromkeys(key for row in rows for key in row.best))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow([*COLUMNS, *metrics, *(BEST + key for key in best)])
    for row in rows:
        facts = ['' if (value := getattr(row, name)) is None else value for name in COLUMNS]
        writer.writerow([*facts, *_texts(row.metrics, metrics), *_texts(row.best, best)])
    return text.getvalue()


def _texts(values: dict[str, float], keys: Iterable[str]) -> list[str]:
    # More digits than anybody shows, and few enough for a line to be read.
    return [f'{values[key]:.8g}' if key in values else '' for key in keys]


def _row(cells: dict[str, str]) -> EvidenceRow:
    facts = {name: cells.pop(name) for name in COLUMNS}
    if not (facts['seed'] and facts['seconds'] and facts['length'].partition(' ')[0].isdecimal()):
        raise ValueError("it needs a seed, a length such as '20 epochs', and its seconds")
    # pandas writes the numbers of a column with gaps as 15.0.
    numbers = {k: int(facts[k].removesuffix('.0')) if facts[k] else None for k in _NUMBERS}
    values = {key: float(text) for key, text in cells.items() if text}
    return EvidenceRow(
        **{**facts, **numbers},  # type: ignore[arg-type]
        metrics={key: value for key, value in values.items() if not key.startswith(BEST)},
        best={k[len(BEST) :]: value for k, value in values.items() if k.startswith(BEST)},
    )
