"""Variants times seeds: the folders of their runs, what each needs next, what they reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmdet_ols.experiments.comparability import check_comparable, check_same_config
from mmdet_ols.experiments.comparison import Comparison, Sweep
from mmdet_ols.experiments.evidence import EvidenceFile, EvidenceRow
from mmdet_ols.experiments.identity import portable_settings
from mmdet_ols.experiments.provenance import read_records, record_start
from mmdet_ols.experiments.readiness import check_ready
from mmdet_ols.experiments.recording import best_epoch_of, describe_run, differ, identity_of
from mmdet_ols.experiments.requested_rows import provider
from mmdet_ols.experiments.settings import describe, differences
from mmdet_ols.experiments.specification import RunSpec, Variant
from mmdet_ols.experiments.tables import run_name
from mmdet_ols.experiments.tasks import RunTask
from mmdet_ols.results.metrics import headline_metrics
from mmdet_ols.results.run_folder import Run, training_folders


class Experiment:
    """Every variant with every seed, each run in `work_dir/<name>/seed_<n>`.

    Args:
        variants: The rows; the others are compared with the first.
        seeds: Random seeds.
        work_dir: Where all runs go.
        allowed: Config keys in which the rows may differ on purpose.
        tta: Whether to test with test-time augmentation.
        metric: Key of the metric to put first; the hosts' main one by default.
        lower_is_better: Direction of that metric where nothing describes it.
        trust: Whether the runs load checkpoints that hold more than data.
        sweep: Which rows are values of one option.
        evidence: The file whose rows count as finished runs, and to which runs are added.

    Raises:
        ValueError: The rows differ in more than their methods, or in nothing that is recorded.
    """

    def __init__(
        self,
        variants: Sequence[Variant],
        seeds: Sequence[int],
        work_dir: str | Path,
        allowed: Sequence[str] = (),
        tta: bool = False,
        metric: str | None = None,
        lower_is_better: bool | None = None,
        trust: bool = False,
        sweep: Sweep | None = None,
        evidence: EvidenceFile | None = None,
    ) -> None:
        self.variants, self.sweep, self.evidence = list(variants), sweep, evidence
        self.tta, self.trust = tta, trust
        self.metric, self.lower_is_better = metric, lower_is_better
        self.differs = check_comparable({v.name: v.forms for v in variants}, allowed)
        if evidence is not None:
            _check_rows_differ(variants)
        #: Seed by seed, so that a first comparison is there early.
        self.runs: dict[Path, tuple[Variant, RunSpec]] = {
            Path(work_dir, variant.name, f'seed_{seed}'): (variant, variant.run(seed))
            for seed in seeds
            for variant in variants
        }
        #: The folder of the run that another one learns from, by the folder of that one.
        self.teachers = {
            folder: teacher
            for folder in self.runs
            if (teacher := self._folder_of_teacher(folder)) is not None
        }
        #: What an executor needs to know of each run.
        self.tasks = {folder: self._task(folder) for folder in self.runs}

    @property
    def folders(self) -> list[Path]:
        return list(self.runs)

    def check(self, strict: bool = False) -> None:
        """Find what would stop a run, before hours are spent on the others.

        Args:
            strict: Whether what may be wrong with the data is an error rather than a warning.

        Raises:
            ValueError: A run was made with another config, a model cannot be built, or a data set
                is wrong.
        """
        for folder in self.runs:
            self.check_folder(folder)
        # What is finished needs neither data nor weights.
        needed = {self.runs[task.folder][0].name for task in self.open_tasks}
        wanted = ((v.name, v.cfg) for v in self.variants if v.name in needed)
        check_ready(wanted, strict, self.tta)

    def check_folder(self, folder: Path) -> None:
        """Make sure that a run was made with the config that is asked for.

        Raises:
            ValueError: It was made with another one.
        """
        variant, spec = self.runs[folder]
        if training_folders(folder):
            entries = [variant.needs.entry] if variant.needs else []
            check_same_config(folder, variant.settings_as_dumped(spec.seed), entries)

    def label(self, folder: Path) -> str:
        """A run's name for people."""
        variant, spec = self.runs[folder]
        return run_name(variant.name, spec.seed)

    def read(self, folder: Path) -> Run:
        """Read how far a run is: from its folder, or from its row where that says nothing.

        A row has no checkpoint, so that the run counts as it is in its folder for one that is to
        learn from it.
        """
        run = self.tasks[folder].read()
        if self.evidence is None or run.final or self._is_awaited(folder):
            return run
        row = self.row(folder)
        return run if row is None else row.as_run(folder)

    def row(self, folder: Path) -> EvidenceRow | None:
        """The row of a run; None where there is none."""
        if self.evidence is None:
            return None
        return self.evidence.row(identity_of(*self.runs[folder], self.tta))

    def is_finished(self, folder: Path) -> bool:
        """Whether the result of a run is there."""
        return bool(self.read(folder).final)

    def newest(self, run: Run) -> str:
        """The newest value of the main metric, as text."""
        values = run.final or (run.validations[max(run.validations)] if run.validations else {})
        if not values:
            return ''
        metric = headline_metrics(values, self.metric if self.metric in values else None)[0]
        return f'{metric.title} {metric.shown(values[metric.key]):.2f}'

    @property
    def open_tasks(self) -> list[RunTask]:
        """The runs that are not finished, in the order in which to start them."""
        return [task for folder, task in self.tasks.items() if not self.is_finished(folder)]

    def _task(self, folder: Path) -> RunTask:
        (variant, spec), teacher = self.runs[folder], self.teachers.get(folder)
        return RunTask(
            folder,
            self.label(folder),
            spec,
            variant.length,
            variant.by_epoch,
            variant.val_interval,
            needs_test=self.tta or not variant.validates_as_it_tests,
            tta=self.tta,
            trust=self.trust,
            teacher=None if teacher is None else self._task(teacher),
        )

    def _folder_of_teacher(self, folder: Path) -> Path | None:
        """The folder of the run whose checkpoint a run needs; None if it needs none."""
        variant, spec = self.runs[folder]
        if variant.needs is None:
            return None
        rows = [other.request for other in self.variants]
        row = provider(variant.request, rows, variant.needs.method)
        if row is None:
            raise ValueError(
                f'{variant.name} needs the run of the same config with --method '
                f'{variant.needs.method}, but no row has it: add that row, or name its checkpoint '
                f'({variant.needs.option}=FILE).'
            )
        return folder.parents[1] / row.name / f'seed_{spec.seed}'

    def _is_awaited(self, folder: Path) -> bool:
        """Whether a run that is not finished is to learn from this one."""
        pupils = [pupil for pupil, teacher in self.teachers.items() if teacher == folder]
        return any(not self.read(pupil).final for pupil in pupils)

    def record(self, folder: Path, facts: Mapping[str, str]) -> None:
        """Note down how a start of a run was made."""
        record_start(folder, facts, self.runs[folder][1])

    def keep(self, folder: Path) -> str:
        """Add the run of a folder to the file of rows, if it is finished and has none.

        Returns:
            What a user must know: where the row of the run says something else than its folder.

        Raises:
            OSError: The file cannot be written.
        """
        run = self.tasks[folder].read()
        if self.evidence is None or not run.final:
            return ''
        variant, spec = self.runs[folder]
        records = read_records(folder)
        best = best_epoch_of(self._compare({folder: run}))
        row = describe_run(variant, spec, run, self.tta, records, best)
        if self.evidence.add(row):
            return ''
        known = self.evidence.row(row.identity)
        if known is None or not differ(known.metrics, row.metrics):
            return ''
        return (
            f'{self.label(folder)} has other results in {folder} than in its row of '
            f'{self.evidence.path}: the table shows those of the folder. Remove the row to record '
            'the run again.'
        )

    def comparison(self, failed: Mapping[Path, str]) -> Comparison:
        """Compare what the runs have reached so far."""
        folders = sorted(self.runs, key=lambda folder: self.variants.index(self.runs[folder][0]))
        return self._compare({folder: self.read(folder) for folder in folders}, failed)

    def _compare(
        self, runs: Mapping[Path, Run], failed: Mapping[Path, str] | None = None
    ) -> Comparison:
        named = {folder: (variant.name, spec.seed) for folder, (variant, spec) in self.runs.items()}
        return Comparison(
            runs={named[folder]: run for folder, run in runs.items()},
            paper={v.name: v.paper_figures for v in self.variants if v.paper_figures},
            best_is_of_test=not self.tta
            and all(variant.validates_on_the_test_set for variant in self.variants),
            differs=self.differs,
            compared_as_they_are=[v.name for v in self.variants if v.forms.hard is None],
            failed={named[folder]: why for folder, why in (failed or {}).items()},
            primary=self.metric,
            primary_lower_is_better=self.lower_is_better,
            tta=self.tta,
            made={named[folder]: self.made(folder) for folder in runs},
            sweep=self.sweep,
        )

    def made(self, folder: Path) -> list[dict[str, str]]:
        """How each start of a run was made, as its folder or its row says."""
        if not self.read(folder).recorded or self.evidence is None:
            return read_records(folder)
        row = self.row(folder)
        return [] if row is None else [self.evidence.facts(row)]


def _check_rows_differ(variants: Sequence[Variant]) -> None:
    """Make sure that no run would count as one of another variant once that is recorded.

    Raises:
        ValueError: Two variants differ only in where their data or weights lie.
    """
    first: dict[str, Variant] = {}
    for variant in variants:
        other = first.setdefault(variant.portable_key, variant)
        deciding = portable_settings(variant.forms.trained)
        places = {
            key: pair
            for key, pair in differences(other.forms.trained, variant.forms.trained).items()
            if key in deciding
        }
        if places:
            raise ValueError(
                f'--record cannot tell {variant.name} from {other.name}: in its rows the name of a '
                'folder stands for data and that of a file for weights, and these are the same:\n'
                f'{describe(places, other.name, variant.name)}\n'
                'Rename one of each pair, or leave out --record.'
            )
