"""A run as it is executed: where it goes, what it learns from, and which command it needs next."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

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
            words = ['--work-dir', str(self.folder)]
            if self.spec.amp:
                words.append('--amp')
            # Only where there is something to resume: it makes MMEngine forget `load_from`.
            if run.last_checkpoint is not None:
                words.append('--resume')
            return self._command('train', self._taught(), words)
        if run.last_checkpoint is None or not run.saved_at_end:
            name = run.last_checkpoint.name if run.last_checkpoint else 'none'
            raise ValueError(
                f'it cannot be tested, since the checkpoint of its last epoch or iteration '
                f'({run.length}) is not in {self.folder}; the newest there: {name}. Let the config '
                'save it (default_hooks.checkpoint.save_last=True, or an interval that divides '
                f'{run.length}), and remove {self.folder} to train again.'
            )
        words = [str(run.last_checkpoint), '--work-dir', str(self.test_folder)]
        if self.tta:
            words.append('--tta')
        return self._command('test', self.spec, words)

    def _command(self, tool: str, spec: RunSpec, words: list[str]) -> list[str]:
        """The command that trains or tests: what both take stands after `words`."""
        if spec.method is not None:
            words += ['--method', spec.method]
        if spec.data_root is not None:
            words += ['--data-root', spec.data_root]
        if self.trust:
            words.append('--trust-checkpoint')
        words += ['--cfg-options', *spec.options, f'randomness.seed={spec.seed}']
        return [sys.executable, '-m', f'mmdet_ols.cli.{tool}', spec.config, *words]

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
