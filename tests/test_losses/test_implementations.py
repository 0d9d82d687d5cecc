"""Whichever way a loss is computed, it is the same loss; and which way is taken when."""

from __future__ import annotations

import copy
import functools
import pickle
import warnings
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

from mmdet_ols import (
    BootstrapLoss,
    DisturbLabelLoss,
    LSLoss,
    OLSLoss,
    OLSSingleLoss,
    PairwiseConfusionLoss,
    SCELoss,
    TfKDRegLoss,
)
from mmdet_ols.core import (
    SUMS,
    CannotCompileError,
    SoftLabels,
    compiled_library,
    fused_cross_entropy,
)
from mmdet_ols.losses import classification_loss, ols_loss
from mmdet_ols.losses.classification_loss import ClassificationLoss

N, C = 24, 5


def tensors(criterion):
    return {name: getattr(criterion, name).clone() for name in ('soft_labels', *SUMS)}


def batch(columns=C, n=N):
    """About half of the samples are right."""
    scores, label = torch.randn(n, columns), torch.randint(columns, (n,))
    scores[1::2].scatter_add_(1, label[1::2, None], torch.full((n // 2, 1), 4.0))
    return scores, label


def twins(implementation, **options):
    """Two losses of one state, as after an epoch; the second one is the plain form."""
    criterion = OLSLoss(**{'num_classes': C, **options}, implementation=implementation)
    rows = criterion.soft_labels[: criterion.num_classes]
    rows.copy_((2 * torch.randn_like(rows)).softmax(-1))
    plain = copy.deepcopy(criterion)
    plain.implementation = 'plain'
    return criterion, plain


def step(criterion, scores, *args, **kwargs):
    """Loss and gradient."""
    scores = scores.detach().requires_grad_()
    loss = criterion(scores, *args, **kwargs)
    return loss.detach(), torch.autograd.grad(loss, scores)[0]


@pytest.fixture
def fused(monkeypatch):
    """The calls of the fused form that gave a loss."""
    calls = []

    def spy(*args):
        loss = fused_cross_entropy(*args)
        if loss is not None:
            calls.append(args)
        return loss

    monkeypatch.setattr(ols_loss, 'fused_cross_entropy', spy)
    return calls


# --- the fused form ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('options', 'call'),
    [
        ({}, {}),
        (dict(alpha=0.0, start='zeros'), {}),
        (dict(alpha=1.0, loss_weight=2.5), {}),
        (dict(loss_weight=0.0), {}),
        (dict(background=True), {}),
        (dict(num_classes=16, background=True), dict(avg_factor=3)),
        (dict(num_classes=1), {}),
        (dict(num_classes=1, background=True), {}),
        (dict(reduction='sum', loss_weight=0.3), {}),
        (dict(reduction='sum'), dict(reduction_override='mean', avg_factor=7)),
        (dict(reduction='none'), dict(reduction_override='mean')),
        ({}, dict(reduction_override='sum')),
        (dict(loss_weight=2.0), dict(avg_factor=7.5)),
        ({}, dict(avg_factor=torch.tensor(7.5))),
        ({}, dict(avg_factor=torch.tensor(7))),
        ({}, dict(avg_factor=0.0)),
        (dict(avg_non_ignore=True), {}),
        (dict(ignore_index=255), {}),
        (dict(ignore_index=2), dict(ignore_index=-1)),
    ],
    ids=str,
)
@pytest.mark.parametrize('weigh', ['none', 'some', 'column', 'zero'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_fused_equals_plain(dtype, weigh, options, call, fused):
    criterion, plain = twins('fused', **options)
    scores, label = batch(criterion.num_columns)
    scores = scores.to(dtype)
    weight = torch.rand(N) * (torch.rand(N) < 0.6)
    weight = dict(none=None, some=weight, column=weight[:, None], zero=0 * weight)[weigh]
    expected = step(plain, scores, label, weight, **call)
    # A difference of numbers below 1, times as much as an `avg_factor` of 0 makes of it.
    scale = 2**23 if call.get('avg_factor') == 0 else 1
    assert_close(
        [x / scale for x in step(criterion, scores, label, weight, **call)],
        [x / scale for x in expected],
    )
    assert len(fused) == 1
    assert (criterion.correct_count.sum() > 0) == (weigh != 'zero')
    assert_close(tensors(criterion), tensors(plain))


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16, torch.int32])
def test_fused_takes_labels_of_any_integers(dtype, fused):
    criterion, plain = twins('fused')
    scores, label = batch()
    assert_close(step(criterion, scores, label.to(dtype)), step(plain, scores, label))
    assert len(fused) == 1
    assert_close(tensors(criterion), tensors(plain))


def test_fused_takes_any_leading_shape_and_strides(fused):
    criterion, plain = twins('fused')
    scores, label = batch()
    weight = torch.rand(N)
    expected = step(plain, scores, label, weight)
    scores = scores.reshape(2, 3, 4, C).permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2)
    got = step(criterion, scores, label.view(2, 3, 4), weight.view(2, 3, 4, 1))
    assert len(fused) == 1
    assert not scores.is_contiguous()
    assert_close((got[0], got[1].reshape(N, C)), expected)
    assert_close(tensors(criterion), tensors(plain))


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize('implementation', ['plain', 'fused'])
def test_a_row_of_weight_0_may_hold_anything(implementation, value):
    """Padded anchors may. Its gradient is 0, and the others' is what it would be without it."""
    criterion, without = twins(implementation)
    scores, label = batch()
    weight = torch.rand(N)
    weight[3] = 0
    others = torch.arange(N) != 3
    expected = step(without, scores[others], label[others], weight[others], avg_factor=N)
    scores[3] = value
    loss, gradient = step(criterion, scores, label, weight)
    assert_close(loss, expected[0])
    assert_close(gradient[others], expected[1])
    assert_close(gradient[3], torch.zeros(C), rtol=0, atol=0)
    assert_close(tensors(criterion), tensors(without))


# --- when it is taken ----------------------------------------------------------------------------


class Call:
    """One that the fused form takes, before it is changed."""

    def __init__(self, **options):
        self.criterion = twins('auto', **options)[0]
        scores, self.label = batch(self.criterion.num_columns)
        self.scores = scores.requires_grad_()
        self.kwargs = {}

    def __call__(self):
        return self.criterion(self.scores, self.label, **self.kwargs)


def evaluation(call):
    call.criterion.eval()


def no_gradient(call):
    call.scores = call.scores.detach()


def rows(call):
    call.label = F.one_hot(call.label, C).float()


def float64(call):
    call.scores = call.scores.detach().double().requires_grad_()


def float16(call):
    call.scores = call.scores.detach().half().requires_grad_()


def ignored(call):
    call.label[3] = -100


def ignored_255(call):
    call.label[3] = 255
    call.kwargs['ignore_index'] = 255


def ignored_class(call):
    call.kwargs['ignore_index'] = 2


def no_reduction(call):
    call.kwargs['reduction_override'] = 'none'


def empty(call):
    call.scores, call.label = call.scores[:0], call.label[:0]


def learned_weight(call):
    call.kwargs['weight'] = torch.rand(N, requires_grad=True)


def learned_avg_factor(call):
    call.kwargs['avg_factor'] = torch.tensor(7.5, requires_grad=True)


def double_soft_labels(call):
    call.criterion.state.soft_labels = call.criterion.soft_labels.double()


def transposed_soft_labels(call):
    call.criterion.state.soft_labels = call.criterion.soft_labels.T


def asked_for_plain(call):
    call.criterion.implementation = 'plain'


@pytest.mark.parametrize(
    ('options', 'change'),
    [
        *[({}, change) for change in (evaluation, no_gradient, rows, float64, float16, ignored)],
        *[({}, change) for change in (ignored_255, ignored_class, no_reduction, empty)],
        *[({}, change) for change in (learned_weight, learned_avg_factor, asked_for_plain)],
        *[({}, change) for change in (double_soft_labels, transposed_soft_labels)],
        (dict(use_sigmoid=True), lambda call: None),
        (dict(class_weight=[1.0, 2, 3, 4, 5]), lambda call: None),
        (dict(ignore_index=2), lambda call: None),
        (dict(reduction='none'), lambda call: None),
    ],
    ids=lambda value: getattr(value, '__name__', str(value)),
)
def test_another_call_is_computed_plainly(options, change, fused):
    call = Call(**options)
    untouched = copy.deepcopy(call.criterion)
    call()
    taken = not options
    assert len(fused) == taken  # as it is, it is one, but for the options
    call.criterion = untouched
    change(call)
    plain = copy.deepcopy(call.criterion)
    plain.implementation = 'plain'
    loss = call()
    assert len(fused) == taken
    assert_close(loss, plain(call.scores, call.label, **call.kwargs))
    assert_close(tensors(call.criterion), tensors(plain))


def test_without_a_graph_nothing_is_fused(fused):
    call = Call()
    with torch.no_grad():
        call()
    assert not fused
    assert call.criterion.sample_count.sum() == 0
    call()
    assert len(fused) == 1


@pytest.mark.parametrize('wrong', [C, -1, 1000, -101])
@pytest.mark.parametrize('implementation', ['auto', 'fused'])
def test_wrong_labels_are_refused_before_they_are_used(implementation, wrong, fused):
    call = Call()
    call.criterion.implementation = implementation
    call.label[7] = wrong
    with pytest.raises(ValueError, match=rf'label must be in \[0, 4\].* Got the label {wrong}'):
        call()
    assert not fused
    assert call.criterion.sample_count.sum() == 0


def test_a_sum_with_an_avg_factor_is_refused(fused):
    call = Call(reduction='sum')
    call.kwargs['avg_factor'] = 7.0
    with pytest.raises(ValueError, match="`avg_factor` cannot be used with reduction 'sum'"):
        call()
    assert not fused


def test_learned_weights_get_their_gradient():
    call = Call()
    learned_weight(call)
    weight = call.kwargs['weight']
    (gradient,) = torch.autograd.grad(call(), weight)
    losses = call.criterion(call.scores, call.label, reduction_override='none')
    assert_close(gradient, losses / N)


def test_a_method_that_derives_from_it_keeps_its_own_ways(fused):
    class Quiet(OLSLoss):
        def learn(self, samples):
            pass

    quiet = Quiet(C)
    for criterion in (quiet, OLSSingleLoss(C)):
        step(criterion, *batch())
    assert not fused
    assert quiet.sample_count.sum() == 0
    with pytest.raises(ValueError, match='Quiet has no fused form'):
        Quiet(C, implementation='fused')


@pytest.mark.parametrize(
    'name',
    ['make_target', 'total_loss', 'learn', 'learn of a mixin', 'accumulate', 'collecting']
    + ['accumulate of a mixin'],
)
def test_a_class_that_does_a_part_in_its_own_way_is_asked_for_it(name, fused):
    """Of the loss or of its state."""
    name, *mixin = name.split(' of a ')
    kind = OLSLoss if hasattr(OLSLoss, name) else SoftLabels
    calls, old = [], getattr(kind, name)

    def own(*args):
        calls.append(args)
        return old(*args)

    bases = (type('Mixin', (), {name: own}), kind) if mixin else (kind,)
    changed = type('Changed', bases, {} if mixin else {name: own})
    further = type('Further', (changed,), {})
    criterion = further(C) if kind is OLSLoss else OLSLoss(C, state=further(C))
    step(criterion, *batch())
    assert len(calls) == 1
    assert not fused
    if kind is SoftLabels:
        with pytest.raises(ValueError, match="Further changes a part of the step .*='fused'"):
            OLSLoss(C, state=further(C), implementation='fused')


def test_a_class_with_other_defaults_alone_is_fused(fused):
    class Harder(OLSLoss):
        def __init__(self, num_classes, alpha=0.9):
            super().__init__(num_classes, alpha)

    scores, label = batch()
    assert_close(
        step(Harder(C), scores, label), step(OLSLoss(C, 0.9, implementation='plain'), scores, label)
    )
    assert len(fused) == 1


def test_nothing_is_fused_in_a_graph_of_the_users_own(fused):
    torch._dynamo.reset()
    call = Call()
    plain = copy.deepcopy(call.criterion)
    plain.implementation = 'plain'
    expected = plain(call.scores, call.label)
    call.criterion = torch.compile(call.criterion, backend='eager', fullgraph=True)
    assert_close(call(), expected)
    assert not fused


def test_fake_tensors_are_not_fused(fused):
    """They have no numbers: a pointer to them is none."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        call = Call()
        with mock.patch.object(ClassificationLoss, '_check_labels'):
            call()
    assert not fused


# --- in a training -------------------------------------------------------------------------------


def test_fused_form_under_autocast(fused):
    criterion, plain = twins('fused')
    model, features, label = nn.Linear(8, C), torch.randn(N, 8), torch.randint(C, (N,))
    results = []
    for loss in (criterion, plain):
        model.zero_grad()
        with torch.autocast('cpu', torch.bfloat16):
            value = loss(model(features), label)
        value.backward()
        results.append((value, model.weight.grad.clone()))
    assert len(fused) == 1
    assert fused[0][0].dtype == torch.bfloat16
    assert_close(results[0][0], results[1][0])
    # The scores' gradient is rounded to bfloat16.
    assert_close(results[0][1], results[1][1], rtol=2**-7, atol=1e-4)
    assert_close(tensors(criterion), tensors(plain))


@pytest.mark.parametrize(
    'continued',
    [
        copy.deepcopy,
        lambda criterion: pickle.loads(pickle.dumps(criterion)),
        lambda criterion: resumed(criterion, 'fused'),
        lambda criterion: resumed(criterion, 'plain'),
        lambda criterion: resumed(criterion, 'fused', assign=True),
    ],
    ids=['deepcopy', 'pickle', 'resume', 'resume plainly', 'resume, assign'],
)
def test_training_that_goes_on_elsewhere(continued, fused):
    """In the middle of a period, which the original goes on with, too."""
    criterion, plain = twins('fused')
    for _ in range(2):
        scores, label = batch()
        step(criterion, scores, label)
        step(plain, scores, label)
    other = continued(criterion)
    before = tensors(criterion)
    for _ in range(2):
        for _ in range(2):
            scores, label = batch()
            assert_close(step(other, scores, label), step(plain, scores, label))
            assert_close(tensors(other), tensors(plain))
        other.update_soft_labels()
        plain.update_soft_labels()
        assert_close(tensors(other), tensors(plain))
    assert len(fused) in (2, 6)
    assert_close(tensors(criterion), before, rtol=0, atol=0)


def resumed(criterion, implementation, **options):
    other = OLSLoss(C, implementation=implementation)
    other.load_state_dict(copy.deepcopy(criterion.state_dict()), **options)
    return other


# --- without a compiler --------------------------------------------------------------------------


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv('MMDET_OLS_CACHE', raising=False)
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setenv('PATH', '')
    compiled_library.cache_clear()
    yield
    compiled_library.cache_clear()


def recorded_warnings(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        function()
    return [str(warning.message) for warning in caught]


def test_without_a_compiler_one_warning_names_the_remedy(no_compiler):
    criterion, plain = twins('auto')

    def train():
        for _ in range(3):
            scores, label = batch()
            assert_close(step(criterion, scores, label), step(plain, scores, label))
        criterion.update_soft_labels()
        plain.update_soft_labels()

    (message,) = recorded_warnings(train)
    assert "implementation='plain'" in message
    assert 'apt install g++' in message
    assert_close(tensors(criterion), tensors(plain))


def test_a_compiler_that_fails_is_quoted(no_compiler, monkeypatch, tmp_path):
    compiler = tmp_path / 'compiler'
    compiler.write_text('#!/bin/sh\necho "what is -O3?" >&2\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv('CXX', str(compiler))
    with pytest.warns(UserWarning, match=r'(?s)computed operation by operation .*what is -O3\?'):
        step(OLSLoss(C), *batch())


def test_a_library_that_does_not_load_ends_no_training(no_compiler, monkeypatch, tmp_path):
    compiler = tmp_path / 'compiler'
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho text > "$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv('CXX', str(compiler))
    criterion, plain = twins('auto')
    scores, label = batch()
    with pytest.warns(UserWarning, match='computed operation by operation'):
        got = step(criterion, scores, label)
    assert_close(got, step(plain, scores, label))


def test_who_asks_for_the_fused_form_learns_at_once_that_there_is_none(no_compiler):
    with pytest.raises(CannotCompileError, match=r'No C\+\+ compiler'):
        OLSLoss(C, implementation='fused')
    OLSLoss(C, implementation='plain')
    OLSLoss(C)


@pytest.mark.parametrize(
    'method',
    [LSLoss, SCELoss, BootstrapLoss, TfKDRegLoss, PairwiseConfusionLoss, DisturbLabelLoss],
)
def test_methods_without_a_fused_form_say_so(method):
    with pytest.raises(
        ValueError, match=rf"{method.__name__} has no fused form, .*='fused': .* take 'compiled'"
    ):
        method(C, implementation='fused')


def test_ols_single_has_no_fused_form():
    with pytest.raises(ValueError, match='OLSSingleLoss has no fused form'):
        OLSSingleLoss(C, implementation='fused')


def test_unknown_implementation():
    with pytest.raises(
        ValueError, match=r"`implementation` must be one of \('auto', 'plain', .* but got 'fast'"
    ):
        OLSLoss(C, implementation='fast')


# --- torch.compile -------------------------------------------------------------------------------


@pytest.fixture
def graphs(monkeypatch):
    """What was compiled, by a backend that takes no minutes."""
    torch._dynamo.reset()
    made, aot_eager = [], torch._dynamo.lookup_backend('aot_eager')

    def backend(graph, inputs):
        made.append(graph)
        return aot_eager(graph, inputs)

    compile_with(monkeypatch, backend)
    yield made
    torch._dynamo.reset()


def compile_with(monkeypatch, backend):
    compile = functools.partial(torch.compile, backend=backend)
    monkeypatch.setattr(torch, 'compile', compile)
    classification_loss._compiled_compute.cache_clear()
    monkeypatch.setattr(
        classification_loss,
        '_compiled_compute',
        functools.cache(classification_loss._compiled_compute.__wrapped__),
    )


@pytest.mark.parametrize(
    'make',
    [
        functools.partial(OLSLoss, background=True),
        functools.partial(OLSLoss, use_sigmoid=True, gamma=2.0),
        functools.partial(LSLoss, use_sigmoid=True),
        functools.partial(BootstrapLoss, class_weight=[1.0, 2, 3, 4, 5]),
        OLSSingleLoss,
        SCELoss,
        TfKDRegLoss,
        PairwiseConfusionLoss,
        DisturbLabelLoss,
    ],
    ids=lambda make: getattr(make, 'func', make).__name__,
)
def test_compiled_equals_plain(make, graphs):
    """Over a roll-over, with ignored labels and weights."""
    plain = make(C)
    compiled = copy.deepcopy(plain)
    compiled.implementation = 'compiled'
    for seed in range(3):
        scores, label = batch(plain.num_columns)
        label[::7] = -100
        weight = torch.rand(N)
        results = []
        for criterion in (plain, compiled):
            torch.manual_seed(seed)  # some methods draw
            results.append(step(criterion, scores, label, weight))
        assert_close(*results)
        assert_close(compiled.state_dict(), plain.state_dict())
        if seed and isinstance(plain, OLSLoss):
            assert plain.correct_count.sum() > 0
            compiled.update_soft_labels()
            plain.update_soft_labels()
    assert len(graphs) == 1


def test_batches_of_any_size_share_a_graph(graphs):
    criterion, plain = twins('compiled')
    for n in (24, 7, 30, 11, 2, 64, 25, 9, 100, 17):
        scores, label = batch(n=n)
        # As a detector's, whose number of positives changes, too.
        call = dict(weight=torch.rand(n), avg_factor=n / 3)
        assert_close(step(criterion, scores, label, **call), step(plain, scores, label, **call))
    assert_close(tensors(criterion), tensors(plain))
    assert len(graphs) <= 3


@pytest.mark.parametrize('avg_factor', [7, 7.5, np.float32(7.5), torch.tensor(7.5)])
def test_a_divisor_is_compiled_as_a_tensor_where_the_scores_are(avg_factor, monkeypatch):
    compute = mock.Mock()
    monkeypatch.setattr(classification_loss, '_compiled_compute', lambda: compute)
    criterion = OLSLoss(C, implementation='compiled')
    label = torch.zeros(3, dtype=torch.long, device='meta')
    criterion(torch.zeros(3, C, device='meta'), label, avg_factor=avg_factor)
    divisor = compute.call_args.args[-1].avg_factor
    if isinstance(avg_factor, torch.Tensor):
        assert divisor is avg_factor
    else:
        assert divisor.device.type == 'meta'
        assert divisor.shape == ()


def test_positives_of_a_yolo_head_share_a_graph(graphs):
    """Two images' anchors, some of which are ignored; from none to many positives."""
    criterion, plain = twins('compiled', use_sigmoid=True, reduction='sum')
    for positives in (3, 5, 0, 1, 40, 2, 17, 9, 4, 30):
        scores, target = torch.randn(2, 50, C), torch.zeros(2, 50, C)
        weight = torch.zeros(2, 50, 1)
        chosen = torch.randperm(100)[:positives]
        label = torch.randint(C, (positives,))
        target.view(100, C)[chosen, label] = 1
        scores.view(100, C)[chosen[::2], label[::2]] += 4
        weight.view(100)[chosen] = 1
        got = step(criterion, scores, target, weight)
        assert_close(got, step(plain, scores, target, weight))
    assert plain.sample_count.sum() == 111
    assert_close(tensors(criterion), tensors(plain))
    # The first size; any below and any from the number of classes on (`_add`); none, and one.
    assert len(graphs) <= 5


def test_evaluation_is_compiled_without_what_it_learns(graphs):
    criterion, plain = twins('compiled')
    scores, label = batch()
    step(criterion, scores, label)
    step(plain, scores, label)
    before = tensors(criterion)
    with torch.no_grad():
        assert_close(criterion.eval()(scores, label), plain.eval()(scores, label))
    assert_close(tensors(criterion), before, rtol=0, atol=0)
    assert len(graphs) == 2


def cannot(*args, **kwargs):
    raise NotImplementedError('no such thing on this machine')


@pytest.mark.parametrize('where', ['backend', 'torch.compile'])
def test_where_compiling_fails_one_warning_says_so(where, monkeypatch):
    torch._dynamo.reset()
    if where == 'backend':
        compile_with(monkeypatch, cannot)
    else:  # as in a Python that is newer than PyTorch knows
        compile_with(monkeypatch, 'eager')
        monkeypatch.setattr(torch, 'compile', cannot_at_all)
    criterion, plain = twins('compiled')

    def train():
        for _ in range(3):
            scores, label = batch()
            assert_close(step(criterion, scores, label), step(plain, scores, label))

    (message,) = recorded_warnings(train)
    assert 'OLSLoss could not be compiled' in message
    assert "implementation='plain'" in message
    assert 'on this machine' in message
    assert_close(tensors(criterion), tensors(plain))
    torch._dynamo.reset()


def cannot_at_all(*args, **kwargs):
    raise RuntimeError('torch.compile is not supported on this machine')


def test_an_error_of_the_call_is_not_taken_for_one_of_the_compiler(graphs):
    criterion = OLSLoss(C, implementation='compiled')
    scores, label = batch()
    label[3] = C
    with pytest.raises(ValueError, match='label must be in'):
        criterion(scores, label)
    assert criterion.implementation == 'compiled'


# --- samples that weigh nothing ------------------------------------------------------------------


@pytest.fixture
def kept(monkeypatch):
    """A function that computes a step with all rows, as a GPU does."""

    def keep(*args, **kwargs):
        with mock.patch.object(classification_loss, 'may_select', lambda tensor: False):
            return step(*args, **kwargs)

    return keep


@pytest.mark.parametrize(
    ('options', 'call'),
    [
        ({}, {}),
        (dict(reduction='sum'), {}),
        ({}, dict(avg_factor=7.5)),
        (dict(avg_non_ignore=True), {}),
        (dict(avg_non_ignore=True), dict(avg_factor=7.5)),
        (dict(reduction='none'), dict(reduction_override='mean')),
        (dict(class_weight=[1.0, 2, 3, 4, 5]), {}),
    ],
    ids=str,
)
@pytest.mark.parametrize('form', ['softmax', 'sigmoid', 'sigmoid, each score', 'focal', 'rows'])
def test_rows_of_weight_0_make_no_difference(form, options, call, kept):
    options = dict(options, use_sigmoid=form not in ('softmax', 'rows'))
    if form == 'focal':
        options.update(gamma=2.0, balance=0.25)
    criterion, every_row = twins('plain', **options)
    scores, label = batch()
    if form == 'rows':
        label = F.one_hot(label, C) * torch.rand(N, 1)
    else:
        label[::5] = -100
    for share in (0.3, 1.0, 0.0):
        weight = torch.rand(N, 1) * (torch.rand(N, 1) < share)
        if form == 'sigmoid, each score':
            weight = weight * torch.rand(N, C) * (torch.rand(N, C) < 0.5)
        expected = kept(every_row, scores, label, weight, **call)

        loss, gradient = step(criterion, scores, label, weight, **call)

        assert_close((loss, gradient), expected)
        nothing = weight.sum(1) == 0
        assert_close(gradient[nothing], torch.zeros(int(nothing.sum()), C), rtol=0, atol=0)
        assert_close(tensors(criterion), tensors(every_row))
    assert criterion.sample_count.sum() > 0


@pytest.mark.parametrize(
    'make',
    [
        LSLoss,
        SCELoss,
        functools.partial(BootstrapLoss, mode='hard'),
        TfKDRegLoss,
        PairwiseConfusionLoss,
        functools.partial(PairwiseConfusionLoss, form='released'),
        functools.partial(PairwiseConfusionLoss, form='paper'),
    ],
    ids=lambda make: str(
        getattr(make, 'keywords', make.__name__ if hasattr(make, '__name__') else '')
    ),
)
def test_rows_of_weight_0_make_no_difference_to_other_methods(make, kept):
    criterion = make(C)
    scores, label = batch()
    weight = torch.rand(N) * (torch.rand(N) < 0.6)
    assert_close(step(criterion, scores, label, weight), kept(criterion, scores, label, weight))


def test_the_others_are_not_computed(kept):
    """What this is for: of a YOLO head's anchors, one in a hundred counts."""
    computed = []

    class Watched(LSLoss):
        def make_target(self, samples):
            computed.append(len(samples.logits))
            return super().make_target(samples)

    scores, label = batch()
    weight = torch.zeros(N)
    weight[[3, 8]] = 1
    step(Watched(C), scores, label, weight)
    step(Watched(C, reduction='sum'), scores, label, weight)
    step(Watched(C), scores, label, weight, avg_factor=3.0)
    kept(Watched(C), scores, label, weight)
    assert computed == [2, 2, 2, N]
