"""Online Label Smoothing in a loop with timm's mixup, CutMix and averaged weights.

    python examples/timm_loop.py [--epochs 3] [--folder ...] [--resume]

Do not forget two things: `label_smoothing=0` in `Mixup`, which smooths by 0.1 otherwise, on top of
OLS; and the criterion in the checkpoint, since timm's `CheckpointSaver` saves the model only.

What OLS means here: a mixed label, 70 % class 3 and 30 % class 4, is learned from as 70 % of class
3's target and 30 % of class 4's. It teaches the soft label of its larger class only if that class
holds at least 80 % of it (`soft_row_threshold`), so that soft labels are made of clear samples.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm.data import Mixup
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mmdet_ols import OLSLoss

CLASSES = 5


def make_data() -> TensorDataset:
    """160 made images of 5 classes, in random order already. Your own data set goes here."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, 3, 16, 16, generator=generator)
    labels = torch.randint(CLASSES, (160,), generator=generator)
    images = centres[labels] + torch.randn(160, 3, 16, 16, generator=generator)
    return TensorDataset(images, labels)


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model('test_resnet', num_classes=CLASSES)


def main(folder: Path, epochs: int = 3, resume: bool = False) -> tuple[nn.Module, OLSLoss]:
    """Train up to `epochs`, with a checkpoint after each."""
    model, criterion = make_model(), OLSLoss(num_classes=CLASSES)
    average = ModelEmaV3(model, decay=0.9)
    mixup = Mixup(mixup_alpha=0.2, cutmix_alpha=1.0, label_smoothing=0, num_classes=CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = DataLoader(make_data(), batch_size=16)
    # The criterion stays outside of the model: the average of soft labels means nothing.
    parts: dict[str, Any] = dict(
        model=model, average=average, criterion=criterion, optimizer=optimizer
    )
    checkpoint, first = folder / 'last.pth', 0
    if resume:
        saved = torch.load(checkpoint)
        first = saved.pop('epoch')
        for name, state in saved.items():
            parts[name].load_state_dict(state)
    for epoch in range(first, epochs):
        np.random.seed(epoch)  # mixup draws from NumPy: a resumed run has to draw the same
        model.train()
        criterion.train()
        for images, labels in loader:
            images, targets = mixup(images, labels)  # (N, CLASSES) rows
            loss = criterion(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(model)
        report = criterion.update_soft_labels()
        model.eval()
        criterion.eval()  # validation must not teach; it would go here, with `average.module`
        print(f'epoch {epoch + 1}: {report.correct_share:.1%} of the clear samples were correct')
        states = {name: part.state_dict() for name, part in parts.items()}
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(dict(states, epoch=epoch + 1), checkpoint)
    return model, criterion


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--folder', type=Path, default=Path('work_dirs/timm_loop'))
    parser.add_argument('--resume', action='store_true')
    _, trained = main(**vars(parser.parse_args()))
    print(f'The soft labels, in per cent:\n{(100 * trained.soft_labels).round()}')
