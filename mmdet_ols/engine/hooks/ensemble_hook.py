"""The error of ensembles of one training's checkpoints, as in the paper's Table III."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmdet_ols.evaluation.descriptions import MetricDescription
from mmdet_ols.evaluation.passes import (
    evaluation_mode,
    ground_truth_labels,
    indexed_batches,
    refuse_test_time_augmentation,
)
from mmdet_ols.registry import Hook, register_hook


@register_hook
class EnsembleHook(Hook):
    """Tests ensembles of n checkpoints that are evenly spaced over a training.

    An ensemble averages the probabilities of `epoch_{N * j / n}.pth`, j = 1 ... n, where N is the
    length of the training. Each checkpoint is evaluated once, after the test loop and with its data
    loader, and the weights under test are restored. With EMA the averaged weights are used, as in
    the test of a checkpoint.

    Logs for each size, in per cent and together with the metrics, `ensemble/top1_error_SIZE`.

    Args:
        sizes: Numbers of checkpoints; each must divide the length of the training.
        max_epochs: Length of the training; None takes it from the config (`train_cfg`).
        folder: Folder of the checkpoints; None is that of the one under test or, after a training,
            the work directory.

    Raises:
        ValueError: A size is not a positive integer or does not divide the length, the length is
            not known, or the test has test-time augmentation.
        FileNotFoundError: Checkpoints are missing; raised before the test starts.
    """

    priority = 'HIGHEST'  # before RuntimeInfoHook (VERY_HIGH), which hands the metrics to the log
    logged_metrics = (
        MetricDescription(
            r'ensemble/top1_error_(?P<size>\d+)',
            'ensemble top-1 error {size}',
            '%',
            lower_is_better=True,
        ),
    )

    def __init__(
        self,
        sizes: Sequence[int] = (6, 10, 15, 20),
        max_epochs: int | None = None,
        folder: str | None = None,
    ) -> None:
        super().__init__()
        if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(f'`sizes` must be positive integers, but got {sizes!r}.')
        self.sizes = sizes
        self.max_epochs = max_epochs
        self.folder = folder

    def before_train(self, runner: Any) -> None:
        """Warn where the training will not leave the checkpoints that a test needs."""
        length = getattr(runner.train_loop, 'max_epochs', None)
        if self.folder or length is None or length != (self.max_epochs or length):
            return  # those of another training
        needed = {length * number // size for size in self.sizes for number in range(1, size + 1)}
        indivisible = [size for size in self.sizes if length % size]
        if indivisible or not _keeps(runner.hooks, sorted(needed), length):
            runner.logger.warning(
                'EnsembleHook will not be able to test ensembles of '
                f'{", ".join(map(str, self.sizes))} checkpoints of this training: each size must '
                f"divide its {length} epochs, and dict(type='CheckpointHook', interval="
                f'{math.gcd(*needed)}, max_keep_ckpts=-1) must keep them. Change `sizes` or the '
                'CheckpointHook, or leave EnsembleHook out.'
            )

    def before_test(self, runner: Any) -> None:
        """Look for the checkpoints now, so that a missing one does not waste a test."""
        refuse_test_time_augmentation(runner.model, 'EnsembleHook')
        self._checkpoints(runner)

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Evaluate the checkpoints, and add the errors of the ensembles to the metrics."""
        from mmengine.dist import all_reduce
        from mmengine.runner import autocast

        sums = dict.fromkeys(self.sizes, torch.zeros(()))
        label = torch.zeros(())
        with evaluation_mode(runner.model) as model:
            before = {key: value.clone() for key, value in model.state_dict().items()}
            try:
                for epoch, (path, sizes) in self._checkpoints(runner).items():
                    _load(model, path)
                    with autocast(enabled=getattr(runner.test_loop, 'fp16', False)):
                        scores, label = _evaluate(model, runner.test_dataloader, f'Epoch {epoch}')
                    for size in sizes:
                        sums[size] = sums[size] + scores
            finally:
                model.load_state_dict(before)
        for size, scores in sums.items():
            counts = torch.tensor([int((scores.argmax(dim=1) != label).sum()), len(label)])
            all_reduce(counts)
            if metrics is not None:
                metrics[f'ensemble/top1_error_{size}'] = 100 * int(counts[0]) / int(counts[1])

    def _checkpoints(self, runner: Any) -> dict[int, tuple[Path, list[int]]]:
        """The file of each epoch, and the sizes of the ensembles that it belongs to."""
        length = self.max_epochs or (runner.cfg.get('train_cfg') or {}).get('max_epochs')
        if not length:
            raise ValueError(
                '`max_epochs` of EnsembleHook must be given, since the config has no '
                '`train_cfg.max_epochs`.'
            )
        indivisible = [size for size in self.sizes if length % size]
        if indivisible:
            raise ValueError(
                f'`sizes` of EnsembleHook must divide the length of the training, {length} epochs, '
                f'but got {indivisible}.'
            )
        trained_here = not isinstance(runner._train_loop, (dict, type(None)))
        tested = None if trained_here else runner._load_from
        folder = Path(self.folder or (Path(tested).parent if tested else runner.work_dir))
        sizes: dict[int, list[int]] = {}
        for size in self.sizes:
            for number in range(1, size + 1):
                sizes.setdefault(length * number // size, []).append(size)
        files = {epoch: (folder / f'epoch_{epoch}.pth', sizes[epoch]) for epoch in sorted(sizes)}
        missing = [path.name for path, _ in files.values() if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f'EnsembleHook needs {", ".join(missing)} in {folder}. Train with '
                f"dict(type='CheckpointHook', interval={math.gcd(*files)}, max_keep_ckpts=-1), "
                'name the `folder` that holds them, or take fewer `sizes`.'
            )
        return files


def _keeps(hooks: Sequence[Any], epochs: Sequence[int], length: int) -> bool:
    """Whether a CheckpointHook keeps the checkpoints of these epochs."""
    from mmengine.hooks import CheckpointHook

    for hook in hooks:
        if isinstance(hook, CheckpointHook) and hook.by_epoch and hook.interval > 0:
            saved = [
                e for e in epochs if e % hook.interval == 0 or (e == length and hook.save_last)
            ]
            total = length // hook.interval
            if saved == list(epochs) and (hook.max_keep_ckpts < 0 or hook.max_keep_ckpts >= total):
                return True
    return False


def _load(model: Any, path: Path) -> None:
    """Give a model the weights of a checkpoint, which may hold more, such as soft labels.

    Raises:
        ValueError: The checkpoint lacks weights of the model.
    """
    from mmengine.runner.checkpoint import CheckpointLoader

    checkpoint = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    state = checkpoint.get('state_dict', checkpoint)
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    missing = model.load_state_dict(state, strict=False).missing_keys
    if missing:
        raise ValueError(
            f'EnsembleHook needs checkpoints of the network under test, but {path} lacks '
            f'{", ".join(missing[:3])}: test it with the config of its own training.'
        )


@torch.no_grad()
def _evaluate(model: Any, loader: Any, description: str) -> tuple[Tensor, Tensor]:
    """Probabilities (n, classes) and labels (n,) of this process's part of the data set."""
    scores, labels = [], []
    for batch, index in indexed_batches(loader, description):
        keep = index < len(loader.dataset)
        samples = model.test_step(batch)
        scores.append(torch.stack([sample.pred_score for sample in samples]).double().cpu()[keep])
        labels.append(ground_truth_labels(samples).cpu()[keep])
    return torch.cat(scores), torch.cat(labels)
