"""Methods that know their samples in MMEngine's runner: passes, opinions, checkpoints, resuming."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.runner import load_checkpoint
from test_losses.test_sample_losses import cross_entropy, softmax
from torch.testing import assert_close
from toy_images import CLASSES, image_tensor, make_images, normalised, score_by_hand
from toy_sample_methods import COUNT, method_config, noisy, train

from mmdet_ols.core.random_streams import stream_seed
from mmdet_ols.engine.hooks.sample_state_hook import OPINIONS, SampleStateHook

METHODS = [
    'pencil:label_lr=2000,correct_from=0',
    'deep_self_learning:start=1,augmented=True,prototypes=2',
    'm_correction:start=1',
    'm_correction:start=1,bootstrapping=soft,wrong_by=epoch,augmented=False',
]


def plain_config(method, epochs=4):
    """Images that are loaded one by one."""
    cfg = method_config(method, epochs, wrap=noisy)
    cfg.train_dataloader.collate_fn = dict(type='pseudo_collate')
    return cfg


def same(actual, expected):
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert_close(actual[key], value, rtol=0, atol=0, msg=key)


@pytest.mark.parametrize('method', METHODS)
def test_a_resumed_training_equals_the_uninterrupted_one(tmp_path, method):
    cfg = method_config(method)
    runner, whole = train(tmp_path / 'whole', cfg)
    saved = tmp_path / 'whole' / 'epoch_2.pth'
    _, resumed = train(tmp_path / 'resumed', cfg, resume=True, load_from=str(saved))
    assert list(resumed) == [3, 4]
    for epoch, state in resumed.items():
        same(state, whole[epoch])
    same(torch.load(tmp_path / 'whole' / 'epoch_4.pth', weights_only=False)['state_dict'], whole[4])
    # Something was learned about the samples, and is what the report will read.
    opinion = runner.model.head.loss_module.state.opinion()
    written = np.load(tmp_path / 'resumed' / OPINIONS)
    assert written['epoch'] == 4
    assert_close(torch.from_numpy(written['label']), opinion['label'])
    dataset = runner.train_dataloader.dataset
    assert (opinion['label'] != dataset.given_labels).any()
    assert_close(torch.from_numpy(written['given']), dataset.given_labels)
    assert_close(torch.from_numpy(written['true']), dataset.true_labels)


def test_losses_of_the_pass_are_those_of_single_images(tmp_path):
    cfg = plain_config('m_correction:start=1,augmented=False', epochs=2)
    runner, _ = train(tmp_path, cfg, val=True)
    state = runner.model.head.loss_module.state
    given = runner.train_dataloader.dataset.given_labels
    images, labels = make_images(COUNT)
    assert (given != torch.tensor(labels)).sum() == int(0.4 * COUNT)
    with torch.no_grad():
        for i, image in enumerate(images):
            scores = score_by_hand(runner.model, image_tensor(image)).double()
            loss = cross_entropy(softmax(scores), one_hot_of(int(given[i])))
            assert_close(state.loss[i].double(), loss, rtol=1e-4, atol=1e-5)
            assert state.prediction[i] == scores.argmax()


def test_opinions_are_replaced_whole(tmp_path, monkeypatch):
    runner, _ = train(tmp_path, plain_config('m_correction:start=1', epochs=2))
    hook = next(hook for hook in runner.hooks if isinstance(hook, SampleStateHook))
    before = (tmp_path / OPINIONS).read_bytes()

    def cut_short(file, **arrays):
        file.write(b'PK') if hasattr(file, 'write') else file.write_bytes(b'PK')
        raise OSError('no space left')

    monkeypatch.setattr(np, 'savez_compressed', cut_short)
    with pytest.raises(OSError, match='no space'):
        hook._write_opinions(runner)
    assert (tmp_path / OPINIONS).read_bytes() == before


@pytest.mark.parametrize('method', METHODS[:3])
def test_there_is_no_opinion_of_a_label_that_is_ignored(tmp_path, method):
    cfg = method_config(method, epochs=2)
    cfg.model.head.loss.ignore_index = 2
    runner, _ = train(tmp_path, cfg)
    ignored = runner.train_dataloader.dataset.given_labels == 2
    assert ignored.any() and not ignored.all()
    opinion = runner.model.head.loss_module.state.opinion()
    assert torch.equal(opinion['label'] == -1, ignored)
    if 'weight' in opinion:
        assert torch.equal(opinion['weight'].isnan(), ignored)


def one_hot_of(label):
    return [1.0 if k == label else 0.0 for k in range(CLASSES)]


def test_features_of_the_pass_are_those_of_single_images(tmp_path):
    runner, _ = train(tmp_path, plain_config('deep_self_learning:start=1', epochs=2), val=True)
    loss = runner.model.head.loss_module
    corrected = loss.state.corrected.clone()
    images = torch.stack([normalised(image_tensor(image)) for image in make_images(COUNT)[0]])
    with torch.no_grad():
        features = runner.model.eval().extract_feat(images)[-1]
    loss.take(dict(feature=features))  # once more, of the same epoch
    assert_close(loss.state.corrected, corrected)
    assert loss.state.corrections == 3 and corrected.unique().numel() > 1


@pytest.mark.parametrize('wrong_by', ['batch', 'epoch'])
def test_a_step_of_m_correction_mixes_corrected_images(tmp_path, wrong_by):
    """The loss, its gradient and what batch normalisation learns, with the mixing written out."""
    cfg = method_config(f'm_correction:start=1,wrong_by={wrong_by}', epochs=2)
    runner, _ = train(tmp_path, cfg)
    model, loader = runner.model.train(), runner.train_dataloader
    criterion = model.head.loss_module
    criterion.begin_epoch(1, 5)
    data = model.data_preprocessor(next(iter(loader)), True)
    inputs, samples = data['inputs'], data['data_samples']
    index = torch.tensor([sample.sample_idx for sample in samples])
    label = torch.cat([sample.gt_label for sample in samples])

    statistics = {key: value.clone() for key, value in model.backbone.norm.state_dict().items()}
    with torch.no_grad():
        scores = model(inputs)  # from which batch normalisation learns
        measured = model.eval()(inputs)
    model.train()
    rows = criterion.corrected_rows(scores, label, index, measured)
    assert (rows - criterion.corrected_rows(scores, label, index)).any() == (wrong_by == 'batch')
    draws = np.random.default_rng(stream_seed(5, 1904, 1, *index.tolist()))
    share = draws.beta(32, 32)
    partner = draws.permutation(len(label))
    assert 0.2 < share < 0.8 and (partner != np.arange(len(label))).any()
    mixed = share * inputs + (1 - share) * inputs[partner]
    target = share * rows + (1 - share) * rows[partner]
    logits = model(mixed)
    p = logits.softmax(1)
    expected = -(target * p.log()).sum(1).mean()
    expected = expected + (1 / CLASSES * (1 / CLASSES / p.mean(0)).log()).sum()
    gradient = torch.autograd.grad(expected, model.head.fc.weight)[0]
    learned = {key: value.clone() for key, value in model.backbone.norm.state_dict().items()}
    model.backbone.norm.load_state_dict(statistics)

    loss = model(inputs, samples, mode='loss')['loss']
    assert_close(loss, expected)
    assert_close(torch.autograd.grad(loss, model.head.fc.weight)[0], gradient)
    same(dict(model.backbone.norm.state_dict()), learned)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize('update_buffers', [False, True])
def test_checkpoints_hold_the_live_state_with_ema(tmp_path, update_buffers):
    cfg = method_config('pencil:label_lr=2000,correct_from=0', epochs=3)
    ema = dict(type='EMAHook', momentum=0.3, update_buffers=update_buffers)
    runner, epochs = train(tmp_path / 'a', cfg, hooks=[ema])
    saved = torch.load(tmp_path / 'a' / 'epoch_2.pth', weights_only=False)['state_dict']
    states = [key for key in saved if '.state.' in key]
    assert states and saved['head.loss_module.state.logits'].any()
    for key in states:
        assert_close(saved[key], epochs[2][key], rtol=0, atol=0)
    path = str(tmp_path / 'a' / 'epoch_2.pth')
    _, resumed = train(tmp_path / 'b', cfg, hooks=[ema], resume=True, load_from=path)
    for key in states:
        assert_close(resumed[3][key], epochs[3][key], rtol=0, atol=0)


def test_a_new_training_starts_without_what_another_one_knew(tmp_path):
    cfg = method_config('pencil:label_lr=2000,correct_from=0', epochs=2)
    train(tmp_path / 'a', cfg)
    path = str(tmp_path / 'a' / 'epoch_2.pth')
    other = method_config('pencil:label_lr=200,correct_from=1,correct_until=3', epochs=4)
    other.train_cfg.max_epochs = 1
    runner, epochs = train(tmp_path / 'b', other, load_from=path)
    assert not epochs[1]['head.loss_module.state.logits'].any()
    # A test gets as many rows as the checkpoint has.
    fresh = type(runner.model.head.loss_module)(CLASSES)
    runner.model.head.loss_module = fresh
    load_checkpoint(runner.model, path)
    assert fresh.state.num_samples == COUNT + 9 and fresh.state.logits.any()


@pytest.mark.parametrize(
    'change, message',
    [(dict(rate=0.2), 'the labels that it had'), (dict(count=29), 'knows 23 samples')],
)
def test_resuming_with_other_samples_or_labels_is_an_error(tmp_path, change, message):
    cfg = plain_config('pencil')
    train(tmp_path / 'a', cfg)
    noise = cfg.train_dataloader.dataset.dataset
    (noise if 'rate' in change else noise.dataset).update(change)
    with pytest.raises(ValueError, match=message):
        train(tmp_path / 'b', cfg, resume=True, load_from=str(tmp_path / 'a' / 'epoch_2.pth'))


def test_what_is_missing_is_named(tmp_path):
    cfg = plain_config('deep_self_learning:start=1', epochs=2)
    with pytest.raises(ValueError, match='no validation set from which to take one'):
        train(tmp_path / 'a', cfg)
    cfg.train_dataloader.dataset = cfg.train_dataloader.dataset.dataset
    with pytest.raises(ValueError, match='must have numbers'):
        train(tmp_path / 'b', cfg, val=True)
    cfg.train_cfg = dict(by_epoch=False, max_iters=1)
    with pytest.raises(ValueError, match='needs an epoch-based loop'):
        train(tmp_path / 'c', cfg)
    ema = dict(type='EMAHook', priority='LOW')
    with pytest.raises(ValueError, match='EMAHook must come before SampleStateHook'):
        train(tmp_path / 'd', plain_config('pencil'), hooks=[ema])
