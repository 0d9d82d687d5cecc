"""FGSM and PGD through a runner, against a loop over single images."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close
from toy_images import (
    attack_by_hand,
    build_runner,
    build_tester,
    classifier,
    everything,
    image_tensor,
    loader,
    make_images,
    score_by_hand,
)

from mmdet_ols import AdversarialErrorHook

COUNT = 23
FGSM = dict(name='fgsm', eps=8)
PGD = dict(name='pgd', eps=6, step=1.5, steps=6)


def errors(scores, labels):
    """Top-1 and top-5 error in per cent."""
    ranks = [
        sorted(range(len(score)), key=lambda k: -score[k]).index(label)
        for score, label in zip(scores, labels)
    ]
    return [100 * sum(rank >= k for rank in ranks) / len(ranks) for k in (1, 5)]


def errors_by_hand(model, images, labels, name, pad_to=0, **attack):
    scores = [
        score_by_hand(
            model, attack_by_hand(model, image_tensor(i), y, pad_to=pad_to, **attack), pad_to
        ).tolist()
        for i, y in zip(images, labels)
    ]
    return dict(zip((f'{name}/top1_error', f'{name}/top5_error'), errors(scores, labels)))


def attacked(metrics):
    return {key: value for key, value in metrics.items() if key.endswith('_error')}


@pytest.fixture(scope='module')
def runner(tmp_path_factory):
    return build_tester(tmp_path_factory.mktemp('runner'), [])


def measure(runner, data=None, model=None, **hook):
    """What the hook adds after a test, without the test."""
    batches = runner.build_dataloader(data or loader())
    after = SimpleNamespace(model=model or runner.model, test_dataloader=batches)
    metrics = {}
    AdversarialErrorHook(**hook).after_test_epoch(after, metrics)
    return metrics


def test_errors_are_logged_beside_the_metrics(tmp_path):
    tester = build_tester(tmp_path, [dict(type='AdversarialErrorHook', attacks=[FGSM, PGD])])
    metrics = tester.test()
    images, labels = make_images(COUNT)
    expected = {
        **errors_by_hand(tester.model, images, labels, 'fgsm', eps=8, step=8, steps=1),
        **errors_by_hand(tester.model, images, labels, **PGD),
    }
    clean = 100 - metrics['accuracy/top1']
    assert clean + 10 < expected['fgsm/top1_error'] < 90
    assert attacked(metrics) == pytest.approx(expected)
    (result,) = tmp_path.glob('*/*.json')  # what `tools/test.py` leaves
    assert attacked(json.loads(result.read_text())) == pytest.approx(expected)
    (log,) = tmp_path.glob('*/*.log')
    assert f'fgsm/top1_error: {expected["fgsm/top1_error"]:.4f}' in log.read_text()


@pytest.mark.parametrize(
    ('data', 'hook'),
    [
        (dict(collate='default_collate'), dict()),
        (dict(collate='default_collate'), dict(batch_size=3)),
        (dict(batch_size=5), dict(batch_size=2)),
        (dict(shuffle=True), dict()),
    ],
)
def test_batches_and_their_form_do_not_matter(runner, data, hook):
    images, labels = make_images(COUNT)
    expected = errors_by_hand(runner.model, images, labels, **PGD)
    assert measure(runner, loader(**data), attacks=[PGD], **hook) == pytest.approx(expected)


def test_random_starts_are_the_seeds_alone(runner):
    pgd = dict(name='pgd', eps=40, step=0.1, steps=1, random_start=True)
    first = measure(runner, attacks=[pgd])
    # Neither the other attacks, nor the process's random numbers, nor the batches matter.
    torch.manual_seed(6)
    again = measure(runner, loader(batch_size=3), attacks=[dict(pgd, name='other'), pgd])
    assert {key: again[key] for key in first} == first
    actual = [measure(runner, attacks=[pgd], seed=seed) for seed in range(5)]
    assert actual[0] == first and any(other != first for other in actual)


def test_the_error_grows_with_the_budget(runner):
    attacks = [dict(name=f'{eps}', eps=eps, step=eps / 4, steps=8) for eps in (0.01, 4, 8, 16, 32)]
    metrics = measure(runner, attacks=attacks)
    actual = [metrics[f'{attack["name"]}/top1_error'] for attack in attacks]
    images, labels = make_images(COUNT)
    clean = [score_by_hand(runner.model, image_tensor(image)).tolist() for image in images]
    assert actual[0] == pytest.approx(errors(clean, labels)[0])
    assert actual == sorted(actual) and len(set(actual)) >= 4 and actual[-1] > 90


def test_images_of_several_sizes(runner):
    """Padded after normalisation: the attack reaches only the pixels."""
    model = MODELS.build(classifier(pad_size_divisor=7)).eval()
    model.load_state_dict(runner.model.state_dict())
    actual = measure(runner, loader(sizes=(6, 4)), model, attacks=[FGSM])
    images, labels = make_images(COUNT, sizes=(6, 4))
    assert {len(image) for image in images} == {4, 6}
    fgsm = dict(name='fgsm', eps=8, step=8, steps=1)
    assert actual == pytest.approx(errors_by_hand(model, images, labels, pad_to=7, **fgsm))
    assert actual != pytest.approx(errors_by_hand(model, images, labels, **fgsm))


def test_some_images_evenly_spaced(runner):
    chosen = [n for n in range(COUNT) if (n + 1) * 9 // COUNT > n * 9 // COUNT]
    assert len(chosen) == 9 and max(np.diff(chosen)) <= 3
    images, labels = ([part[n] for n in chosen] for part in make_images(COUNT))
    expected = errors_by_hand(runner.model, images, labels, 'fgsm', eps=8, step=8, steps=1)
    actual = measure(runner, loader(batch_size=4), attacks=[FGSM], num_samples=9)
    assert actual == pytest.approx(expected)
    everything = measure(runner, attacks=[FGSM])
    assert everything != actual
    assert measure(runner, attacks=[FGSM], num_samples=1000) == everything


# --- what it must not disturb --------------------------------------------------------------------


def test_it_leaves_no_trace(tmp_path):
    ols = dict(type='OLSLoss', num_classes=7)
    runner = build_tester(tmp_path, [], classifier(ols))
    runner.model.backbone.conv.weight.requires_grad_(False)
    runner.model.train()
    runner.model.backbone.norm.eval()  # a frozen part of a training network

    before = everything(runner.model)
    metrics = {}
    AdversarialErrorHook().after_test_epoch(runner, metrics)
    assert metrics['pgd/top1_error'] > 0
    assert set(before['modes']) == {True, False}
    for name, value in everything(runner.model).items():
        assert_close(value, before[name], rtol=0, atol=0, msg=lambda text, n=name: f'{n}: {text}')


def test_validations_and_the_averaged_weights(tmp_path):
    """During training, at every second validation; with EMA the weights that were validated."""
    seen = {}

    class Watch(AdversarialErrorHook):
        def after_val_epoch(self, runner, metrics=None):
            super().after_val_epoch(runner, metrics)
            images, labels = make_images(COUNT)
            model = runner.model.eval()
            clean = [score_by_hand(model, image_tensor(i)).tolist() for i in images]
            assert metrics['accuracy/top1'] == pytest.approx(100 - errors(clean, labels)[0])
            by_hand = errors_by_hand(model, images, labels, 'fgsm', eps=8, step=8, steps=1)
            seen[runner.epoch] = (attacked(metrics), by_hand)

    def training(folder, hook):
        runner = build_runner(
            folder,
            hooks=[hook, dict(type='EMAHook', momentum=0.5)],
            train_dataloader=loader(),
            train_cfg=dict(by_epoch=True, max_epochs=4),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.02)),
            val_dataloader=loader(),
            val_evaluator=dict(type='mmpretrain.Accuracy'),
            val_cfg=dict(),
        )
        return runner.train().state_dict(), runner

    weights, runner = training(tmp_path / 'a', Watch(attacks=[FGSM], val_interval=2))
    assert [bool(actual) for actual, _ in seen.values()] == [False, True, False, True]
    for epoch in (2, 4):
        assert seen[epoch][0] == pytest.approx(seen[epoch][1])
    lines = (next((tmp_path / 'a').glob('*/vis_data/scalars.json'))).read_text().splitlines()
    logged = [line.get('fgsm/top1_error') for line in map(json.loads, lines)]
    assert [value for value in logged if value is not None] == pytest.approx(
        [seen[epoch][0]['fgsm/top1_error'] for epoch in (2, 4)]
    )
    seen.clear()
    never, _ = training(tmp_path / 'b', AdversarialErrorHook(attacks=[FGSM]))
    assert_close(weights, never, rtol=0, atol=0)  # the training is the same


def test_validation_is_a_stage_only_if_asked_for():
    test, val = 'after_test_epoch', 'after_val_epoch'
    assert {test, val} & set(AdversarialErrorHook().get_triggered_stages()) == {test}
    stages = set(AdversarialErrorHook(val_interval=1).get_triggered_stages())
    assert {test, val} <= stages


# --- settings ------------------------------------------------------------------------------------


def test_fgsm_and_pgd_of_the_usual_size_unless_told_otherwise():
    fgsm, pgd = AdversarialErrorHook().attacks
    assert (fgsm.name, fgsm.eps, fgsm.step, fgsm.steps, fgsm.random_start) == (
        'fgsm', 8, None, 1, False,
    )  # fmt: skip
    assert (pgd.name, pgd.eps, pgd.step, pgd.steps, pgd.random_start) == ('pgd', 8, 2, 20, True)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(attacks=[FGSM, FGSM]), "`attacks` .* different names, but got .'fgsm', 'fgsm'"),
        (dict(attacks=[]), '`attacks` must be one or more'),
        (dict(num_samples=0), '`num_samples` must be None or a positive integer, but got 0'),
        (dict(batch_size=2.0), '`batch_size` must be None or a positive integer, but got 2.0'),
        (
            dict(val_interval=-1),
            '`val_interval` must be 0 or a positive .* -1: 0 means never',
        ),
    ],
)
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        AdversarialErrorHook(**kwargs)


def test_images_that_are_normalised_already_are_refused(runner):
    normalise = dict(type='mmcv.Normalize', mean=[0] * 3, std=[255] * 3)
    with pytest.raises(ValueError, match='pixels from 0 to 255 .*gives torch.float32: leave'):
        measure(runner, loader(pipeline=[normalise]))


def test_a_network_without_scores_is_refused(runner):
    model = MODELS.build(dict(classifier(), head=None))
    with pytest.raises(ValueError, match='ImageClassifier gives tuple'):
        measure(runner, model=model)


def test_test_time_augmentation_is_refused_before_the_test(tmp_path):
    model = dict(type='AverageClsScoreTTA', module=classifier())
    runner = build_tester(tmp_path, [dict(type='AdversarialErrorHook')], model, head=False)
    with pytest.raises(
        ValueError, match='AdversarialErrorHook .* leave --tta out, or take the hook out'
    ):
        runner.call_hook('before_test')
