"""Rolls the soft labels over in MMEngine's training, and keeps checkpoints right."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmdet_ols.core import RollingState, SoftLabelState, find_states, state_name, state_paths
from mmdet_ols.registry import Hook, register_hook

#: Above this number of score columns the history of the soft labels is not kept by default.
MAX_RECORDED = 256


@register_hook
class OLSHook(Hook):
    """Rolls over every loss with online soft labels.

    In a config: `default_hooks = dict(ols=dict(type='OLSHook'))`. It finds all such losses of the
    model by itself. After each period it reports, for every loss, the share of correctly
    classified samples, the number of classes without one, and the mean confidence and entropy of
    the new soft labels, in the log and through the Visualizer.

    A checkpoint that a user opens holds the soft labels in use, also beside `EMAHook`. The sums of
    an unfinished period are saved where the loop resumes exactly there (iteration-based loops, of
    all ranks) and left out where MMEngine replays the epoch from its start, or starts anew.

    Args:
        by_epoch: Whether `interval` counts epochs or iterations. Iteration-based loops need False.
        interval: Number of epochs or iterations between two roll-overs (the paper's updating
            period; 1 epoch there).
        draw_interval: Draw the soft-label matrix into the Visualizer at every so many roll-overs;
            0 never draws.
        record_interval: Write the soft labels of every so many roll-overs, and those of the start
            (step 0), to `<work_dir>/soft_labels/<loss>/<epoch or iter>_<step>.npy` (float32);
            0 never does. None writes all up to 256 score columns and none above, where a history
            would fill disks. A training that goes on from an earlier step, or starts anew, first
            removes the files of later steps.

    Raises:
        ValueError: An interval is out of range, or `by_epoch=True` in an iteration-based loop.
    """

    # After EMAHook (NORMAL), which swaps the soft labels in a checkpoint and so has to come first,
    # and before CheckpointHook (VERY_LOW), which is to save the new period's start.
    priority = 'BELOW_NORMAL'

    def __init__(
        self,
        by_epoch: bool = True,
        interval: int = 1,
        draw_interval: int = 0,
        record_interval: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f'`interval` must be a positive integer, but got {interval!r}.')
        for name, value in (
            ('draw_interval', draw_interval),
            ('record_interval', 0 if record_interval is None else record_interval),
        ):
            if not isinstance(value, int) or value < 0:
                raise ValueError(
                    f'`{name}` must be 0 (never) or a positive integer, but got {value!r}.'
                )
        self.by_epoch = by_epoch
        self.interval = interval
        self.draw_interval = draw_interval
        self.record_interval = record_interval
        self._losses: dict[str, SoftLabelState] = {}  # their states, by the name of the loss
        self._paths: dict[str, RollingState] = {}  # by every path that a checkpoint has them under
        self._absent: list[str] = []  # losses whose soft labels a loaded checkpoint did not hold
        self._started_epoch = -1
        self._sums_at_epoch_start: dict[str, Tensor] = {}
        self._sums_are_complete = True

    def before_run(self, runner: Any) -> None:
        """Find the losses, under the names that they have in a checkpoint."""
        from mmengine.model import is_model_wrapper

        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._losses = {
            name: state
            for name, state in find_states(model).items()
            if isinstance(state, SoftLabelState)
        }
        self._paths = state_paths(model)
        for loss in self._losses.values():
            loss.roll_over_scheduled = True

    def before_train(self, runner: Any) -> None:
        from mmengine.runner import IterBasedTrainLoop

        if not self._losses:
            runner.logger.warning(
                'OLSHook found no loss with online soft labels in the model, so it does nothing: '
                "the model learns from its own losses alone. Name type='OLSLoss' where the head's "
                'classification loss stands, or remove the hook.'
            )
        for name in self._absent:
            runner.logger.warning(
                f'The checkpoint holds no soft labels for {name} (it was trained without online '
                'label smoothing, or under another name): they start as configured.'
            )
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                '`by_epoch` of OLSHook must be False in an iteration-based loop, which has no '
                "epochs: set dict(type='OLSHook', by_epoch=False, interval=k), with k the number "
                'of iterations that make one pass over your data.'
            )
        step = runner.epoch if self.by_epoch else runner.iter
        for name, loss in self._losses.items():
            if self._records(loss):
                self._forget_later_records(runner, name, step)
                if step == 0:
                    self._record(runner, name, loss, step)

    def before_train_epoch(self, runner: Any) -> None:
        self._started_epoch = runner.epoch
        self._sums_at_epoch_start = {  # not 0 where a period is longer than an epoch
            f'{path}.{key}': tensor.clone()
            for path, state in self._paths.items()
            for key, tensor in state.so_far().items()
        }

    def after_train_epoch(self, runner: Any) -> None:
        if self.by_epoch and self.every_n_epochs(runner, self.interval):
            self._roll_over(runner, runner.epoch + 1)
        else:
            self._collect_sums()  # CheckpointHook may save in the middle of the period

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._sums_are_complete = False
        if not self.by_epoch and self.every_n_train_iters(runner, self.interval):
            self._roll_over(runner, runner.iter + 1)
        elif _saves_now(runner):
            self._collect_sums()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        self._collect_sums()  # CheckpointHook may save the best model next

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Write the live state; runs on rank 0 alone, so nothing collective can happen here."""
        replayed = self._will_be_replayed(runner, checkpoint)
        if self._losses and not self._sums_are_complete and not replayed and _distributed():
            runner.logger.warning(
                'This checkpoint is written at a time that OLSHook could not foresee: it holds '
                "rank 0's part of the unfinished soft labels only. Resuming from it counts a "
                'part of the samples.'
            )
        if replayed and any(state._has_sums() for state in self._losses.values()):
            runner.logger.info(
                f'Resuming from this checkpoint replays epoch {self._started_epoch + 1} from its '
                'start, so the samples counted in it so far are left out.'
            )
        for path, state in self._paths.items():
            live = {key: getattr(state, key) for key in state.in_use}
            for key, tensor in {**live, **state.so_far()}.items():
                tensor = tensor.detach().to('cpu', copy=True)
                if replayed and key in state.collected:
                    start = self._sums_at_epoch_start.get(f'{path}.{key}')
                    tensor = torch.zeros_like(tensor) if start is None else start.cpu()
                # FlexibleRunner saves the names of DDP's wrapper; loading strips them, and there
                # must not be two of one name then.
                checkpoint['state_dict'].pop(f'module.{path}.{key}', None)
                checkpoint['state_dict'][f'{path}.{key}'] = tensor
                if 'ema_state_dict' in checkpoint:  # from where EMAHook takes it when resuming
                    checkpoint['ema_state_dict'][f'module.{path}.{key}'] = tensor

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """A new training does not inherit the sums of an old one."""
        self.before_run(runner)  # FlexibleRunner loads first
        saved = checkpoint.get('state_dict', checkpoint)
        self._absent = []
        for path, state in self._paths.items():
            name = state_name(path)
            prefixes = [
                f'{path}.',
                f'{name}.' if name else '',
            ]  # earlier checkpoints have the latter
            if not any(prefix + state.in_use[0] in saved for prefix in prefixes):
                self._absent.append(name)
            for key in (prefix + name for prefix in prefixes for name in state.collected):
                if key in saved and not runner._resume:
                    saved[key] = saved[key].new_zeros(saved[key].shape)

    def _will_be_replayed(self, runner: Any, checkpoint: dict[str, Any]) -> bool:
        """Whether resuming starts the epoch again whose samples are in the sums."""
        from mmengine.runner import EpochBasedTrainLoop

        return (
            isinstance(runner.train_loop, EpochBasedTrainLoop)
            and checkpoint['meta']['epoch'] <= self._started_epoch
        )

    def _collect_sums(self) -> None:
        """Bring the sums of all ranks to rank 0, which writes the checkpoints."""
        if _distributed() and not self._sums_are_complete:
            for loss in self._losses.values():
                loss.reduce_sums()
        self._sums_are_complete = True

    def _roll_over(self, runner: Any, step: int) -> None:
        unit = 'epoch' if self.by_epoch else 'iteration'
        self._sums_at_epoch_start.clear()  # they are in the soft labels now
        for name, loss in self._losses.items():
            report = {key: value.item() for key, value in loss.roll_over()._asdict().items()}
            runner.visualizer.add_scalars(
                {f'ols/{name}/{key}': value for key, value in report.items()}, step=step
            )
            if math.isnan(report['correct_share']):
                runner.logger.warning(
                    f'{name} saw no sample of a class since the last roll-over, so its soft labels '
                    'stay as they are. Some heads take a `loss_cls` and never call it (FreeAnchor, '
                    'AutoAssign); else look at the data and the assignment.'
                )
            runner.logger.info(
                f'Soft labels of {name} rolled over at {unit} {step}: '
                f'{report["correct_share"]:.1%} of the samples were classified correctly, '
                f'{report["empty_classes"]:.0f} of {loss.num_classes} classes had none; '
                f'mean confidence {report["confidence"]:.3f}, entropy {report["entropy"]:.3f} nats.'
            )
            if self.draw_interval and step // self.interval % self.draw_interval == 0:
                self._draw(runner, name, loss, step)
            if self._records(loss) and step // self.interval % (self.record_interval or 1) == 0:
                self._record(runner, name, loss, step)
        self._sums_are_complete = True

    def _draw(self, runner: Any, name: str, loss: SoftLabelState, step: int) -> None:
        from mmdet_ols.visualization import draw_soft_labels, matching_names

        metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', {})
        soft_labels = loss.soft_labels
        names = matching_names(soft_labels, metainfo.get('classes'))
        image = draw_soft_labels(soft_labels, names, title=f'{name}, {step}')
        runner.visualizer.add_image(f'soft_labels_{name}', image, step=step)

    def _records(self, loss: SoftLabelState) -> bool:
        """Whether this process keeps the history of a loss."""
        from mmengine.dist import is_main_process

        if self.record_interval is None:
            return is_main_process() and loss.num_columns <= MAX_RECORDED
        return is_main_process() and self.record_interval > 0

    def _record(self, runner: Any, name: str, loss: SoftLabelState, step: int) -> None:
        import numpy as np  # not at the top: without a host, torch is all that the package needs

        folder = Path(runner.work_dir, 'soft_labels', name)
        folder.mkdir(parents=True, exist_ok=True)
        unit = 'epoch' if self.by_epoch else 'iter'
        unfinished = folder / 'unfinished.tmp'  # a reader sees a whole file, or none
        with unfinished.open('wb') as file:
            np.save(file, loss.soft_labels.cpu().numpy())
        unfinished.replace(folder / f'{unit}_{step}.npy')

    @staticmethod
    def _forget_later_records(runner: Any, name: str, step: int) -> None:
        """Remove what a run that this one replaces has left: two histories must not mix."""
        for path in Path(runner.work_dir, 'soft_labels', name).glob('*.npy'):
            match = re.fullmatch(r'(?:epoch|iter)_(\d+)', path.stem)
            if match and int(match[1]) > step:
                path.unlink()


def _saves_now(runner: Any) -> bool:
    """Whether a CheckpointHook saves after this iteration."""
    from mmengine.hooks import CheckpointHook

    return any(
        isinstance(hook, CheckpointHook)
        and not hook.by_epoch
        and (
            hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
            or (hook.save_last and hook.is_last_train_iter(runner))
        )
        for hook in runner.hooks
    )


def _distributed() -> bool:
    from mmengine.dist import get_world_size

    return get_world_size() > 1
