"""The example of plain PyTorch trains as the paper says, and resumes exactly."""

from __future__ import annotations

import pytest
import torch
from test_examples.harness import (
    EXAMPLES,
    assert_same,
    assert_trained_alike,
    load,
    train_plainly,
)
from torch.utils.data import DataLoader

example = load('plain_loop')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return example.main(tmp_path_factory.mktemp('whole'), epochs=3)


def test_it_trains_as_a_loop_over_single_samples(whole):
    model = example.make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    epoch = DataLoader(example.make_data(), batch_size=32)
    soft_labels = train_plainly(model, 3 * [lambda: epoch], optimizer)
    assert_trained_alike(*whole, model, soft_labels)


def test_it_resumes_exactly(whole, tmp_path):
    example.main(tmp_path, epochs=1)
    assert_same(example.main(tmp_path, epochs=3, resume=True), whole)


@pytest.mark.parametrize('path', sorted(EXAMPLES.glob('*.py')), ids=lambda path: path.stem)
def test_examples_are_short_and_say_what_must_not_be_forgotten(path):
    text = path.read_text('utf-8')
    assert len(text.splitlines()) <= 130
    assert 'Do not forget' in text
