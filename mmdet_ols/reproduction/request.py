"""What a user asked for, kept in the work directory so that it need not be said again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from glob import glob
from pathlib import Path
from typing import Any

from mmdet_ols.core.whole_files import whole_file
from mmdet_ols.experiments.evidence import EvidenceFile
from mmdet_ols.reproduction.plan import BLOCKED, Plan, names_of
from mmdet_ols.reproduction.scales import PAPER, PlannedCell, planned_cells
from mmdet_ols.reproduction.step_times import StepTimes, read_step_times

#: The request, in the work directory.
FILE = 'request.json'
#: The rows of the runs that were finished there.
ROWS = 'runs.csv'


@dataclass(frozen=True)
class PaperRequest:
    """Which cells to make, with which data.

    Args:
        scale: As for `planned_cells`, or 'smoke'.
        tables: Such as 'II'; empty is all.
        seeds: Random seeds.
        data: Where data lie, by their names.
        entries: What overrides entries of configs, by the name of a network, of data or of a
            config.
        choices: What was chosen where the paper leaves something open, by the name of the question.
        evidence: Files whose rows count as finished runs; may hold wildcards.
        step_times: File of the seconds that training steps take, which tell how long runs are like
            which none has begun; empty is none.
        each_kind: Whether only a few cells of the smoke scale are made, which have all kinds.
    """

    scale: str = PAPER
    tables: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    data: Mapping[str, str] = field(default_factory=dict)
    entries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    step_times: str = ''
    each_kind: bool = False

    def plan(
        self,
        work_dir: Path,
        trust: bool = False,
        progress: Callable[[list], Iterable] = iter,
        read_only: bool = False,
    ) -> Plan:
        """Plan its runs.

        Args:
            work_dir: Where they go.
            trust: Whether they load checkpoints that hold more than data.
            progress: Wraps the configs while they are read, as a progress bar does.
            read_only: Whether they are only looked at, in a folder that may be another user's.

        Raises:
            ValueError: Something that was asked for is not there.
            OSError: A file of rows cannot be read.
        """
        others = [path for pattern in self.evidence for path in _files(pattern)]
        cells = planned_cells(self.scale, self.tables, self.choices)
        all_cells = planned_cells(self.scale, (), self.choices)
        # What was said of data and networks of other tables is kept, and no mistake in these.
        other_data = {cell.data for cell in all_cells} - {cell.data for cell in cells}
        other_names = _names(all_cells) - _names(cells)
        return Plan(
            cells,
            self.seeds,
            work_dir,
            {name: path for name, path in self.data.items() if name not in other_data},
            {name: words for name, words in self.entries.items() if name not in other_names},
            EvidenceFile(work_dir / ROWS, others, read_only),
            trust,
            progress,
        )

    def read_step_times(self) -> StepTimes | None:
        """Read the times of training steps; None where no file is named.

        Raises:
            ValueError: The file is no such one, or the scale is not the paper's.
            OSError: It cannot be read.
        """
        if not self.step_times:
            return None
        if self.scale != PAPER:
            raise ValueError(
                f'Step times tell how long the scale paper takes, not {self.scale}: leave '
                '--step-times out.'
            )
        return read_step_times(self.step_times)

    def save(self, work_dir: Path) -> None:
        """Write it into the work directory.

        Where something else was asked for before, what blocked that is forgotten: it may be what
        was changed, such as the place of the data.
        """
        work_dir.mkdir(parents=True, exist_ok=True)
        path, text = work_dir / FILE, json.dumps(asdict(self), indent=1) + '\n'
        if path.is_file() and path.read_text(encoding='utf-8') == text:
            return
        for note in work_dir.glob(f'*/{BLOCKED}'):
            note.unlink(missing_ok=True)
        with whole_file(path) as file:
            file.write(text)

    def changed(self, given: Mapping[str, Any]) -> PaperRequest:
        """The same with what was given now, where that is not None.

        Of data, entries and choices, the names that are not given now stay as they are.
        """
        known = {f.name for f in fields(self)}
        new = {key: value for key, value in given.items() if key in known and value is not None}
        for name in ('data', 'entries', 'choices'):
            if name in new:
                new[name] = {**getattr(self, name), **new[name]}
        return replace(self, **new)


def _names(cells: Iterable[PlannedCell]) -> set[str]:
    return {name for cell in cells for name in names_of(cell)}


def _files(pattern: str) -> list[str]:
    """The files that a word of `--evidence` names.

    Raises:
        ValueError: There is none.
    """
    files = [pattern] if Path(pattern).is_file() else sorted(glob(pattern))
    if not files:
        raise ValueError(f'--evidence must name CSV files, but there is no {pattern}.')
    return files


def load_request(work_dir: Path) -> PaperRequest | None:
    """Read what was asked for in a work directory; None where nothing was.

    Raises:
        ValueError: The file is broken.
    """
    path = work_dir / FILE
    if not path.is_file():
        return None
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        for name in ('tables', 'seeds', 'evidence'):  # JSON knows lists only
            read[name] = tuple(read[name])
        return PaperRequest(**read)
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f'{path} must be the request that `reproduce plan` or `run` wrote, but cannot be '
            f'read: {error}. Remove it and ask again.'
        ) from error
