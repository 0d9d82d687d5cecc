"""Online Label Smoothing with Hugging Face's Accelerate, with checkpoints that resume exactly.

    accelerate launch examples/accelerate_loop.py [--epochs 3] [--folder ...] [--resume]

Do not forget two things: `register_for_checkpointing(criterion)`, since `save_state` knows only
what it was told of, and `reduce_sums()` on every process before a checkpoint within an epoch.
The criterion has no parameters, so it is not given to `prepare`, but moved to the device by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mmdet_ols import OLSLoss

CLASSES = 5


def make_data() -> TensorDataset:
    """320 made samples of 5 classes, in random order already. Your own data set goes here."""
    generator = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(CLASSES, 16, generator=generator)
    labels = torch.randint(CLASSES, (320,), generator=generator)
    return TensorDataset(centres[labels] + 2 * torch.randn(320, 16, generator=generator), labels)


def make_model() -> nn.Module:
    set_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, CLASSES))


class Progress:
    """Where the training stands, saved with the rest."""

    def __init__(self) -> None:
        self.epoch = self.batch = 0

    def state_dict(self) -> dict[str, int]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, int]) -> None:
        vars(self).update(state)


def main(
    folder: Path,
    epochs: int = 3,
    resume: bool = False,
    save_every: int = 4,
    stop_after: int | None = None,
    **options: object,
) -> tuple[nn.Module, OLSLoss]:
    """Train up to `epochs`, with a checkpoint every `save_every` batches and after each epoch.

    Args:
        folder: Where the checkpoint lies.
        epochs: When to end.
        resume: Whether to go on from the checkpoint.
        save_every: Batches between two checkpoints, a multiple of the accumulation steps.
        stop_after: Batches of this call, for the tests: ends there as if it was interrupted.
        options: Of the `Accelerator`, as `mixed_precision='bf16'`.
    """
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), **options)
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(make_data(), batch_size=32 // accelerator.num_processes)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    criterion, progress = OLSLoss(num_classes=CLASSES).to(accelerator.device), Progress()
    accelerator.register_for_checkpointing(criterion, progress)
    if resume:
        accelerator.load_state(str(folder))
    seen = 0
    while progress.epoch < epochs:
        model.train()
        criterion.train()
        rest = accelerator.skip_first_batches(loader, progress.batch) if progress.batch else loader
        for samples, labels in rest:
            with accelerator.accumulate(model):
                accelerator.backward(criterion(model(samples), labels))
                optimizer.step()
                optimizer.zero_grad()
            progress.batch += 1
            if progress.batch % save_every == 0 and progress.batch < len(loader):
                criterion.reduce_sums()  # or the file holds what the main process has seen
                accelerator.save_state(str(folder))
            seen += 1
            if seen == stop_after:
                return accelerator.unwrap_model(model), criterion
        report = criterion.update_soft_labels()  # sums over all processes
        accelerator.print(f'epoch {progress.epoch + 1}: {report.correct_share:.1%} were correct')
        progress.epoch, progress.batch = progress.epoch + 1, 0
        accelerator.save_state(str(folder))
    return accelerator.unwrap_model(model), criterion


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--folder', type=Path, default=Path('work_dirs/accelerate_loop'))
    parser.add_argument('--resume', action='store_true')
    _, trained = main(**vars(parser.parse_args()))
    print(f'The soft labels, in per cent:\n{(100 * trained.soft_labels).round()}')
