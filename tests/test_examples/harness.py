"""What the examples are held against: a loop that is written separately, sample by sample."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

EXAMPLES = Path(__file__).resolve().parents[2] / 'examples'
CLASSES = 5
STATE = ('soft_labels', 'prob_sum', 'correct_count', 'sample_count')


def load(name: str, *packages: str) -> Any:
    """Import an example, or skip the module that asks if one of its packages is missing."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f'needs {package}: see `make test-loops`', allow_module_level=True)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train_plainly(
    model: nn.Module,
    batches: list[Callable[[], list[tuple[Any, Tensor]]]],
    optimizer: torch.optim.Optimizer,
    scores: Callable[[nn.Module, Any], Tensor] = lambda model, inputs: model(inputs),
    accumulate: int = 1,
    before_step: Callable[[], object] = lambda: None,
    context: Callable[[], Any] = contextlib.nullcontext,
) -> Tensor:
    """Train with OLS as the paper has it, for a batch of class indices or of rows.

    Args:
        model: Trained in place.
        batches: Of each epoch, a function that makes its batches.
        optimizer: Of the model.
        scores: The model's logits.
        accumulate: Batches of equal size whose mean makes one step.
        before_step: Called with the gradients in place.
        context: What the forward pass runs in.

    Returns:
        The soft labels after the last epoch.
    """
    soft_labels = torch.full((CLASSES, CLASSES), 1 / CLASSES)
    model.train()
    for epoch in batches:
        sums = torch.zeros(CLASSES, CLASSES)
        for number, (inputs, labels) in enumerate(epoch(), 1):
            rows = labels if labels.dim() == 2 else F.one_hot(labels, CLASSES).float()
            with context():
                logits = scores(model, inputs)
            logits = logits.to(soft_labels.dtype)  # from that of the context
            target = 0.5 * rows + 0.5 * rows @ soft_labels
            (F.cross_entropy(logits, target) / accumulate).backward()
            if number % accumulate == 0:
                before_step()
                optimizer.step()
                optimizer.zero_grad()
            for row, score in zip(rows, logits.detach()):
                label = int(row.argmax())
                if row[label] >= 0.8 and score.argmax() == label:
                    sums[label] += score.softmax(0)
        for label in range(CLASSES):
            if sums[label].sum() > 0:
                soft_labels[label] = sums[label] / sums[label].sum()
    return soft_labels


def assert_trained_alike(
    model: nn.Module, criterion: nn.Module, expected: nn.Module, soft_labels: Tensor, rtol=1e-4
) -> None:
    """Compare weights and soft labels; the rounding of each step goes into all that follow."""
    assert (soft_labels - 1 / CLASSES).abs().max() > 0.05, 'nothing was learned'
    assert_close(criterion.soft_labels, soft_labels.float(), rtol=rtol, atol=1e-5)
    theirs = dict(expected.named_parameters())
    for name, weight in model.named_parameters():
        assert_close(weight, theirs[name], rtol=rtol, atol=1e-5)


def assert_same(actual: tuple[nn.Module, nn.Module], expected: tuple[nn.Module, nn.Module]) -> None:
    """Compare two runs of one example bit by bit."""
    for one, other in zip(actual, expected):
        saved = other.state_dict()
        for name, tensor in one.state_dict().items():
            assert_close(tensor, saved[name], rtol=0, atol=0, msg=f'{name} differs')
    for name in STATE:
        assert_close(getattr(actual[1], name), getattr(expected[1], name), rtol=0, atol=0)


def on_two_processes(
    example: str, folder: Path, *runs: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run an example on two processes (gloo, on the CPU), once with each of the options.

    Returns:
        The state dicts of the model and of the criterion after the last run.
    """
    command = [
        sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2',
        '--rdzv-backend', 'c10d', '--rdzv-endpoint', 'localhost:0',
        str(Path(__file__).with_name('on_two_processes.py')), str(folder), example,
        json.dumps(runs),
    ]  # fmt: skip
    path = [str(EXAMPLES.parent), *filter(None, [os.environ.get('PYTHONPATH')])]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    return torch.load(folder / 'result.pth')


def assert_as_on_one_process(
    states: tuple[dict[str, Tensor], dict[str, Tensor]], whole: tuple[nn.Module, nn.Module]
) -> None:
    """Compare what two processes with half of each batch came to with one process."""
    for saved, module in zip(states, whole):
        expected = module.state_dict()
        assert saved.keys() == expected.keys()
        for name, tensor in saved.items():
            assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5, msg=f'{name} differs')
