"""What the paper claims for noisy labels (Sec. V-B), on a data set of seconds."""

from __future__ import annotations

import statistics

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from mmdet_ols import OLSLoss

SEEDS = (0, 1, 2)


@pytest.fixture
def one_thread():
    """The figures below depend on how sums are split; and the matrices are too small to share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noisy_split(seed):
    """1,000 training samples, exactly 400 of them with one of the 9 wrong labels; 797 to test."""
    digits = load_digits()
    images = torch.tensor(digits.data / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    generator = torch.Generator().manual_seed(seed)
    train, test = torch.randperm(len(labels), generator=generator).split([1000, 797])
    noisy = labels[train].clone()
    flipped = torch.randperm(1000, generator=generator)[:400]
    noisy[flipped] = (noisy[flipped] + torch.randint(1, 10, (400,), generator=generator)) % 10
    assert (noisy != labels[train]).sum() == 400
    return images[train], noisy, images[test], labels[test]


def clean_error(criterion, seed, after_epoch=lambda: None):
    """Error (%) on the clean test set after the last epoch."""
    images, labels, test_images, test_labels = noisy_split(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(100):
        for batch in torch.randperm(1000).split(100):
            optimizer.zero_grad()
            criterion(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        after_epoch()
    with torch.no_grad():
        wrong = model(test_images).argmax(1) != test_labels
    return 100 * wrong.double().mean().item()


@pytest.mark.slow
def test_ols_overfits_less_to_wrong_labels(one_thread):
    # Seen with seeds 0, 1, 2 (torch 2.11, CPU): hard label 32.1, 30.0, 33.8, mean 32.0;
    # OLS 29.7, 27.7, 33.4, mean 30.3. The same settings for both, none of them searched for.
    hard = [clean_error(F.cross_entropy, seed) for seed in SEEDS]
    ols = []
    for seed in SEEDS:
        criterion = OLSLoss(num_classes=10)
        ols.append(clean_error(criterion, seed, criterion.update_soft_labels))
    assert statistics.mean(ols) < statistics.mean(hard), (hard, ols)
