"""Every run that the paper's tables need: each once, however many cells it serves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mmdet_ols import config_path
from mmdet_ols.checks.option_names import OptionNames, naming_options
from mmdet_ols.experiments.evidence import EvidenceFile
from mmdet_ols.experiments.experiment import Experiment
from mmdet_ols.experiments.requested_rows import with_needed_rows
from mmdet_ols.experiments.specification import Request, Variant, read_variants
from mmdet_ols.experiments.states import State, state_of
from mmdet_ols.experiments.tasks import RunTask
from mmdet_ols.methods import parse_method
from mmdet_ols.reproduction.scales import PlannedCell, place_of, short_option
from mmdet_ols.results.run_folder import Run

#: Why the runs of a config cannot start, in this file of its folder.
BLOCKED = 'blocked.txt'


class Plan:
    """The runs of many cells, as one comparison for each config.

    Args:
        cells: What is trained for each cell.
        seeds: Random seeds.
        work_dir: Where all runs go, each into `CONFIG/METHOD/seed_N`.
        data: Where data lie, by their names; the configs' own places for the others.
        entries: What overrides entries of configs, each `KEY=VALUE`, by the name of a network, of
            data or of a config.
        evidence: The file that finished runs are added to, and whose rows count as finished.
        trust: Whether the runs load checkpoints that hold more than data.
        progress: Wraps the configs while they are read, as a progress bar does.

    Raises:
        ValueError: A name is not one of the plan's, or a config cannot be used.
    """

    def __init__(
        self,
        cells: Sequence[PlannedCell],
        seeds: Sequence[int],
        work_dir: str | Path,
        data: Mapping[str, str] | None = None,
        entries: Mapping[str, Sequence[str]] | None = None,
        evidence: EvidenceFile | None = None,
        trust: bool = False,
        progress: Callable[[list], Iterable] = iter,
    ) -> None:
        self.cells, self.seeds, self.evidence = list(cells), list(seeds), evidence
        self.work_dir = Path(work_dir)
        data, entries = data or {}, entries or {}
        _check_names(data, {cell.data for cell in cells}, '--data')
        names = {name for cell in cells for name in names_of(cell)}
        _check_names(entries, names, '--set')
        #: One for each config, by the name of its folder.
        self.experiments: dict[str, Experiment] = {}
        self._variants: dict[PlannedCell, tuple[str, str]] = {}
        for name, group in progress(list(_grouped(self.cells).items())):
            variants = _variants_of(group, data, entries)
            once: dict[str, Variant] = {}
            for variant in variants.values():
                once.setdefault(variant.portable_key, variant)
            self.experiments[name] = Experiment(
                list(once.values()),
                seeds,
                self.work_dir / name,
                tta=group[0].tta,
                trust=trust,
                evidence=evidence,
            )
            for cell in group:
                row = once[variants[parse_method(cell.method).slug].portable_key]
                self._variants[cell] = name, row.name
        self._of = {
            folder: experiment
            for experiment in self.experiments.values()
            for folder in experiment.folders
        }

    @property
    def folders(self) -> list[Path]:
        """Of every run, one seed after the other, so that a first page is there early."""
        order = {seed: number for number, seed in enumerate(self.seeds)}
        return sorted(self._of, key=lambda folder: order[self._of[folder].runs[folder][1].seed])

    def folders_of(self, cell: PlannedCell) -> dict[int, Path]:
        """The folders of the runs that serve a cell, by seed."""
        name, row = self._variants[cell]
        return {
            spec.seed: folder
            for folder, (variant, spec) in self.experiments[name].runs.items()
            if variant.name == row
        }

    def check(self, strict: bool = False) -> dict[str, str]:
        """Find what would stop the runs of each config, before any of them starts.

        What is wrong is kept in the folder of the config, so that `status` shows it, until the next
        check, or until something else is asked for.

        Args:
            strict: Whether what may be wrong with the data is an error rather than a warning.

        Returns:
            Why configs cannot be run, by the names of their folders.
        """
        for name, experiment in self.experiments.items():
            note = self._blocked_note(name)
            note.unlink(missing_ok=True)
            cell = next(cell for cell, (group, _) in self._variants.items() if group == name)
            options = OptionNames(f'--data {cell.data}=FOLDER', f'--set {names_of(cell)[0]}')
            try:
                with naming_options(options):
                    experiment.check(strict)
            except ValueError as error:
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(str(error), encoding='utf-8')
        return self.blocked

    @property
    def blocked(self) -> dict[str, str]:
        """Why configs could not be run when it was checked last, by the names of their folders."""
        notes = {name: self._blocked_note(name) for name in self.experiments}
        return {
            name: note.read_text(encoding='utf-8') for name, note in notes.items() if note.is_file()
        }

    def _blocked_note(self, name: str) -> Path:
        """The file that says why the runs of a config cannot start, in the folder of the config."""
        return self.work_dir / name / BLOCKED

    def variant(self, folder: Path) -> Variant:
        """What a folder is a run of."""
        return self._of[folder].runs[folder][0]

    def experiment(self, folder: Path) -> Experiment:
        """The comparison that a run belongs to."""
        return self._of[folder]

    def tasks(self) -> list[RunTask]:
        """The runs that are not finished, in the order in which to start them."""
        blocked = self.blocked
        return [
            self._of[folder].tasks[folder]
            for folder in self.folders
            if folder.parents[1].name not in blocked and not self.is_finished(folder)
        ]

    def is_finished(self, folder: Path) -> bool:
        """Whether the result of a run is there."""
        return self._of[folder].is_finished(folder)

    def state(self, folder: Path, run: Run | None = None) -> State:
        """Where a run stands.

        Args:
            folder: The run.
            run: How far it is, where that was read already.
        """
        run = self.read(folder) if run is None else run
        return state_of(folder, bool(run.final))

    def keep(self, folder: Path) -> str:
        """Add a finished run that has no row yet; return what a user must know of it.

        Raises:
            OSError: The file of rows cannot be written.
        """
        experiment = self._of[folder]
        if experiment.row(folder) is not None:
            return ''
        try:
            experiment.check_folder(folder)
        except ValueError as error:  # its row would have the settings that are asked for now
            return str(error)
        return experiment.keep(folder)

    def label(self, folder: Path) -> str:
        """A run's name for people."""
        experiment = self._of[folder]
        return f'{folder.parents[1].name} {experiment.label(folder)}'

    def read(self, folder: Path) -> Run:
        """How far a run is."""
        return self._of[folder].read(folder)

    def made(self, folder: Path) -> list[dict[str, str]]:
        """How each start of a run was made: command, machine, versions, date."""
        return self._of[folder].made(folder)

    def newest(self, run: Run) -> str:
        """The newest value of a run's main metric, as text."""
        return next(iter(self.experiments.values())).newest(run)


def _grouped(cells: Iterable[PlannedCell]) -> dict[str, list[PlannedCell]]:
    """The cells of each config, by the name of its folder."""
    groups: dict[tuple, list[PlannedCell]] = {}
    for cell in cells:
        groups.setdefault((cell.config, cell.options, cell.tta), []).append(cell)
    named: dict[str, list[PlannedCell]] = {}
    for (config, options, _), group in groups.items():
        own = [option for option in options if not option.startswith(_SAME_IN_ALL)]
        words = [Path(config).stem, *map(short_option, own)]
        name = re.sub(r'[^\w.+=-]', '_', '+'.join(words))  # options may hold paths
        while name in named:  # a config of the same name, or plain next to test-time augmentation
            name += '_'
        named[name] = group
    return named


#: What all sweeps of OLSHook's period have in common, so that it names nothing.
_SAME_IN_ALL = ('default_hooks.ols.type=', 'default_hooks.ols.by_epoch=')


def _variants_of(
    group: Sequence[PlannedCell],
    data: Mapping[str, str],
    entries: Mapping[str, Sequence[str]],
) -> dict[str, Variant]:
    """Resolve the rows of one config, by their names."""
    first = group[0]
    own = [entry for name in names_of(first) for entry in entries.get(name, ())]
    config, options = config_path(first.config), (*first.options, *own)
    methods = {parse_method(cell.method).slug: cell.method for cell in group}
    rows = [Request(slug, config, method, options) for slug, method in methods.items()]
    variants = read_variants(with_needed_rows(rows), data.get(first.data))
    return {variant.name: variant for variant in variants}


def names_of(cell: PlannedCell) -> list[str]:
    """What a cell can be called by: its network, its data and its config."""
    return list(
        dict.fromkeys([place_of(cell.cell.config)['network'], cell.data, Path(cell.config).stem])
    )


def _check_names(given: Iterable[str], known: set[str], option: str) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(
            f'{option} must name one of {", ".join(sorted(known))}, but got {", ".join(unknown)}.'
        )
