"""Two ranks with the parts of a batch do what one process does with the whole."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from toy_self_distillation import batch, build, step_of_rank

pytestmark = pytest.mark.dist


@pytest.mark.parametrize(
    ('method', 'views', 'epoch'),
    [
        ('byot:distillation=0.3,feature_weight=0.1,start_epoch=0+ols', 1, None),
        ('byot', 1, 0),  # the early exits have no loss yet, but DDP expects their gradients
        ('ddgsd', 2, None),
        ('tfkd_self', 1, None),
    ],
)
def test_gradients_and_soft_labels_are_those_of_one_process(
    two_ranks, tmp_path, method, views, epoch
):
    teacher = None
    if method == 'tfkd_self':
        teacher = tmp_path / 'teacher.pth'
        trained = build('hard')
        with torch.no_grad():
            trained.head.fc.weight.mul_(-1)
        torch.save(trained.state_dict(), teacher)
    inputs, samples, _ = batch(4, views=views)

    def part(indices):
        chosen = [view * 4 + index for view in range(views) for index in indices]
        return inputs[chosen], [samples[index].clone() for index in chosen]

    expected, sums = step_of_rank(part(range(4)), method, teacher, epoch)
    parts = [part((0, 1)), part((2, 3))]
    for gradients, merged in two_ranks(
        step_of_rank, parts, method=method, teacher=teacher, epoch=epoch
    ):
        assert_close(gradients, expected, rtol=1e-4, atol=1e-6)
        assert_close(merged, sums)
