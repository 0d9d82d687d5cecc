"""Weights of samples, against loops over samples and against finite differences in float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close

from mmdet_ols.core.sample_gradients import SampleDerivatives, gradient
from mmdet_ols.core.sample_weights import WeightingNetwork, learned_weights

CLASSES = 3


class NoForwardMode(torch.autograd.Function):
    """The sine, as a function of one's own that has no forward-mode derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, slope):
        return slope * ctx.saved_tensors[0].cos()


class Sine(nn.Module):
    def forward(self, x):
        return NoForwardMode.apply(x)


def network(middle=None):
    """With batch normalisation, by which a sample's loss depends on all samples of its batch."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        middle or nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
    ).double()


def losses_of(model, x, y):
    def losses(parameters):
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        scores = functional_call(model, {**parameters, **buffers}, (x,))
        return F.cross_entropy(scores, y, reduction='none')

    return losses


@pytest.fixture(params=['forward', 'twice'])
def setting(request):
    """A model, a noisy and a clean batch; with and without forward-mode differentiation."""
    torch.manual_seed(3)
    model = network(None if request.param == 'forward' else Sine())
    noisy, clean = (
        losses_of(model, torch.randn(n, 1, 5, 5, dtype=torch.float64), torch.randint(CLASSES, (n,)))
        for n in (7, 4)
    )
    parameters = dict(model.named_parameters())
    derivatives = SampleDerivatives()
    yield model, noisy, clean, parameters, derivatives
    assert derivatives.forward_mode == (request.param == 'forward')


def naive_gradient(losses, parameters, index):
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    grads = torch.autograd.grad(losses(leaves)[index].mean(), list(leaves.values()))
    return torch.cat([grad.flatten() for grad in grads])


quiet = pytest.mark.filterwarnings('ignore:The model has an operation without forward-mode')


@quiet
def test_weights_are_the_products_of_gradients_that_help(setting):
    _, noisy, clean, parameters, derivatives = setting
    weights, clean_loss = learned_weights(noisy, clean, parameters, derivatives)
    target = naive_gradient(clean, parameters, slice(None))
    products = [float(target @ naive_gradient(noisy, parameters, [i])) for i in range(7)]
    helpful = [max(0.0, product) for product in products]
    assert 0 < helpful.count(0.0) < 7
    expected = torch.tensor([u / sum(helpful) for u in helpful], dtype=torch.float64)
    assert_close(weights, expected)
    assert_close(clean_loss, clean(parameters).mean().detach())


@quiet
def test_a_weight_says_how_fast_the_clean_loss_falls(setting):
    """The definition: the slope of the clean loss in the weight of a sample, at weight 0."""
    _, noisy, clean, parameters, derivatives = setting
    weights, _ = learned_weights(noisy, clean, parameters, derivatives)
    step = 1e-6

    def clean_loss(index, weight):
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        grads = torch.autograd.grad(weight * noisy(leaves)[index], list(leaves.values()))
        moved = {name: value - grad for (name, value), grad in zip(leaves.items(), grads)}
        return float(clean(moved).mean().detach())

    slopes = [(clean_loss(i, -step) - clean_loss(i, step)) / (2 * step) for i in range(7)]
    helpful = torch.tensor(slopes, dtype=torch.float64).clamp(min=0)
    assert_close(weights, helpful / helpful.sum(), rtol=1e-6, atol=1e-9)


def test_where_no_sample_helps_all_weights_are_0():
    """One parameter, which the clean batch wants larger and every other sample smaller."""
    parameters = dict(a=torch.tensor(0.5))
    weights, _ = learned_weights(
        lambda p: p['a'] * torch.tensor([1.0, 2.0]),
        lambda p: -p['a'] * torch.ones(2),
        parameters,
        SampleDerivatives(),
    )
    assert weights.tolist() == [0, 0]


def test_parameters_without_a_part_in_the_loss_do_no_harm():
    parameters = dict(a=torch.tensor(0.5), unused=torch.zeros(2))
    for mode in (True, False):
        derivatives = SampleDerivatives()
        derivatives.forward_mode = mode
        weights, _ = learned_weights(
            lambda p: p['a'] * torch.tensor([1.0, 3.0]),
            lambda p: p['a'] * torch.ones(2),
            parameters,
            derivatives,
        )
        assert_close(weights, torch.tensor([0.25, 0.75]))
    slope = gradient(lambda p: p['a'] * torch.ones(3), parameters, torch.sum)[1]
    assert slope['a'] == 3 and slope['unused'].tolist() == [0, 0]


# --- Meta-Weight-Net -----------------------------------------------------------------------------


def rates(parameters):
    """Two groups of parameters with learning rates of their own."""
    return {name: 0.3 if name.startswith('0') else 0.1 for name in parameters}


def clean_loss_after_trial(net, noisy, clean, parameters, normalize):
    """The virtual step written out: theta - lr * grad (1/n) sum w_i l_i, then the clean loss."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    losses = noisy(leaves)
    with torch.no_grad():
        weights = torch.sigmoid(
            torch.relu(losses[:, None] @ net[0].weight.T + net[0].bias) @ net[2].weight.T
            + net[2].bias
        )[:, 0]
        weights = weights / (weights.sum() if normalize else len(losses))
    grads = torch.autograd.grad((weights * losses).sum(), list(leaves.values()))
    rate = rates(parameters)
    moved = {
        name: value.detach() - rate[name] * grad
        for (name, value), grad in zip(leaves.items(), grads)
    }
    return clean(moved).mean().detach()


@quiet
@pytest.mark.parametrize('normalize', [False, True])
def test_the_meta_gradient_is_that_of_finite_differences(setting, normalize):
    _, noisy, clean, parameters, derivatives = setting
    network = WeightingNetwork(hidden=4, normalize=normalize).double()
    clean_loss = network.meta_gradient(noisy, clean, parameters, rates(parameters), derivatives)
    expected = clean_loss_after_trial(network.layers, noisy, clean, parameters, normalize)
    assert_close(clean_loss, expected)
    step, checked = 1e-5, 0
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        for index in range(parameter.numel()):
            ends = []
            for sign in (1, -1):
                other = copy.deepcopy(network)
                dict(other.named_parameters())[name].data.view(-1)[index] += sign * step
                ends.append(
                    clean_loss_after_trial(other.layers, noisy, clean, parameters, normalize)
                )
            difference = (ends[0] - ends[1]) / (2 * step)
            assert_close(parameter.grad.view(-1)[index], difference, rtol=1e-5, atol=1e-10)
            checked += bool(difference.abs() > 1e-7)
    assert checked > 3  # a hidden unit that is off has no slope


def test_what_a_sample_is_multiplied_by():
    network = WeightingNetwork(hidden=3)
    losses = torch.tensor([0.1, 2.0, 5.0], requires_grad=True)
    weights = network(losses)
    assert weights.shape == (3,) and ((weights > 0) & (weights < 1)).all()
    assert torch.autograd.grad(weights.sum(), losses, allow_unused=True) == (None,)
    assert_close(network.shares(weights), weights / 3)
    network.normalize = True
    assert_close(network.shares(weights).sum(), torch.tensor(1.0))
    assert network.shares(torch.zeros(3)).tolist() == [0, 0, 0]


@quiet
def test_nothing_of_the_model_changes(setting):
    model, noisy, clean, parameters, derivatives = setting
    before = copy.deepcopy(model.state_dict())
    learned_weights(noisy, clean, parameters, derivatives)
    network = WeightingNetwork().double()
    network.meta_gradient(noisy, clean, parameters, rates(parameters), derivatives)
    assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)
    assert all(value.grad is None and value.requires_grad for value in parameters.values())


def test_an_operation_without_forward_mode_is_named_once():
    model = network(Sine())
    parameters = dict(model.named_parameters())
    noisy = losses_of(model, torch.randn(3, 1, 5, 5, dtype=torch.float64), torch.tensor([0, 1, 2]))
    derivatives = SampleDerivatives()
    with pytest.warns(UserWarning, match='without forward-mode differentiation.*NoForwardMode|jvp'):
        first = derivatives(noisy, parameters, parameters)
    assert_close(derivatives(noisy, parameters, parameters), first)


@pytest.mark.parametrize('hidden', [0, 1.5, True])
def test_bad_width(hidden):
    with pytest.raises(ValueError, match='`hidden`.* must be a positive integer'):
        WeightingNetwork(hidden=hidden)


@pytest.mark.parametrize(('method', 'epochs', 'at_least'), [('l2rw', 5, 1.5), ('mwn', 12, 4)])
def test_planted_wrong_labels_come_to_weigh_less(method, epochs, at_least):
    """Clusters, with 40 % of their labels wrong, but for the 40 clean samples at the end."""
    draws = torch.Generator().manual_seed(0)
    true = torch.arange(1240) % 4
    x = 0.8 * torch.randn(4, 16, generator=draws)[true] + torch.randn(1240, 16, generator=draws)
    wrong = (torch.rand(1240, generator=draws) < 0.4) & (torch.arange(1240) < 1200)
    given = (true + wrong * torch.randint(1, 4, (1240,), generator=draws)) % 4

    def losses_at(part):
        def losses(parameters):
            scores = functional_call(model, parameters, (x[part],))
            return F.cross_entropy(scores, given[part], reduction='none')

        return losses

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    weighting, derivatives = WeightingNetwork(), SampleDerivatives()
    teacher = torch.optim.Adam(weighting.parameters(), lr=1e-3)
    clean, rates = losses_at(slice(1200, None)), dict.fromkeys(parameters, 0.05)
    weights = torch.zeros(1200)
    for _ in range(epochs):
        for part in torch.randperm(1200).split(100):
            noisy = losses_at(part)
            if method == 'l2rw':
                weights[part] = learned_weights(noisy, clean, parameters, derivatives)[0]
            else:
                weighting.meta_gradient(noisy, clean, parameters, rates, derivatives)
                teacher.step()
                with torch.no_grad():
                    weights[part] = weighting.shares(weighting(noisy(parameters)))
            optimizer.zero_grad()
            (weights[part] * noisy(parameters)).sum().backward()
            optimizer.step()
    assert weights[~wrong[:1200]].mean() > at_least * weights[wrong[:1200]].mean()
