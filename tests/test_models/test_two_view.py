"""Data-distortion guided self-distillation, against a loop over the pairs of views."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close
from toy_self_distillation import CLASSES, batch, build, gradients


def loss_by_hand(model, inputs, labels, **options):
    """The sum over the images of what their two views cost."""
    o = dict(
        kl_weight=1.0, temperature=3.0, detach_target=True, over_classes='sum', views='mean',
        mmd_weight=0.0,
    )  # fmt: skip
    o.update(options)
    features = model.backbone(inputs)[-1].mean((2, 3))
    scores = features @ model.head.fc.weight.T + model.head.fc.bias
    count, total = len(labels), 0

    def divergence(target, learner):
        target = target.detach() if o['detach_target'] else target
        q, p = (target / o['temperature']).softmax(0), (learner / o['temperature']).softmax(0)
        value = (q * (q.log() - p.log())).sum()
        return value / CLASSES if o['over_classes'] == 'mean' else value

    share = 1 if o['views'] == 'sum' else 0.5
    for n, label in enumerate(labels):
        a, b = scores[n], scores[n + count]
        total = total - share * (a.log_softmax(0)[label] + b.log_softmax(0)[label])
        total = total + share * o['kl_weight'] * (divergence(a, b) + divergence(b, a))
    distance = sum(features[:count]) / count - sum(features[count:]) / count
    return total / count + o['mmd_weight'] * (distance**2).sum()


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(kl_weight=0.7, temperature=4.0, detach_target=False, views='sum'),
        dict(over_classes='mean', mmd_weight=0.5),
        dict(kl_weight=0.0),
    ],
)
def test_the_loss_and_all_gradients_are_those_of_the_definition(options):
    given = ','.join(f'{name}={value}' for name, value in options.items())
    model = build(f'ddgsd:{given}' if given else 'ddgsd')
    twin = deepcopy(model)
    inputs, samples, labels = batch(views=2)
    losses = model.loss(inputs, samples)
    expected = loss_by_hand(twin, inputs, labels, **options)
    assert_close(sum(losses.values()), expected)
    actual = gradients(model, losses)
    for name, gradient in gradients(twin, dict(loss=expected)).items():
        assert_close(actual[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_a_weight_of_the_loss_weighs_everything():
    inputs, samples, _ = batch(views=2)
    plain, heavy = build('ddgsd:mmd_weight=1'), build('ddgsd:mmd_weight=1')
    heavy.head.loss_module.loss_weight = 2.0
    for name, value in plain.loss(inputs, samples).items():
        assert_close(heavy.loss(inputs, samples)[name], 2 * value)


@pytest.mark.parametrize('kept', [(0, 1, 2), (0, 1, 2, 3), (0, 4, 1, 5), (0, 1, 5, 4)])
def test_a_batch_without_pairs_is_an_error(kept):
    inputs, samples, _ = batch(views=2)
    samples = [samples[n] for n in kept]
    with pytest.raises(ValueError, match=rf'{len(kept)} samples .*pairs: let .*TwoViewDataset'):
        build('ddgsd').loss(inputs[: len(kept)], samples)
    # The same images in the right order are one.
    build('ddgsd').loss(inputs[:4], [batch(views=2)[1][n] for n in (0, 1, 4, 5)])


def test_it_predicts_one_view_as_the_plain_classifier_does():
    model = build('ddgsd')
    model.eval()
    inputs, *_ = batch(3)
    scores = torch.stack([sample.pred_score for sample in model(inputs, mode='predict')])
    expected = model.head.fc(model.backbone(inputs)[-1].mean((2, 3))).softmax(1)
    assert_close(scores, expected)
