"""Online Label Smoothing in a LightningModule, with checkpoints that resume exactly.

    python examples/lightning_loop.py [--epochs 3] [--folder ...] [--resume]

Do not forget two things: the criterion is an attribute of the module, so that checkpoints hold its
soft labels and Lightning switches it to `eval()` for validation, and `on_save_checkpoint` merges
what the processes have counted. Neither needs a callback.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mmdet_ols import OLSLoss

CLASSES = 5


def make_data() -> TensorDataset:
    """320 made samples of 5 classes, in random order already. Your own data set goes here."""
    generator = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(CLASSES, 16, generator=generator)
    labels = torch.randint(CLASSES, (320,), generator=generator)
    return TensorDataset(centres[labels] + 2 * torch.randn(320, 16, generator=generator), labels)


class Classifier(L.LightningModule):
    """A small network that learns from its online soft labels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, CLASSES))
        self.criterion = OLSLoss(num_classes=CLASSES)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        samples, labels = batch
        return self.criterion(self.net(samples), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        samples, labels = batch
        self.log('val_loss', self.criterion(self.net(samples), labels), sync_dist=True)

    def on_after_backward(self) -> None:
        # `on_train_epoch_end` does as well, unless a checkpoint is written at an epoch's last step
        # (`every_n_train_steps`): it would come later, and a resumed run would leave it out.
        if self.trainer.is_last_batch:
            self.criterion.update_soft_labels()  # sums over all processes

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Called by every process, and the checkpoint's entries are the buffers themselves.
        self.criterion.reduce_sums()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def main(
    folder: Path, epochs: int = 3, resume: bool = False, batch_size: int = 32, **options: Any
) -> tuple[nn.Module, OLSLoss]:
    """Train up to `epochs`; `options` are those of the `Trainer`."""
    model = Classifier()
    options.setdefault('callbacks', ModelCheckpoint(folder, save_last=True))
    trainer = L.Trainer(max_epochs=epochs, default_root_dir=folder, logger=False, **options)
    train, validate = (DataLoader(make_data(), batch_size=batch_size) for _ in range(2))
    trainer.fit(model, train, validate, ckpt_path='last' if resume else None)
    return model.net, model.criterion


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--folder', type=Path, default=Path('work_dirs/lightning_loop'))
    parser.add_argument('--resume', action='store_true')
    _, trained = main(**vars(parser.parse_args()))
    print(f'The soft labels, in per cent:\n{(100 * trained.soft_labels).round()}')
