"""A run as it is executed: where it goes, what it learns from, and which command it needs next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mmdet_ols.experiments.commands import command_to_test, command_to_train
from mmdet_ols.experiments.executors import WaitsForAnotherRun
from mmdet_ols.experiments.specification import RunSpec, needed_run, with_checkpoint
from mmdet_ols.results.run_folder import Run, read_run


@dataclass(frozen=True)
class RunTask:
    """A run with its folder: plain data, which another process or another machine can take over.

    Args:
        folder: Its work directory.
        label: Its name for people.
        spec: What it is.
        length: How many epochs it trains, or iterations in an iteration-based loop.
        by_epoch: Whether `length` counts epochs.
        val_interval: How many of these lie between two validations.
        needs_test: Whether only a test after the training gives its result.
        tta: Whether that is with test-time augmentation.
        trust: Whether it loads checkpoints that hold more than data.
        teacher: The run that it learns from.
    """

    folder: Path
    label: str
    spec: RunSpec
    length: int
    by_epoch: bool = True
    val_interval: int = 1
    needs_test: bool = False
    tta: bool = False
    trust: bool = False
    teacher: RunTask | None = None

    @property
    def test_folder(self) -> Path:
        """The work directory of its test."""
        return self.folder / ('test_tta' if self.tta else 'test')

    def read(self) -> Run:
        """Read from its folder how far it is."""
        run = read_run(
            self.folder,
            self.length,
            self.by_epoch,
            self.test_folder,
            self.needs_test,
            self.val_interval,
        )
        if run.last_checkpoint and not run.last_checkpoint.exists():
            run.last_checkpoint = None  # removed, though MMEngine's pointer still names it
        return run

    def next_command(self) -> list[str] | None:
        """What it needs next: to be trained, resumed or tested; None if it is finished.

        Raises:
            ValueError: It has to be tested, but the checkpoint of its last epoch is not there.
            WaitsForAnotherRun: It learns from a run that is not trained yet.
        """
        run = self.read()
        if run.final:
            return None
        if not run.trained:
            # Only where there is something to resume: it makes MMEngine forget `load_from`.
            resume = run.last_checkpoint is not None
            return command_to_train(self._taught(), self.folder, resume, self.trust)
        if run.last_checkpoint is None or not run.saved_at_end:
            name = run.last_checkpoint.name if run.last_checkpoint else 'none'
            raise ValueError(
                f'it cannot be tested, since the checkpoint of its last epoch or iteration '
                f'({run.length}) is not in {self.folder}; the newest there: {name}. Let the config '
                'save it (default_hooks.checkpoint.save_last=True, or an interval that divides '
                f'{run.length}), and remove {self.folder} to train again.'
            )
        return command_to_test(
            self.spec, run.last_checkpoint, self.test_folder, self.tta, self.trust
        )

    def _taught(self) -> RunSpec:
        """The specification, which names the checkpoint that the run learns from, if any.

        Raises:
            WaitsForAnotherRun: That is not there yet.
        """
        needs = needed_run(self.spec.method)
        if needs is None or self.teacher is None:
            return self.spec
        teacher = self.teacher.read()
        if not teacher.saved_at_end or teacher.last_checkpoint is None:
            raise WaitsForAnotherRun(
                f'it learns from {self.teacher.label}, whose folder {teacher.folder} has no '
                f'checkpoint of its last epoch or iteration ({teacher.length}): train that run '
                'again.'
            )
        method = with_checkpoint(str(self.spec.method), needs, str(teacher.last_checkpoint))
        return replace(self.spec, method=method)
