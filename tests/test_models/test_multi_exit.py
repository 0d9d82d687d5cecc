"""Be your own teacher, against a loop over exits and samples, written from its definition."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from reference import Reference
from torch.testing import assert_close
from toy_self_distillation import CLASSES, batch, build, config, gradients

from mmdet_ols.core import find_states

ALL_TERMS = dict(distillation=0.3, feature_weight=0.03)


def text(**options):
    given = ','.join(f'{name}={value}' for name, value in {'start_epoch': 0, **options}.items())
    return f'byot:{given}'


def exit_by_hand(weights, x):
    """Three convolutions with batch norm and ReLU, the mean over the map, and a linear layer."""
    for layer, stride in ((0, 1), (3, weights['convs.3.weight'].shape[-1]), (6, 1)):
        x = F.conv2d(x, weights[f'convs.{layer}.weight'], weights[f'convs.{layer}.bias'], stride)
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), False, keepdim=True)
        scale, shift = weights[f'convs.{layer + 1}.weight'], weights[f'convs.{layer + 1}.bias']
        x = (x - mean) / (var + 1e-5).sqrt() * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
        x = x.clamp(min=0)
    features = x.sum((2, 3)) / x[0, 0].numel()
    return features @ weights['fc.weight'].T + weights['fc.bias'], features


def loss_by_hand(model, inputs, labels, soft_labels=None, **options):
    """The sum over exits and samples, with the graph of the weights."""
    o = dict(
        final_weight=1.5, exit_weight=0.5, soft_weight=0.25, distillation=0.0, temperature=3.0,
        feature_weight=0.0, temperature_squared=False, feature_exits='all',
    )  # fmt: skip
    o.update(options)
    *maps, last = model.backbone(inputs)
    final = last.mean((2, 3))
    scores = final @ model.head.fc.weight.T + model.head.fc.bias
    target = [0.0] * CLASSES if soft_labels is None else None
    alpha = 1.0 if soft_labels is None else 0.5

    def label_loss(z, label, hard_weight, soft_weight):
        log_p = z - z.exp().sum().log()
        row = target if soft_labels is None else soft_labels[label]
        soft = -sum(t * value for t, value in zip(row, log_p))
        return hard_weight * alpha * -log_p[label] + soft_weight * (1 - alpha) * soft

    total = 0
    for z, label in zip(scores, labels):
        total = total + label_loss(z, label, o['final_weight'], o['final_weight'])
    for index, (early, x) in enumerate(zip(model.exits, maps)):
        exit_scores, features = exit_by_hand(dict(early.named_parameters()), x)
        for n, label in enumerate(labels):
            a, w, t = o['distillation'], o['exit_weight'], o['temperature']
            loss = (1 - a) * label_loss(exit_scores[n], label, w, o['soft_weight'])
            p, q = (exit_scores[n] / t).softmax(0), (scores[n].detach() / t).softmax(0)
            divergence = (q * (q.log() - p.log())).sum()
            loss = loss + w * a * divergence * (t**2 if o['temperature_squared'] else 1)
            if index or o['feature_exits'] == 'all':
                distance = (features[n] - final[n].detach()).square().sum()
                loss = loss + w * o['feature_weight'] * distance
            total = total + loss
    return total / len(labels)


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(final_weight=1, exit_weight=1, distillation=0.3, feature_weight=0.03),
        dict(distillation=1.0, temperature=2.0, temperature_squared=True),
        dict(**ALL_TERMS, feature_exits='deeper', exit_weight=0.7),
    ],
)
def test_the_loss_and_all_gradients_are_those_of_the_definition(options):
    model = build(text(**options))
    twin = deepcopy(model)
    inputs, samples, labels = batch()
    losses = model.loss(inputs, samples)
    expected = loss_by_hand(twin, inputs, labels, **options)
    assert_close(sum(losses.values()), expected)
    actual = gradients(model, losses)
    for name, gradient in gradients(twin, dict(loss=expected)).items():
        assert_close(actual[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert set(losses) == {'loss', 'loss_exit0', 'loss_exit1'}


def test_the_gradient_of_the_targets_is_stopped():
    model = build(text(exit_weight=1, distillation=1, feature_weight=1))
    inputs, samples, _ = batch()
    losses = model.loss(inputs, samples)
    del losses['loss']
    assert not {'head.fc.weight', 'head.fc.bias'} & gradients(model, losses).keys()


def test_one_soft_label_state_is_taught_by_the_final_exit_and_used_by_all_exits():
    model = build(f'{text()}+ols')
    twin, reference = deepcopy(model), Reference(CLASSES)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, twin)]
    assert list(find_states(model)) == ['head.loss_module']
    for step in range(4):
        inputs, samples, labels = batch(6, seed=step)
        losses = model.loss(inputs, samples)
        with torch.no_grad():
            scores = deepcopy(twin).head.fc(deepcopy(twin).backbone(inputs)[-1].mean((2, 3)))
        expected = loss_by_hand(twin, inputs, labels, soft_labels=reference.soft_labels)
        assert_close(sum(losses.values()), expected, rtol=1e-4, atol=1e-5)
        for z, label in zip(scores, labels):
            reference.learn(z, label)
        for optimizer, value in zip(optimizers, (sum(losses.values()), expected)):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        state = model.head.loss_module.state
        for name, value in reference.tensors().items():
            assert_close(getattr(state, name), value, rtol=1e-4, atol=1e-5)
        if step % 2:
            state.update_soft_labels()
            reference.roll_over()
    assert (state.soft_labels - 1 / CLASSES).abs().max() > 0.1


def test_with_equal_weights_an_exit_has_the_whole_loss():
    model = build(f'{text(soft_weight=0.5)}+ols:alpha=0.7')
    inputs, samples, labels = batch()
    losses = deepcopy(model).loss(inputs, samples)
    *maps, _ = deepcopy(model).backbone(inputs)
    scores = model.exits[0](maps[0])[0]
    expected = 0.5 * model.head.loss_module(scores, torch.tensor(labels))
    assert_close(losses['loss_exit0'], expected)


def test_the_first_epoch_trains_the_final_exit_only():
    model = build('byot')
    inputs, samples, labels = batch()
    hub = MessageHub.get_current_instance()
    before = hub.runtime_info.copy()
    try:
        hub.update_info('epoch', 0)
        early = deepcopy(model)
        first = early.loss(inputs, samples)
        gradient = gradients(early, first)
        hub.update_info('epoch', 1)
        second = deepcopy(model).loss(inputs, samples)
    finally:
        hub._runtime_info.clear()
        hub._runtime_info.update(before)
    assert_close(second['loss'], 1.5 * first['loss'])
    assert first['loss_exit0'] == 0 and first['loss_exit1'] == 0 and second['loss_exit0'] > 0
    learns = {name.partition('.')[0] for name, value in gradient.items() if value.any()}
    assert learns == {'backbone', 'head'}
    # DDP waits for the gradient of every parameter, even of those that learn nothing yet.
    assert gradient.keys() == dict(early.named_parameters()).keys()
    assert first['loss'].isfinite()


def test_it_predicts_as_the_plain_classifier_does():
    model = build(text())
    model.eval()
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        plain = MODELS.build(config().model)
    plain.eval()
    result = plain.load_state_dict(model.state_dict(), strict=False)
    assert not result.missing_keys
    assert all(name.startswith('exits.') for name in result.unexpected_keys)
    inputs, *_ = batch()
    for stage in ('backbone', 'neck', 'pre_logits'):
        assert_close(model.extract_feat(inputs, stage), plain.extract_feat(inputs, stage))
    assert_close(model(inputs), plain(inputs))
    scores = [[s.pred_score for s in m(inputs, mode='predict')] for m in (model, plain)]
    assert_close(*scores)


def test_too_small_a_map_is_named():
    model = build(text())
    _, samples, _ = batch()
    with pytest.raises(ValueError, match=r'at least 8 pixels .* but is \(4, 4\): train on larger'):
        model.loss(torch.randn(4, 3, 4, 4), samples)
