"""Keeps what methods know about each training sample: its size, its checkpoints, its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from mmdet_ols.core import SampleState, state_name, state_paths
from mmdet_ols.core.random_streams import seed_of_run, stream_seed
from mmdet_ols.core.whole_files import whole_file
from mmdet_ols.datasets import CleanPartDataset, NumberedDataset
from mmdet_ols.datasets.tree import walk_datasets
from mmdet_ols.engine.hooks.ema_copies import copy_changed_losses
from mmdet_ols.engine.hooks.epochs import need_epochs
from mmdet_ols.engine.hooks.saved_states import CheckpointWriter, check_order
from mmdet_ols.engine.hooks.train_error_hook import plain_training_data
from mmdet_ols.evaluation.passes import unwrapped
from mmdet_ols.evaluation.sample_passes import measure_samples
from mmdet_ols.losses.sample_loss import SampleLoss
from mmdet_ols.registry import Hook, register_hook

#: What the report reads; see `SampleStateHook`.
OPINIONS = 'label_opinions.npz'


@register_hook
class SampleStateHook(Hook):
    """Serves every `SampleState` of a model: what a method knows about each training sample.

    In a config: `default_hooks = dict(samples=dict(type='SampleStateHook'))`; the training data
    have to be wrapped in `NumberedDataset`. The hook makes room for the samples before the run,
    rolls the states over at the end of each epoch, and puts what they hold into checkpoints, of all
    ranks and also with `EMAHook`. A training that starts from a checkpoint (`load_from`) starts
    without what that one knew; one that is resumed goes on with it. It tells the losses which
    epoch begins, and does the pass over all training images that some of them need at its end.

    After each epoch it writes the method's opinion of every label to `label_opinions.npz` in the
    work directory, which the report reads: `given` (the labels of the training, by the numbers of
    the samples), `label` and `weight` (see `SampleState.opinion`), `true` where the data set knows
    it, and `epoch`.

    Raises:
        ValueError: At the start of a training: the loop counts no epochs, the samples have no
            numbers, the checkpoint to resume from knows other samples, labels or clean samples, a
            pass needs images without augmentation and there is no validation set to take the
            pipeline from, or a `priority` puts an EMAHook after this hook, or a CheckpointHook
            before it.
    """

    # As OLSHook: after EMAHook (NORMAL), which swaps the states in a checkpoint, and before
    # CheckpointHook (VERY_LOW), which is to save what the epoch has taught.
    priority = 'BELOW_NORMAL'

    def __init__(self) -> None:
        super().__init__()
        self._writer = CheckpointWriter()
        self._states: dict[str, SampleState] = {}
        self._dataset: NumberedDataset | None = None
        self._losses: list[SampleLoss] = []
        self._seed = 0  # of the run, the same in all processes
        self._plain: Any = None  # the training data without augmentation, where a pass needs them

    def before_run(self, runner: Any) -> None:
        """Make room for the values of all training samples, before a checkpoint is loaded."""
        self._states = _sample_states(runner.model)
        self._dataset = _numbered_dataset(runner)
        if self._dataset is None:
            return  # a test: the states have as many rows as the checkpoint
        for path, state in self._states.items():
            if state.num_samples != self._dataset.num_samples:
                state.allocate(self._dataset.num_samples)
            if 'given' in state.measured:
                loss = unwrapped(runner.model).get_submodule(state_name(path))
                given = self._dataset.given_labels
                ignored = given == getattr(loss, 'ignored_label', -1)
                state.put(given=given.masked_fill(ignored, -1))
        names = {state_name(path) for path in self._states}
        copy_changed_losses(runner.hooks, unwrapped(runner.model), names)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Compare the checkpoint with the data, or leave out what belongs to another training."""
        saved = checkpoint.get('state_dict', checkpoint)
        dataset = self._dataset or _numbered_dataset(runner)
        if dataset is None:
            return
        if runner._resume:
            _check_clean_part(dataset, checkpoint)
        for path, state in _sample_states(runner.model).items():
            for name in (*state.in_use, *state.collected):
                for key in (f'{path}.{name}', f'module.{path}.{name}'):
                    if key not in saved:
                        continue
                    if not runner._resume:
                        del saved[key]
                    elif name in state.whole:
                        continue
                    elif len(saved[key]) != dataset.num_samples:
                        raise ValueError(
                            f'A training that is resumed must have the samples that it had, but '
                            f'the checkpoint knows {len(saved[key])} samples ({key}) and '
                            f'`train_dataloader` has {dataset.num_samples}: restore the data, or '
                            'start a new training.'
                        )
                    elif name == 'given' and not saved[key].cpu().equal(state.given.cpu()):
                        raise ValueError(
                            'A training that is resumed must have the labels that it had, but '
                            f'those of the checkpoint ({key}) differ from those of '
                            '`train_dataloader`: set the seed and the data to what they were, or '
                            'start a new training.'
                        )

    def before_train(self, runner: Any) -> None:
        """Check that there are epochs and numbers, and prepare the passes over the images."""
        check_order(self, runner.hooks)
        need_epochs(self, runner)
        if self._dataset is None:
            raise ValueError(
                'The training samples must have numbers: set train_dataloader.dataset='
                "dict(type='NumberedDataset', dataset=...), around all other wrappers."
            )
        self._seed = seed_of_run(runner.seed)
        self._losses = [
            module for module in unwrapped(runner.model).modules() if isinstance(module, SampleLoss)
        ]
        if any(loss.has_pass and not loss.augmented for loss in self._losses):
            self._plain = plain_training_data(
                runner,
                'The pass over the training images needs a pipeline without augmentation, but '
                'there is no validation set from which to take one: name a `val_dataloader`, or '
                'set augmented=True in the loss.',
            )

    def before_train_epoch(self, runner: Any) -> None:
        for loss in self._losses:
            loss.begin_epoch(runner.epoch, self._seed)
        self._writer.start_epoch(runner.epoch, self._states)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._writer.count_step()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        self._writer.merge_sums(self._states)  # CheckpointHook may save the best model next

    def after_train_epoch(self, runner: Any) -> None:
        """Put into use what the epoch has taught, and write down what is thought of the labels."""
        for loss in self._losses:
            if loss.wants_pass():
                self._measure(runner, loss)
        for state in dict.fromkeys(self._states.values()):
            state.roll_over()
        self._writer.start_period()
        self._write_opinions(runner)

    def _measure(self, runner: Any, loss: SampleLoss) -> None:
        epoch = runner.epoch + 1
        measured = measure_samples(
            runner.model,
            runner.train_dataloader.dataset if loss.augmented else self._plain,
            runner.train_dataloader,
            loss.measure,
            seed=stream_seed(self._seed, epoch) % 2**32,
        )
        runner.logger.info(f'After epoch {epoch}: {loss.take(measured)}')

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        self._writer.write(runner, checkpoint, self._states)

    def _write_opinions(self, runner: Any) -> None:
        import numpy as np
        from mmengine.dist import is_main_process

        if not is_main_process():
            return
        opinion = opinion_of(unwrapped(runner.model))
        if not opinion:
            return
        assert self._dataset is not None
        given, true = self._dataset.given_labels, self._dataset.true_labels
        values = {key: value.detach().cpu().numpy() for key, value in opinion.items()}
        arrays: dict[str, Any] = dict(values, given=given.numpy(), epoch=runner.epoch + 1)
        if true is not None:
            arrays['true'] = true.numpy()
        with whole_file(Path(runner.work_dir, OPINIONS), 'wb') as file:
            np.savez_compressed(file, **arrays)
        if 'label' in values:
            knows = values['label'] >= 0
            changed = (values['label'] != given.numpy()) & knows
            runner.logger.info(
                f'After epoch {runner.epoch + 1} the method would give {changed.sum()} of '
                f'{knows.sum()} training samples another label.'
            )


def _check_clean_part(dataset: Any, checkpoint: dict[str, Any]) -> None:
    """Refuse to resume a training with another clean part, some of which it has learned from."""
    seed = checkpoint.get('meta', {}).get('seed')
    for node in walk_datasets(dataset):
        if not isinstance(node, CleanPartDataset) or node.has_own_seed:
            continue
        if seed is not None and seed != node.seed:
            raise ValueError(
                'A training that is resumed must have the clean part that it had, which was drawn '
                f'by the seed {seed}, but the seed of this run is {node.seed}: set '
                f'randomness.seed={seed}, or start a new training.'
            )


def opinion_of(model: nn.Module) -> dict[str, Any]:
    """What the first part of a model that has an opinion of the labels thinks of them."""
    for module in model.modules():
        if isinstance(module, SampleState) and (opinion := module.opinion()):
            return opinion
    return {}


def _sample_states(model: Any) -> dict[str, SampleState]:
    paths = state_paths(unwrapped(model))
    return {path: state for path, state in paths.items() if isinstance(state, SampleState)}


def _numbered_dataset(runner: Any) -> NumberedDataset | None:
    """The data set that numbers the training samples; None without a training, or numbers."""
    from mmengine.runner import BaseLoop

    if not isinstance(runner._train_loop, BaseLoop):
        return None
    for dataset in walk_datasets(runner.train_dataloader.dataset):
        if isinstance(dataset, NumberedDataset):
            return dataset
    return None
