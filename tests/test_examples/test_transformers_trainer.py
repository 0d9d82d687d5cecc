"""The example of Transformers: values, checkpoints, accumulation, half precision, compiling."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from test_examples.harness import (
    assert_as_on_one_process,
    assert_same,
    assert_trained_alike,
    load,
    on_two_processes,
    train_plainly,
)
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, IterableDataset

from mmdet_ols import OLSLoss

example = load('transformers_trainer', 'transformers', 'accelerate')
from transformers import BertForSequenceClassification  # noqa: E402

BFLOAT16 = functools.partial(torch.autocast, 'cpu', torch.bfloat16)
#: Steps that a loop of a few lines can repeat.
SIMPLE = dict(
    optim='sgd', learning_rate=0.3, lr_scheduler_type='constant', disable_tqdm=True,
    train_sampling_strategy='sequential',
)  # fmt: skip


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')


@functools.cache
def expected(epochs=3, **options):
    model = example.make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    loader = DataLoader(example.MadeText(), batch_size=32)
    epoch = [(batch['input_ids'], batch['labels']) for batch in loader]
    soft_labels = train_plainly(
        model,
        epochs * [lambda: epoch],
        optimizer,
        scores=lambda model, words: model(input_ids=words).logits,
        before_step=lambda: nn.utils.clip_grad_norm_(model.parameters(), 1.0),
        **options,
    )
    return model, soft_labels


def run(folder, **options):
    return example.main(folder, **{**SIMPLE, **options})


@pytest.mark.filterwarnings('error:.*soft labels')
@pytest.mark.parametrize(
    'options', [{}, dict(eval_strategy='steps', eval_steps=4)], ids=['', 'evaluated']
)
def test_it_trains_as_a_loop_over_single_samples(tmp_path, options):
    assert_trained_alike(*run(tmp_path, **options), *expected())


def test_accumulated_gradients(tmp_path):
    accumulated = run(tmp_path, epochs=6, gradient_accumulation_steps=2)
    assert_trained_alike(*accumulated, *expected(epochs=6, accumulate=2))


def test_bfloat16(tmp_path):
    model, criterion = run(tmp_path, bf16=True)
    assert criterion.soft_labels.dtype == torch.float32
    assert_trained_alike(model, criterion, *expected(context=BFLOAT16), rtol=0.05)


def test_the_compiled_model(tmp_path):
    compiled = run(tmp_path, torch_compile=True, torch_compile_backend='aot_eager')
    assert_trained_alike(*compiled, *expected(), rtol=1e-3)


@pytest.mark.parametrize('steps', [10, 14])
def test_it_resumes_exactly(tmp_path, steps):
    """At the last step of an epoch and within one; with AdamW, a schedule and random order."""
    options = dict(save_strategy='steps', save_steps=steps, disable_tqdm=True)
    whole = example.main(tmp_path, **options)
    checkpoint = str(tmp_path / f'checkpoint-{steps}')
    assert_same(example.main(tmp_path, resume=checkpoint, **options), whole)


def test_a_stream_is_refused_as_its_epochs_have_no_end(tmp_path, monkeypatch):
    class Stream(IterableDataset):
        def __iter__(self):
            return (text[i] for i in range(64))

    text = example.MadeText()
    monkeypatch.setattr(example, 'MadeText', Stream)
    with pytest.raises(ValueError, match='must have a length.* every so many steps'):
        run(tmp_path, max_steps=4, save_strategy='no')


def test_the_best_model_comes_with_its_soft_labels(tmp_path):
    options = dict(load_best_model_at_end=True, eval_strategy='epoch', save_total_limit=1)
    model, criterion = run(tmp_path, **options)
    assert_trained_alike(model, criterion, *expected())


class Classifier(BertForSequenceClassification):
    """Makes its loss itself, on the meta device where it is loaded."""

    def __init__(self, config):
        super().__init__(config)
        self.criterion = OLSLoss(config.num_labels, class_weight=[1.0, 2, 3, 4, 5])
        self.post_init()


@pytest.mark.filterwarnings('error:.*soft labels')
def test_loaded_from_a_model_that_was_trained_without_the_loss(tmp_path):
    BertForSequenceClassification(example.make_model().config).save_pretrained(tmp_path)
    loaded, fresh = Classifier.from_pretrained(tmp_path).criterion, OLSLoss(5)
    for name, tensor in fresh.state_dict().items():
        assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)
    logits, label = torch.randn(6, 5), torch.arange(6) % 5
    target = 0.5 * F.one_hot(label) + 0.5 / 5
    weights = torch.tensor([1.0, 2, 3, 4, 5])
    expected = F.cross_entropy(logits, target, weights, reduction='none').mean()
    assert_close(loaded.train()(logits, label), expected)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_saved_and_loaded(tmp_path, dtype):
    """The soft labels stay in float32 whatever the model is loaded as."""
    model = Classifier(example.make_model().config).train()
    batch = DataLoader(example.MadeText(), batch_size=64)
    for number, inputs in zip(range(2), batch):
        logits = model(input_ids=inputs['input_ids']).logits
        model.criterion(logits, logits.argmax(1))
        if number == 0:
            model.criterion.update_soft_labels()
    model.save_pretrained(tmp_path)
    loaded = Classifier.from_pretrained(tmp_path, dtype=dtype)
    assert next(loaded.bert.parameters()).dtype == dtype
    assert model.criterion.sample_count.sum() == 64
    for name, tensor in model.criterion.state_dict().items():
        assert_close(loaded.criterion.state_dict()[name], tensor, rtol=0, atol=0)


def test_two_processes_are_as_one_also_resumed_within_an_epoch(tmp_path):
    options = dict(
        SIMPLE, per_device_train_batch_size=16, save_strategy='steps', save_steps=14,
    )  # fmt: skip
    states = on_two_processes(
        'transformers_trainer',
        tmp_path / 'two',
        dict(options, max_steps=14),
        dict(options, resume=True),
    )
    assert_as_on_one_process(states, run(tmp_path / 'one'))
