"""Online Label Smoothing in a loop of plain PyTorch, with checkpoints that resume exactly.

    python examples/plain_loop.py [--epochs 3] [--folder work_dirs/plain_loop] [--resume]

Do not forget two things: `update_soft_labels()` after every epoch, and the criterion's own state
dict in the checkpoint. Without the first the soft labels stay uniform; without the second a resumed
run starts from uniform ones again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
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
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, CLASSES))


def main(folder: Path, epochs: int = 3, resume: bool = False) -> tuple[nn.Module, OLSLoss]:
    """Train up to `epochs`, with a checkpoint after each."""
    model, criterion = make_model(), OLSLoss(num_classes=CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(make_data(), batch_size=32)
    parts: dict[str, Any] = dict(model=model, criterion=criterion, optimizer=optimizer)
    checkpoint, first = folder / 'last.pth', 0
    if resume:
        saved = torch.load(checkpoint)
        first = saved.pop('epoch')
        for name, state in saved.items():
            parts[name].load_state_dict(state)
    for epoch in range(first, epochs):
        model.train()
        criterion.train()
        for samples, labels in loader:
            loss = criterion(model(samples), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        report = criterion.update_soft_labels()
        model.eval()
        criterion.eval()  # validation must not teach; it would go here
        print(f'epoch {epoch + 1}: {report.correct_share:.1%} of the samples were correct')
        states = {name: part.state_dict() for name, part in parts.items()}
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(dict(states, epoch=epoch + 1), checkpoint)
    return model, criterion


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--folder', type=Path, default=Path('work_dirs/plain_loop'))
    parser.add_argument('--resume', action='store_true')
    _, trained = main(**vars(parser.parse_args()))
    print(f'The soft labels, in per cent:\n{(100 * trained.soft_labels).round()}')
