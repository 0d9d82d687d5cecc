"""The example of Accelerate: values, resuming within an epoch, accumulation, half precision."""

from __future__ import annotations

import functools

import pytest
import torch
from test_examples.harness import (
    assert_as_on_one_process,
    assert_same,
    assert_trained_alike,
    load,
    on_two_processes,
    train_plainly,
)
from torch.utils.data import DataLoader

example = load('accelerate_loop', 'accelerate')
from accelerate.state import AcceleratorState  # noqa: E402

BFLOAT16 = functools.partial(torch.autocast, 'cpu', torch.bfloat16)


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Its settings are the process's otherwise."""
    AcceleratorState._reset_state(reset_partial_state=True)


@functools.cache
def expected(**options):
    model = example.make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    epoch = DataLoader(example.make_data(), batch_size=32)
    return model, train_plainly(model, 3 * [lambda: epoch], optimizer, **options)


def test_it_trains_as_a_loop_over_single_samples(tmp_path):
    assert_trained_alike(*example.main(tmp_path), *expected())


def test_accumulated_gradients(tmp_path):
    run = example.main(tmp_path, gradient_accumulation_steps=2)
    assert_trained_alike(*run, *expected(accumulate=2))


def test_bfloat16(tmp_path):
    run = example.main(tmp_path, mixed_precision='bf16')
    assert run[1].soft_labels.dtype == torch.float32
    assert_trained_alike(*run, *expected(context=BFLOAT16), rtol=0.02)


@pytest.mark.parametrize('stop_after', [4, 10, 16])
@pytest.mark.parametrize(
    'options', [{}, dict(mixed_precision='bf16', gradient_accumulation_steps=2)], ids=['', 'bf16']
)
def test_it_resumes_exactly_within_an_epoch(tmp_path, stop_after, options):
    whole = example.main(tmp_path / 'whole', **options)
    AcceleratorState._reset_state(reset_partial_state=True)
    example.main(tmp_path / 'part', stop_after=stop_after, **options)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert_same(example.main(tmp_path / 'part', resume=True, **options), whole)


def test_two_processes_are_as_one_also_resumed_within_an_epoch(tmp_path):
    states = on_two_processes(
        'accelerate_loop', tmp_path / 'two', dict(stop_after=14), dict(resume=True)
    )
    assert_as_on_one_process(states, example.main(tmp_path / 'one'))
