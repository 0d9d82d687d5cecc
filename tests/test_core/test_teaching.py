"""Forward passes that teach nothing, and those that are computed twice."""

from __future__ import annotations

import functools
import threading

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from torch_releases import WHOLE_GRAPHS

from mmdet_ols import OLSLoss, OLSSingleLoss, OLSSparseLoss, no_teaching
from mmdet_ols.core import SoftLabels, teaching_allowed

C = 4
MAKE = {
    'plain': lambda: OLSLoss(C, implementation='plain'),
    'fused': lambda: OLSLoss(C, implementation='fused'),
    'sigmoid': lambda: OLSLoss(C, use_sigmoid=True),
    'sparse': lambda: OLSSparseLoss(C, top_m=2),
    'single': lambda: OLSSingleLoss(C, bank_size=3),
}
EVERY_LOSS = pytest.mark.parametrize('make', MAKE.values(), ids=MAKE)


def batch(n=12):
    label = torch.randint(C, (n,))
    return (3 * torch.eye(C)[label] + torch.randn(n, C)).requires_grad_(), label


def state_of(criterion):
    return {name: value.clone() for name, value in criterion.state_dict().items()}


def step(criterion, scores, label, seed=1):
    torch.manual_seed(seed)  # one of the losses draws
    loss = criterion(scores, label)
    return loss.detach(), torch.autograd.grad(loss, scores)[0]


@EVERY_LOSS
def test_a_trial_has_the_values_of_a_step_and_teaches_nothing(make):
    criterion = make()
    step(criterion, *batch())
    criterion.update_soft_labels()
    step(criterion, *batch())
    before, (scores, label) = state_of(criterion), batch()
    with no_teaching():
        tried = step(criterion, scores, label)
        assert_close(state_of(criterion), before, rtol=0, atol=0)
    assert_close(step(criterion, scores, label), tried, rtol=0, atol=0)
    assert criterion.sample_count.sum() == 24


def test_a_state_by_itself_obeys_too():
    state, (scores, label) = SoftLabels(C), batch()
    arguments = scores, scores.softmax(-1), label, torch.ones(12, dtype=torch.bool)
    with no_teaching():
        assert not state.accumulate(*arguments).any()
    assert not state.sample_count.any()
    assert state.accumulate(*arguments).any()


def test_blocks_may_be_nested_and_end_with_an_error():
    with pytest.raises(RuntimeError, match='inside'), no_teaching():
        with no_teaching():
            assert not teaching_allowed()
        assert not teaching_allowed()
        raise RuntimeError('inside')
    assert teaching_allowed()


def test_other_threads_go_on_learning():
    criterion, opened, done = OLSLoss(C), threading.Event(), threading.Event()

    def try_out():
        with no_teaching():
            opened.set()
            done.wait(10)

    thread = threading.Thread(target=try_out)
    thread.start()
    assert opened.wait(10)
    step(criterion, *batch())
    done.set()
    thread.join()
    assert criterion.sample_count.sum() == 12


def test_a_trial_in_a_graph_of_the_users_own():
    torch._dynamo.reset()
    criterion = OLSLoss(C)
    compiled = torch.compile(criterion, fullgraph=WHOLE_GRAPHS, backend='aot_eager')
    for count in (12, 24):  # before and after, the graph that teaches is used
        step(compiled, *batch())
        with no_teaching():
            step(compiled, *batch())
        assert criterion.sample_count.sum() == count


@pytest.mark.parametrize('use_reentrant', [False, True])
@EVERY_LOSS
def test_activation_checkpointing_counts_a_sample_once(make, use_reentrant):
    """It computes the forward pass a second time during the backward pass."""
    criterion, expected = make(), make()
    head, (features, label) = nn.Linear(C, C), batch()
    calls = []

    def loss_of(features):
        calls.append(1)
        return criterion(head(features), label) * 2

    torch.manual_seed(1)
    loss = checkpoint(loss_of, features, use_reentrant=use_reentrant)
    gradient = torch.autograd.grad(loss, features)[0] if not use_reentrant else None
    if use_reentrant:
        loss.backward()
        gradient = features.grad
    assert len(calls) == 2
    torch.manual_seed(1)
    plain = expected(head(features), label) * 2
    assert_close(loss, plain)
    assert_close(gradient, torch.autograd.grad(plain, features)[0])
    assert_close(state_of(criterion), state_of(expected))
    assert criterion.sample_count.sum() == 12


def test_a_loss_within_a_backward_pass_teaches_all_the_same():
    """As a hook's or a double backward's: it is no repetition."""
    criterion, (scores, label) = OLSLoss(C), batch()
    x = torch.ones(1, requires_grad=True)
    y = x * 2

    def also(gradient):
        with torch.enable_grad():
            criterion(scores, label)

    y.register_hook(also)
    y.sum().backward()
    assert criterion.sample_count.sum() == 12


def steps(criterion, kinds):
    """Return the gradients of several batches, some of which go through checkpoints.

    One backward pass is for two of them.

    Args:
        criterion: The loss.
        kinds: For each batch the kinds of its nested checkpoints, the innermost first: whether it
            is the reentrant one.
    """
    torch.manual_seed(2)
    head, total = nn.Linear(C, C), []
    for kind in kinds:
        features, label = batch()

        def loss_of(features, label=label):
            return criterion(head(features), label) * 2

        for use_reentrant in kind:
            loss_of = functools.partial(checkpoint, loss_of, use_reentrant=use_reentrant)
        total.append(loss_of(features))
        if len(total) == 2:
            sum(total).backward()
            total = []
    return [parameter.grad for parameter in head.parameters()]


@pytest.mark.parametrize(
    'kinds',
    [
        [(), (False,), (), (True,)],
        [(False, False)] * 2,
        [(True, True)] * 2,
        [(False, True)] * 2,
        [(True, False)] * 2,
        [(False, False, False), ()],
    ],
    ids=str,
)
@pytest.mark.parametrize('early_stop', [True, False])
@pytest.mark.parametrize('implementation', ['plain', 'fused'])
def test_every_way_to_checkpoint_counts_once(implementation, kinds, early_stop):
    criterion, expected = (OLSLoss(C, implementation=implementation) for _ in range(2))
    with set_checkpoint_early_stop(early_stop):
        gradients = steps(criterion, kinds)
    assert_close(gradients, steps(expected, [()] * len(kinds)))
    assert_close(state_of(criterion), state_of(expected))
    assert criterion.sample_count.sum() == 12 * len(kinds)


def test_a_graph_that_is_kept_for_a_second_backward_pass():
    criterion, (scores, label) = OLSLoss(C), batch()
    loss = checkpoint(lambda x: criterion(2 * x, label), scores, use_reentrant=False)
    loss.backward(retain_graph=True)
    loss.backward()
    assert criterion.sample_count.sum() == 12
