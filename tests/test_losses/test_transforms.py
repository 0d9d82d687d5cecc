"""The losses under the transforms of `torch.func`, and differentiated forwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, hessian, jacrev, jvp, stack_module_state, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

from mmdet_ols import LSLoss, OLSLoss, OLSSparseLoss, SCELoss, no_teaching

C = 4
MAKE = {
    'plain': lambda: OLSLoss(C, implementation='plain'),
    'auto': lambda: OLSLoss(C),
    'sigmoid': lambda: OLSLoss(C, use_sigmoid=True),
    'weighted': lambda: OLSLoss(C, class_weight=[1.0, 2, 3, 4]),
    'sparse': lambda: OLSSparseLoss(C, top_m=2),
    'SCE': lambda: SCELoss(C),
    'LS': lambda: LSLoss(C),
}
EVERY_LOSS = pytest.mark.parametrize('make', MAKE.values(), ids=MAKE)


def batch(n=6):
    label = torch.randint(C, (n,))
    return 2 * torch.eye(C)[label] + torch.randn(n, C), label


def state_of(criterion):
    return {name: value.clone() for name, value in criterion.state_dict().items()}


def gradient_of(criterion, scores, label):
    scores = scores.clone().requires_grad_()
    return torch.autograd.grad(criterion(scores, label), scores)[0]


@EVERY_LOSS
@pytest.mark.parametrize('transform', [grad, jacrev])
def test_gradients_and_states_are_those_of_autograd(make, transform):
    criterion, expected = make(), make()
    scores, label = batch()
    gradient = transform(lambda z: criterion(z, label))(scores)
    assert_close(gradient, gradient_of(expected, scores, label))
    assert_close(state_of(criterion), state_of(expected))


@EVERY_LOSS
@pytest.mark.filterwarnings('ignore:There is a performance drop')  # says torch of the sparse form
def test_gradients_of_each_sample(make):
    criterion, expected = make(), make()
    scores, label = batch()
    one = grad(lambda z, y: criterion(z[None], y[None]))
    gradients = vmap(one)(scores, label)
    loop = [gradient_of(expected, z[None], y[None])[0] for z, y in zip(scores, label)]
    assert_close(gradients, torch.stack(loop))
    assert_close(state_of(criterion), state_of(expected))


def test_what_is_the_same_for_all_calls_counts_in_each():
    """As the labels do for the members of an ensemble."""
    criterion, expected = OLSLoss(C), OLSLoss(C)
    scores, label = torch.randn(3, 6, C), torch.randint(C, (6,))
    weight = torch.tensor([1.0, 0, 1, 1, 0, 2])
    losses = vmap(lambda z: criterion(z, label, weight))(scores)
    assert_close(losses, torch.stack([expected(z, label, weight) for z in scores]))
    assert_close(state_of(criterion), state_of(expected))
    assert criterion.sample_count.sum() == 12


def test_a_hessian():
    criterion = OLSLoss(C)
    scores, label = batch(2)
    expected = torch.autograd.functional.hessian(
        lambda z: OLSLoss(C, implementation='plain')(z, label), scores
    )
    assert_close(hessian(lambda z: criterion(z, label))(scores), expected)
    assert criterion.sample_count.sum() == 2


@pytest.mark.parametrize('implementation', ['plain', 'auto'])
def test_forward_mode(implementation):
    criterion = OLSLoss(C, implementation=implementation)
    scores, label = batch()
    tangent = torch.randn_like(scores)
    expected = (gradient_of(OLSLoss(C), scores, label) * tangent).sum()
    assert_close(jvp(lambda z: criterion(z, label), (scores,), (tangent,))[1], expected)
    assert criterion.sample_count.sum() == 6
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(scores.clone().requires_grad_(), tangent)
        loss = torch.autograd.forward_ad.unpack_dual(criterion(dual, label))
    assert_close(loss.tangent, expected)


def test_a_functional_call_teaches_the_state_of_the_model():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.criterion = nn.Linear(C, C), OLSLoss(C)

        def forward(self, features, label):
            return self.criterion(self.head(features), label)

    model, (features, label) = Model(), batch()
    expected = copy.deepcopy(model)
    parameters = dict(model.named_parameters())
    gradients = grad(lambda p: functional_call(model, p, (features, label)))(parameters)
    expected(features, label).backward()
    for name, parameter in expected.named_parameters():
        assert_close(gradients[name], parameter.grad)
    assert_close(state_of(model), state_of(expected))
    assert model.criterion.sample_count.sum() == 6


@pytest.mark.filterwarnings('ignore:There is a performance drop')
def test_an_ensemble_of_stacked_states():
    members = [OLSLoss(C, implementation='plain') for _ in range(3)]
    scores, label = torch.randn(3, 6, C), torch.randint(C, (3, 6))
    parameters, buffers = stack_module_state(members)
    skeleton = OLSLoss(C, implementation='plain')
    losses = vmap(lambda p, b, z, y: functional_call(skeleton, (p, b), (z, y)))(
        parameters, buffers, scores, label
    )
    expected = [criterion(z, y) for criterion, z, y in zip(members, scores, label)]
    assert_close(losses, torch.stack(expected))
    assert not skeleton.sample_count.any()
    for name, buffer in buffers.items():
        assert_close(buffer, torch.stack([member.state_dict()[name] for member in members]))


def test_a_trial_under_a_transform_teaches_nothing():
    criterion, (scores, label) = OLSLoss(C), batch()
    with no_teaching():
        grad(lambda z: criterion(z, label))(scores)
    with pytest.warns(UserWarning, match='is in eval mode'):
        grad(lambda z: criterion.eval()(z, label))(scores)
    assert not criterion.sample_count.any()


def test_several_slopes_at_once():
    criterion, (scores, label) = OLSLoss(C), batch()
    scores.requires_grad_()
    slopes = torch.tensor([1.0, 2.0])
    gradients = torch.autograd.grad(
        criterion(scores, label), scores, grad_outputs=slopes, is_grads_batched=True
    )[0]
    assert_close(gradients, slopes[:, None, None] * gradient_of(OLSLoss(C), scores.detach(), label))


@pytest.mark.parametrize('record', [make_fx, torch.jit.trace], ids=['make_fx', 'trace'])
@pytest.mark.filterwarnings('ignore')  # a trace holds for the shape that it was made with
def test_a_recorded_loss_is_no_constant(record):
    criterion, (scores, label) = OLSLoss(C), batch()
    scores.requires_grad_()

    def loss_of(scores):
        return criterion(scores, label)

    if record is make_fx:
        recorded = make_fx(loss_of)(scores)
    else:
        recorded = torch.jit.trace(loss_of, (scores,), check_trace=False)
    other = torch.randn_like(scores)
    assert_close(recorded(other), loss_of(other))
