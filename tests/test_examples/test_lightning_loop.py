"""The example of Lightning: values, every kind of checkpoint, accumulation, averaged weights."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
from test_examples.harness import (
    assert_same,
    assert_trained_alike,
    load,
    on_two_processes,
    train_plainly,
)
from torch.testing import assert_close
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from mmdet_ols import OLSLoss

example = load('lightning_loop', 'lightning')
from lightning.pytorch.callbacks import (  # noqa: E402
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)

QUIET = dict(enable_progress_bar=False, enable_model_summary=False, accelerator='cpu')
BFLOAT16 = functools.partial(torch.autocast, 'cpu', torch.bfloat16)


def run(folder, **options):
    """Run the example; a warning of the loss is an error, those of Lightning are not."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.filterwarnings('error', message='.*soft labels')
        return example.main(folder, **{**QUIET, **options})


def load_file(path):
    return torch.load(path, weights_only=False)


@functools.cache
def expected(**options):
    model = example.Classifier().net
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    epoch = DataLoader(example.make_data(), batch_size=32)
    return model, train_plainly(model, 3 * [lambda: epoch], optimizer, **options)


@pytest.mark.parametrize('options', [{}, dict(val_check_interval=0.5)], ids=['', 'val twice'])
def test_it_trains_as_a_loop_over_single_samples(tmp_path, options):
    assert_trained_alike(*run(tmp_path, **options), *expected())


def test_accumulated_gradients(tmp_path):
    assert_trained_alike(
        *run(tmp_path, accumulate_grad_batches=2), *expected(accumulate=2)
    )  # fmt: skip


def test_bfloat16(tmp_path):
    module, criterion = run(tmp_path, precision='bf16-mixed')
    assert criterion.soft_labels.dtype == torch.float32
    assert_trained_alike(module, criterion, *expected(context=BFLOAT16), rtol=0.02)


KINDS = {
    'every epoch': {},
    'after validation': dict(save_on_train_epoch_end=False),
    'of the best': dict(monitor='val_loss'),
    'at the last step': dict(every_n_train_steps=10),
}


@pytest.mark.parametrize('kind', KINDS)
def test_it_resumes_exactly_from_every_epoch(tmp_path, kind):
    checkpoints = ModelCheckpoint(tmp_path / 'kind', save_top_k=-1, **KINDS[kind])
    whole = run(tmp_path / 'whole', callbacks=[checkpoints])
    files = sorted((tmp_path / 'kind').glob('*.ckpt'))
    assert len(files) == 3
    for file in files[:2]:
        (tmp_path / file.stem).mkdir()
        file.rename(tmp_path / file.stem / 'last.ckpt')
        assert_same(run(tmp_path / file.stem, resume=True), whole)


def test_it_resumes_exactly_within_an_epoch(tmp_path, monkeypatch):
    """Lightning begins the data again there; where all batches are equal, that does not show."""
    data = example.make_data()
    same = TensorDataset(
        *(tensor[:32].repeat(10, *[1] * (tensor.dim() - 1)) for tensor in data.tensors)
    )
    monkeypatch.setattr(example, 'make_data', lambda: same)
    whole = run(tmp_path / 'whole')
    part = ModelCheckpoint(tmp_path / 'part', every_n_train_steps=14, save_last=True)
    run(tmp_path / 'part', epochs=2, callbacks=[part])
    saved = load_file(tmp_path / 'part/last.ckpt')
    assert saved['state_dict']['criterion.state.sample_count'].sum() == 4 * 32
    assert_same(run(tmp_path / 'part', resume=True), whole)


def test_averaged_weights(tmp_path):
    """What is in use is next to the average in the file, and is what a resumed run goes on with."""

    def averaged(folder, **options):
        callbacks = [ModelCheckpoint(folder, save_last=True), EMAWeightAveraging(decay=0.9)]
        return run(folder, callbacks=callbacks, **options)

    whole = averaged(tmp_path / 'whole')
    averaged(tmp_path / 'part', epochs=2)
    assert_same(averaged(tmp_path / 'part', resume=True), whole)
    saved = load_file(tmp_path / 'whole/last.ckpt')['current_model_state']
    _, soft_labels = expected()
    assert_close(saved['criterion.state.soft_labels'], soft_labels, rtol=1e-4, atol=1e-5)


def test_stochastic_weight_averaging(tmp_path):
    """With the learning rate that there was, the training itself is as without."""
    _, criterion = run(tmp_path, callbacks=[StochasticWeightAveraging(0.1, swa_epoch_start=1)])
    assert_close(criterion.soft_labels, expected()[1], rtol=1e-4, atol=1e-5)


def test_the_compiled_module(tmp_path, monkeypatch):
    classifier = example.Classifier
    monkeypatch.setattr(
        example, 'Classifier', lambda: torch.compile(classifier(), backend='aot_eager')
    )
    module, criterion = run(tmp_path)
    assert_trained_alike(module, criterion, *expected())


def test_two_processes_are_as_one(tmp_path):
    options = {**QUIET, 'devices': 2, 'batch_size': 16}
    weights, state = on_two_processes('lightning_loop', tmp_path, options)
    model = example.Classifier().net
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    epochs = [functools.partial(shuffled, epoch) for epoch in range(3)]
    soft_labels = train_plainly(model, epochs, optimizer)
    trained, criterion = example.Classifier().net, OLSLoss(5)
    trained.load_state_dict(weights)
    criterion.load_state_dict(state)
    assert_trained_alike(trained, criterion, model, soft_labels)


def shuffled(epoch):
    """The batches in the order that Lightning's sampler for several processes gives them."""
    data = example.make_data()
    sampler = DistributedSampler(data, num_replicas=1, rank=0)
    sampler.set_epoch(epoch)
    return DataLoader(data, batch_size=32, sampler=sampler)


def test_a_checkpoint_holds_what_both_processes_have_counted(tmp_path):
    on_two_processes('lightning_loop', tmp_path, dict(QUIET, devices=2, batch_size=16, max_steps=4))
    saved = load_file(tmp_path / 'last.ckpt')['state_dict']
    assert saved['criterion.state.sample_count'].sum() == 4 * 32
