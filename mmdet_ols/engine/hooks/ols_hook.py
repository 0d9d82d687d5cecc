"""Rolls the soft labels over in MMEngine's training, and keeps checkpoints right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

from mmdet_ols.core import RollingState, SoftLabelState, find_states, state_name, state_paths
from mmdet_ols.core.arguments import check_integer
from mmdet_ols.engine.hooks.ema_copies import copy_changed_losses
from mmdet_ols.engine.hooks.roll_over_period import Period, choose_period
from mmdet_ols.engine.hooks.saved_states import (
    CheckpointWriter,
    LoadedCheckpoint,
    check_order,
    saves_now,
)
from mmdet_ols.engine.hooks.soft_label_history import SoftLabelHistory
from mmdet_ols.evaluation.passes import unwrapped
from mmdet_ols.registry import Hook, register_hook


@register_hook
class OLSHook(Hook):
    """Rolls over every loss with online soft labels.

    In a config: `default_hooks = dict(ols=dict(type='OLSHook'))`. It finds all such losses of the
    model by itself, also those that appear later in the run, as by MMPretrain's
    `SwitchRecipeHook`. After each period it reports, for every loss, the share of correctly
    classified samples, the number of classes without one, and the mean confidence and entropy of
    the new soft labels, in the log and through the Visualizer.

    A checkpoint that a user opens holds the soft labels in use, even with `EMAHook`. The sums of
    an unfinished period are saved where the loop resumes exactly there (iteration-based loops, of
    all ranks) and left out where MMEngine replays the epoch from its start, or starts again.

    Args:
        by_epoch: Whether `interval` counts epochs or iterations; None takes the unit of the
            training loop.
        interval: Number of epochs or iterations between two roll-overs (the paper's updating
            period; 1 epoch there). None is one epoch, or in iterations one pass over the data.
        draw_interval: Draw the soft-label matrix into the Visualizer at every so many roll-overs;
            0 never draws.
        record_interval: Write the soft labels of every so many roll-overs, and those of the start
            (step 0, or where a loss appears later), to
            `<work_dir>/soft_labels/<loss>/<epoch or iter>_<step>.npy` (float32); 0 never does.
            None writes all up to 256 score columns and none above, where a history would fill
            disks. A training that goes on from an earlier step, or starts again, first removes the
            files of later steps.

    Raises:
        ValueError: An interval is out of range. At the start of a training: `by_epoch=True` in an
            iteration-based loop, no `interval` where the length of the data is not known, a second
            hook of this kind, or an EMAHook or CheckpointHook whose `priority` puts it on the wrong
            side of this one.
    """

    # After EMAHook (NORMAL), which swaps the soft labels in a checkpoint and so has to come first,
    # and SwitchRecipeHook (NORMAL), which exchanges losses; and before CheckpointHook (VERY_LOW),
    # which is to save the new period's start.
    priority = 'BELOW_NORMAL'

    def __init__(
        self,
        by_epoch: bool | None = None,
        interval: int | None = None,
        draw_interval: int = 0,
        record_interval: int | None = None,
    ) -> None:
        super().__init__()
        check_integer('interval', interval, optional=True)
        self.by_epoch = by_epoch
        self.interval = interval
        self._period: Period  # made in `before_train`, when there is a training loop
        self._history = SoftLabelHistory(draw_interval, record_interval)
        self._writer = CheckpointWriter()
        self._loaded = LoadedCheckpoint()
        self._losses: dict[str, SoftLabelState] = {}  # their states, by the name of the loss
        self._teachers: dict[str, SoftLabelState] = {}  # those that have seen no sample yet
        self._warned: set[str] = set()  # the losses that were in eval mode in a training step
        self._paths: dict[str, RollingState] = {}  # by every path that a checkpoint has them under

    # --- when -------------------------------------------------------------------------------------

    def before_run(self, runner: Any) -> None:
        self._find(runner)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        self._find(runner)  # FlexibleRunner loads first
        self._loaded.keep(runner, checkpoint, unwrapped(runner.model), self._paths)

    def before_train(self, runner: Any) -> None:
        _check_alone(runner.hooks)
        check_order(self, runner.hooks)
        self._period = choose_period(runner, self.by_epoch, self.interval)
        self._follow_changes(runner)
        if not self._losses:
            runner.logger.warning(
                'OLSHook found no loss with online soft labels in the model: unless one appears '
                'later in the run, the model learns from its other losses only. Name '
                "type='OLSLoss' where the head's classification loss stands, or remove the hook."
            )
        for name in self._loaded.absent(self._paths):
            runner.logger.warning(
                f'The checkpoint holds no soft labels for {name} (it was trained without online '
                'label smoothing, or under another name): they start as configured.'
            )
        self._loaded.forget(self._paths)
        self._history.begin(runner, self._period)
        if self._period.steps_done(runner) == 0:
            for name, loss in self._losses.items():
                self._history.add_start(runner, name, loss, self._period)

    def before_train_epoch(self, runner: Any) -> None:
        for name in self._follow_changes(runner):
            self._history.add_start(runner, name, self._losses[name], self._period)
        self._loaded.forget_all()  # what is not there at the first step was not saved for this run
        self._writer.start_epoch(runner.epoch, self._paths)

    def after_train_epoch(self, runner: Any) -> None:
        if self._period.by_epoch and self.every_n_epochs(runner, self._period.interval):
            self._roll_over(runner, runner.epoch + 1)
        else:
            self._merge_sums(runner)  # CheckpointHook may save in the middle of the period

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._writer.count_step()
        self._warn_of_eval_mode(runner)
        if not self._period.by_epoch and self.every_n_train_iters(runner, self._period.interval):
            self._roll_over(runner, runner.iter + 1)
        elif saves_now(runner):
            self._merge_sums(runner)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        self._merge_sums(runner)  # CheckpointHook may save the best model next

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        self._writer.write(runner, checkpoint, self._paths)

    # --- which losses -----------------------------------------------------------------------------

    def _find(self, runner: Any) -> None:
        """Find the states that the model has now, under their names in a checkpoint."""
        model = unwrapped(runner.model)
        self._paths = state_paths(model)
        known, self._losses, self._teachers = self._losses, {}, {}
        for name, state in find_states(model).items():
            if isinstance(state, SoftLabelState):
                # The teacher of a semi-supervised detector only predicts.
                only_predicts = 'teacher' in name.split('.') and name not in known
                (self._teachers if only_predicts else self._losses)[name] = state
        for state in self._paths.values():
            state.roll_over_scheduled = True

    def _follow_changes(self, runner: Any) -> list[str]:
        """Look for losses that have come or gone, and give the new ones what is theirs.

        That is the device of the model, the state that a loaded checkpoint holds for them, and a
        place in the copies of EMAHook.

        Returns:
            The names of new losses with soft labels that start as configured.
        """
        model = unwrapped(runner.model)
        before, losses_before = self._paths, self._losses
        if state_paths(model) == before:
            return []
        self._find(runner)
        known = set(before.values())
        late = {path: state for path, state in self._paths.items() if state not in known}
        for path in late:
            for parameter in itertools.islice(model.parameters(), 1):  # it may have none
                model.get_submodule(state_name(path)).to(parameter.device)
        restored = self._loaded.restore(runner, model, late)
        changed = {
            state_name(path)
            for path in {*before, *self._paths}
            if before.get(path) is not self._paths.get(path)
        }
        copy_changed_losses(runner.hooks, model, changed)
        new = [name for name, state in self._losses.items() if state not in known]
        for name in new:
            how = 'with those of the checkpoint' if name in restored else 'as configured'
            runner.logger.info(f'OLSHook found a new loss, {name}: its soft labels start {how}.')
        for name in losses_before:
            if name not in self._losses:
                runner.logger.info(f'{name} has no online soft labels any more: OLSHook leaves it.')
        return [name for name in new if name not in restored]

    def _warn_of_eval_mode(self, runner: Any) -> None:
        """Say once of each loss that it does not learn from the training steps."""
        for name, loss in self._losses.items():
            if not loss.training and name not in self._warned:
                self._warned.add(name)
                runner.logger.warning(
                    f'{name} is in eval mode during a training step, so its soft labels learn '
                    'nothing and stay as they are. Something has called eval() on it, such as a '
                    'hook or the train() of a model that keeps frozen parts in eval mode: call the '
                    "loss's train() there."
                )

    # --- the end of a period ----------------------------------------------------------------------

    def _merge_sums(self, runner: Any) -> None:
        self._follow_changes(runner)
        self._writer.merge_sums(self._paths)

    def _roll_over(self, runner: Any, step: int) -> None:
        self._follow_changes(runner)
        self._add_teachers_that_learn()
        for name, loss in self._losses.items():
            report = {key: value.item() for key, value in loss.roll_over()._asdict().items()}
            runner.visualizer.add_scalars(
                {f'ols/{name}/{key}': value for key, value in report.items()}, step=step
            )
            if math.isnan(report['correct_share']):
                kept = 'stay as they are' if loss.empty_class == 'keep' else 'are uniform now'
                runner.logger.warning(
                    f'{name} saw no sample of a class since the last roll-over, so its soft labels '
                    f'{kept}. Some heads take a `loss_cls` and never call it (FreeAnchor, '
                    'AutoAssign); else look at the data and the assignment.'
                )
            runner.logger.info(
                f'Soft labels of {name} rolled over at {self._period.unit} {step}: '
                f'{report["correct_share"]:.1%} of the samples were classified correctly, '
                f'{report["empty_classes"]:.0f} of {loss.num_classes} classes had none; '
                f'mean confidence {report["confidence"]:.3f}, entropy {report["entropy"]:.3f} nats.'
            )
            self._history.add(runner, name, loss, self._period, step)
        self._writer.start_period()

    def _add_teachers_that_learn(self) -> None:
        """Treat a teacher as all others once its loss has seen samples, as in mutual learning."""
        for name, state in list(self._teachers.items()):
            state.reduce_sums()  # so that all ranks come to the same answer
            if state.has_sums():
                self._losses[name] = self._teachers.pop(name)


def _check_alone(hooks: Iterable[Any]) -> None:
    """Refuse a second OLSHook, which would roll over what the first one has just reset.

    Raises:
        ValueError: There are several.
    """
    count = sum(isinstance(hook, OLSHook) for hook in hooks)
    if count > 1:
        raise ValueError(
            f'A training must have one OLSHook, which serves all losses, but got {count} OLSHooks: '
            'leave out those in `custom_hooks`, and keep default_hooks.ols.'
        )
