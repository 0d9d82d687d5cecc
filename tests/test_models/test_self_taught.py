"""Learning from a frozen teacher: the loss by hand, and what the teacher is no part of."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from torch.testing import assert_close
from toy_self_distillation import CLASSES, MODEL, batch, build, gradients


@pytest.fixture
def teacher(tmp_path):
    """The checkpoint of a classifier with other weights, trained with soft labels of its own."""
    trained = build('ols')
    with torch.no_grad():
        for value in trained.parameters():
            value.add_(0.1 * torch.randn_like(value))
    path = tmp_path / 'teacher.pth'
    torch.save(dict(meta=dict(epoch=3), state_dict=trained.state_dict()), path)
    trained.eval()
    return path, trained


def taught(path, **options):
    """A classifier with its teacher."""
    given = ''.join(f',{name}={value}' for name, value in options.items())
    model = build(f'tfkd_self:teacher="{path}"{given}')
    model.load_teacher()
    return model


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(alpha=0.3, temperature=2.0, multiplier=7.0),
        dict(form='fair', temperature=20.0),
        dict(alpha=0.0),
    ],
)
def test_the_loss_and_all_gradients_are_those_of_the_definition(teacher, options):
    path, trained = teacher
    model = taught(path, **options)
    inputs, samples, labels = batch()
    o = {'alpha': 0.95, 'temperature': 6.0, 'form': 'released', **options}
    m = o.get('multiplier', CLASSES / 2 if o['form'] == 'released' else 1.0)

    twin = deepcopy(model)
    scores = twin.head.fc(twin.backbone(inputs)[-1].mean((2, 3)))
    with torch.no_grad():
        aims = trained.head.fc(trained.backbone(inputs)[-1].mean((2, 3)))
    total = 0
    for z, aim in zip(scores, aims):
        p, q = (z / o['temperature']).softmax(0), (aim / o['temperature']).softmax(0)
        for k in range(CLASSES):
            total = total + q[k] * (q[k].log() - p[k].log())
    total = total / (len(labels) * (CLASSES if o['form'] == 'released' else 1))
    hard = sum(-z.log_softmax(0)[label] for z, label in zip(scores, labels)) / len(labels)
    expected = (1 - o['alpha']) * hard + o['alpha'] * m * o['temperature'] ** 2 * total

    losses = model.loss(inputs, samples)
    assert set(losses) == {'loss', 'loss_distillation'}
    assert_close(sum(losses.values()), expected, rtol=1e-4, atol=1e-5)
    actual = gradients(model, losses)
    for name, gradient in gradients(twin, dict(loss=expected)).items():
        assert_close(actual[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_with_100_classes_the_default_is_the_originals_50(monkeypatch):
    inputs, samples, _ = batch()
    network = deepcopy(MODEL)
    network['head']['num_classes'] = 100
    losses = []
    for method in ('tfkd_self', 'tfkd_self:multiplier=50'):
        model = build(method, model=network)
        monkeypatch.setattr(model, '_teach', lambda inputs: torch.eye(100)[: len(inputs)])
        losses.append(model.loss(inputs, samples)['loss_distillation'])
    assert_close(losses[0], losses[1])


def test_the_teacher_is_no_part_of_the_student(teacher):
    path, trained = teacher
    model, before = taught(path), build('hard')
    assert model.state_dict().keys() == before.state_dict().keys()
    assert len(list(model.parameters())) == len(list(before.parameters()))
    network = model._beside.network
    model.train()
    assert not any(module.training for module in network.modules())
    assert not any(value.requires_grad for value in network.parameters())
    inputs, samples, _ = batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        sum(model.loss(inputs, samples).values()).backward()
        optimizer.step()
    for name, value in network.state_dict().items():
        assert_close(value, trained.state_dict()[name], rtol=0, atol=0)
    averaged = ExponentialMovingAverage(model, update_buffers=True)
    averaged.update_parameters(model)
    assert averaged.module.state_dict().keys() == before.state_dict().keys()


def test_the_teacher_moves_with_the_student(teacher):
    model = taught(teacher[0]).to(torch.float64)
    network = model._beside.network
    assert {value.dtype for value in network.parameters()} == {torch.float64}
    model.to('meta')
    assert {value.device.type for value in network.parameters()} == {'meta'}


def test_it_is_loaded_where_a_training_starts_and_not_before(teacher, tmp_path):
    path, _ = teacher
    missing = build(f'tfkd_self:teacher="{tmp_path / "none.pth"}"')  # no error yet
    with pytest.raises(FileNotFoundError, match=r'There is no checkpoint file .*none\.pth\.'):
        missing.init_weights()
    inputs, samples, _ = batch()
    with pytest.raises(RuntimeError, match=r'needs its teacher.*call init_weights\(\)'):
        missing.loss(inputs, samples)
    assert len(missing.eval()(inputs, mode='predict')) == 4  # a test needs none
    nameless = build('tfkd_self')
    nameless.init_weights()  # as for a test
    with pytest.raises(ValueError, match=r'`teacher` must be the checkpoint .* but got None'):
        nameless.load_teacher()
    model = build(f'tfkd_self:teacher="{path}"')
    model.init_weights()
    model.loss(inputs, samples)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda state: state.pop('head.fc.bias'), r'head\.fc\.bias is missing: name one'),
        (
            lambda state: state.update({'backbone.stages.3.x': torch.ones(1)}),
            r'backbone\.stages\.3\.x is not in the network',
        ),
        (
            lambda state: state.update({'head.fc.weight': torch.ones(10, 16)}),
            r'head\.fc\.weight is \(10, 16\), not \(3, 16\)',
        ),
    ],
)
def test_a_teacher_of_another_architecture_is_an_error(teacher, tmp_path, change, message):
    state = dict(teacher[1].state_dict())
    change(state)
    torch.save(state, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=f'same architecture.*{message}'):
        taught(tmp_path / 'other.pth')
