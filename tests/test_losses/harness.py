"""What all losses have in common, as tests that each loss's own file runs on its variants.

A file derives its test class from `LossContract` and lists the variants in `methods`: how each is
made, and a loop over samples that says what it costs. `conftest.py` makes the parameters of it.
"""

from __future__ import annotations

from typing import Callable, NamedTuple
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close
from torch_releases import WHOLE_GRAPHS, needs_fake_devices

from mmdet_ols import OLSLoss
from mmdet_ols.losses.classification_loss import ClassificationLoss

N, C = 23, 5  # odd


# Not symmetric, so that swapped rows and columns show.
SOFT_LABELS = torch.tensor([[(3.0 * y + 2 * k) % 7 + 1 for k in range(C + 1)] for y in range(C)])


# --- the loops -----------------------------------------------------------------------------------
# Each takes the scores of a batch and its labels as rows (lists of floats, zeros where there is no
# class) and gives what each sample costs: under softmax a scalar, under sigmoid one for each score.


def softmax(scores):
    exps = [torch.exp(z - max(scores).detach()) for z in scores]
    return [e / sum(exps) for e in exps]


def cross_entropy(p, row, sigmoid):
    """Against any row; one term for each score under sigmoid, whose p are independent."""
    if sigmoid:
        return [-q * torch.log(p_k) - (1 - q) * torch.log(1 - p_k) for q, p_k in zip(row, p)]
    return -sum(q * torch.log(p_k) for q, p_k in zip(row, p))


def probabilities(scores, sigmoid):
    return [1 / (1 + torch.exp(-z)) for z in scores] if sigmoid else softmax(scores)


def hard_loop(scores, rows, sigmoid):
    return [cross_entropy(probabilities(z, sigmoid), row, sigmoid) for z, row in zip(scores, rows)]


def ols_loop(scores, rows, sigmoid, alpha, soft_labels):
    mixed = []
    for row in rows:
        soft = [sum(row[y] * soft_labels[y][k] for y in range(len(row))) for k in range(len(row))]
        mixed.append([alpha * q + (1 - alpha) * s for q, s in zip(row, soft)])
    return hard_loop(scores, mixed, sigmoid)


# --- the variants of a loss ----------------------------------------------------------------------


class Method(NamedTuple):
    make: Callable[..., ClassificationLoss]
    loop: Callable
    sigmoid: bool = True
    background: bool = True
    #: Whether the loop can do rows, too.
    rows: bool = True

    @property
    def quality_focal(self):
        return self.sigmoid


#: The form of the scores, as arguments of the loss.
FORMS = dict(
    softmax={},
    sigmoid=dict(use_sigmoid=True),
    background=dict(background=True),
    quality_focal=dict(use_sigmoid=True, quality_beta=2.0),
)
#: The forms that the loops know.
IN_LOOPS = ('softmax', 'sigmoid', 'background')


def forms(*names):
    """Run a test of the contract in these forms only."""

    def mark(function):
        function.forms = names
        return function

    return mark


def with_rows(function):
    """Run a test of the contract on the variants whose loop can do rows."""
    function.with_rows = True
    return function


def cases(methods, function):
    """Each variant in each form that it has and that the test asks for."""
    return [
        pytest.param(method, FORMS[form], id=f'{name}, {form}')
        for name, method in methods.items()
        for form in getattr(function, 'forms', IN_LOOPS)
        if getattr(method, form, True) and (method.rows or not hasattr(function, 'with_rows'))
    ]


def fixed_soft_labels(criterion):
    size = criterion.num_columns
    rows = torch.zeros(size, size)
    rows[:C] = SOFT_LABELS[:, :size] / SOFT_LABELS[:, :size].sum(1, keepdim=True)
    if criterion.background:
        rows[-1, -1] = 1
    return rows


def soft_label_loop(scores, rows, sigmoid):
    criterion = OLSLoss(C, background=len(rows[0]) > C)
    return ols_loop(scores, rows, sigmoid, 0.3, fixed_soft_labels(criterion).tolist())


# --- helpers -------------------------------------------------------------------------------------


def takes(criterion, rows):
    return not (rows and getattr(criterion, 'form', None) == 'paper')


def random_rows(columns):
    """Mixed, one-hot, scaled and zero rows."""
    share = torch.rand(N, 1)
    rows = share * F.one_hot(torch.randint(columns, (N,)), columns)
    rows = rows + (1 - share) * F.one_hot(torch.randint(columns, (N,)), columns)
    rows[::4] = F.one_hot(torch.randint(columns, (len(rows[::4]),)), columns).float()
    rows[1::8] *= torch.rand(len(rows[1::8]), 1)
    rows[2::8] = 0
    return rows


def assert_equals_loop(loss, expected, scores):
    """Losses of single samples, (N,) or (N, C)."""
    expected = torch.stack([torch.stack(x) if isinstance(x, list) else x for x in expected])
    upstream = torch.linspace(0.5, 2, loss.numel(), dtype=loss.dtype).view_as(loss)
    gradients = [
        torch.autograd.grad(value, scores, upstream, retain_graph=True)[0]
        for value in (loss, expected.to(loss.dtype))
    ]
    assert gradients[1].abs().sum() > 0
    assert_close(
        [loss, gradients[0]], [expected.to(loss.dtype), gradients[1]], rtol=1e-6, atol=1e-6
    )


def training(criterion):
    return criterion if criterion.training else criterion.train()


def batch(rows, **where):
    label = torch.randint(C, (16,), **where)
    if rows:
        label = 0.9 * F.one_hot(label, C) + 0.1 * F.one_hot(label.flip(0), C)
    return torch.randn(16, C, **where), label, torch.rand(16, **where)


def cases_to_compile(methods):
    """Every variant, and one of them with rows: variants have little of their own to compile."""
    made = [pytest.param((method.make, False), id=name) for name, method in methods.items()]
    rows = [(name, method) for name, method in methods.items() if takes(method.make(), rows=True)]
    return made + [
        pytest.param((method.make, True), id=f'{name}, rows') for name, method in rows[-1:]
    ]


def compare_compiled(make, rows, backend):
    """Value, gradient and state over two periods."""
    torch._dynamo.reset()
    eager, owner = training(make()), training(make())
    compiled = torch.compile(owner, fullgraph=WHOLE_GRAPHS, backend=backend)
    for _ in range(2):
        scores, label, weight = batch(rows)
        results = []
        for criterion in (compiled, eager):
            torch.manual_seed(1)
            leaf = scores.clone().requires_grad_()
            loss = criterion(leaf, label, weight)
            loss.backward()
            results.append((loss, leaf.grad))
        assert_close(*results)
        assert_close(owner.state_dict(), eager.state_dict())
        if isinstance(eager, OLSLoss):
            assert eager.correct_count.sum() > 0
            owner.update_soft_labels()
            eager.update_soft_labels()
    assert_close(owner.state_dict(), eager.state_dict())


def no_label_check():
    """On the CPU, where a look at the labels costs nothing, they are looked at."""
    return mock.patch('mmdet_ols.losses.classification_loss.check_labels')


# --- the tests -----------------------------------------------------------------------------------


class LossContract:
    """Tests of every loss; a subclass says of which."""

    #: The variants by name.
    methods: dict[str, Method] = {}
    #: Settings in which the loss is the plain cross entropy, by name; and under sigmoid the binary.
    neutral: dict[str, Callable[..., ClassificationLoss]] = {}
    neutral_under_sigmoid = True
    #: Whether the compiled loss is tested elsewhere.
    compiled_elsewhere = False

    def test_every_sample_of_a_batch_of_indices(self, method, form):
        criterion = method.make(reduction='none', loss_weight=0.7, **form)
        columns, sigmoid = criterion.num_columns, criterion.use_sigmoid
        scores = (2 * torch.randn(N, columns, dtype=torch.float64)).requires_grad_()
        label = torch.randint(columns + sigmoid, (N,))  # under sigmoid C is the background
        label[3::7] = 255
        rows = [[float(k == y) for k in range(columns)] for y in label.tolist()]
        weight = torch.rand(N, dtype=torch.float64) * (torch.arange(N) % 5 > 0)

        loss = criterion(scores, label, weight, ignore_index=255)

        expected = method.loop(scores, rows, sigmoid)
        for i, y in enumerate(label.tolist()):
            scale = 0.7 * weight.float()[i].double() * (y != 255)
            expected[i] = [scale * x for x in expected[i]] if sigmoid else scale * expected[i]
        assert_equals_loop(loss, expected, scores)

    @with_rows
    def test_every_sample_of_a_batch_of_rows(self, method, form):
        criterion = method.make(reduction='none', **form)
        scores = (2 * torch.randn(N, criterion.num_columns, dtype=torch.float64)).requires_grad_()
        rows = random_rows(criterion.num_columns)
        expected = method.loop(scores, rows.tolist(), criterion.use_sigmoid)
        assert_equals_loop(criterion(scores, rows), expected, scores)

    @forms('softmax', 'sigmoid', 'quality_focal')
    def test_reductions(self, method, form):
        """As the hosts have them, of what single samples cost."""

        def loss(**options):
            call = {key: options.pop(key) for key in ('avg_factor',) if key in options}
            return method.make(**form, **options)(scores, label, weight, **call)

        scores, label, weight = torch.randn(N, C), torch.randint(C, (N,)), torch.rand(N)
        label[::5] = -100
        single = loss(reduction='none')
        entries = single.numel()
        assert_close(loss(), single.sum() / entries)
        assert_close(loss(reduction='sum'), single.sum())
        assert_close(loss(avg_factor=7), single.sum() / 7)
        kept = entries * (N - len(label[::5])) / N
        assert_close(loss(avg_non_ignore=True), single.sum() / kept)

    @forms('softmax', 'sigmoid', 'quality_focal')
    def test_leading_shape_does_not_matter(self, method, form):
        criterion = method.make(reduction='none', **form)
        scores, label = torch.randn(2, 3, 4, C), torch.randint(C, (2, 3, 4))
        flat = criterion(scores.reshape(-1, C), label.flatten())
        assert_close(criterion(scores, label), flat.reshape(2, 3, 4, *flat.shape[1:]))

    @forms('softmax', 'sigmoid', 'quality_focal')
    @pytest.mark.parametrize('rows', [False, True])
    @pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
    def test_empty_batch_costs_nothing_and_has_a_graph(self, reduction, rows, method, form):
        criterion = method.make(reduction=reduction, **form)
        scores = torch.zeros(0, C, requires_grad=True)
        label = torch.zeros(0, C) if rows else torch.zeros(0, dtype=int)
        if not takes(criterion, rows):
            pytest.skip('takes no rows')
        loss = criterion(scores, label)
        assert_close(loss.sum(), torch.tensor(0.0))
        assert torch.autograd.grad(loss.sum(), scores)[0].shape == (0, C)

    @forms('softmax', 'sigmoid', 'quality_focal')
    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
    def test_half_precision_scores_are_computed_in_float32(self, dtype, method, form):
        half = (30 * torch.randn(N, C)).to(dtype).requires_grad_()
        full = half.detach().float().requires_grad_()
        label, results = torch.randint(C, (N,)), []
        for scores in (half, full):
            torch.manual_seed(3)
            loss = method.make(**form)(scores, label)
            results.append((loss, torch.autograd.grad(loss, scores)[0]))
        assert results[0][0].isfinite()
        assert_close(results[0], (results[1][0], results[1][1].to(dtype)))

    @pytest.mark.parametrize('rows', [False, True])
    def test_neutral_setting_is_pytorchs_cross_entropy(self, neutral, rows):
        class_weight = torch.rand(C)
        scores, label = torch.randn(N, C, requires_grad=True), torch.randint(C, (N,))
        if rows:
            label = 0.7 * F.one_hot(label, C) + 0.3 * F.one_hot(label.flip(0), C)
        loss = neutral(class_weight=class_weight.tolist(), reduction='none')(scores, label)
        expected = F.cross_entropy(scores, label, class_weight, reduction='none')
        assert_equals_loop(loss, expected.unbind(), scores)

    def test_class_weights_survive_a_loader_that_makes_models_on_meta(self, neutral):
        """Transformers, for one, leaves every buffer that no checkpoint holds uninitialised."""
        class_weight = torch.rand(C)
        with torch.device('meta'):
            criterion = neutral(class_weight=class_weight.tolist())
        criterion.to_empty(device='cpu')
        for buffer in criterion.buffers():
            buffer.zero_()
        criterion.train()
        scores, label = torch.randn(N, C), torch.randint(C, (N,))
        expected = F.cross_entropy(scores, label, class_weight, reduction='none').mean()
        assert_close(criterion(scores, label), expected)

    def test_neutral_setting_is_pytorchs_binary_cross_entropy(self, neutral_sigmoid):
        scores, label = torch.randn(N, C, requires_grad=True), torch.randint(C + 1, (N,))
        loss = neutral_sigmoid(use_sigmoid=True, reduction='none')(scores, label)
        expected = F.binary_cross_entropy_with_logits(
            scores, F.one_hot(label, C + 1)[:, :C].float(), reduction='none'
        )
        assert_equals_loop(loss, expected.unbind(), scores)

    @forms('softmax')
    def test_an_unknown_setting_and_several_classes_are_refused(self, method, form):
        with pytest.raises(TypeError, match="unexpected keyword argument 'alhpa'"):
            method.make(alhpa=0.5)
        with pytest.raises(ValueError, match='not defined for samples of several classes'):
            method.make()(torch.zeros(1, C), torch.tensor([[1.0, 1, 0, 0, 0]]))

    @forms('softmax')
    def test_its_settings_are_shown(self, method, form):
        criterion = method.make()
        shown = repr(criterion)
        options = [
            name
            for name in (
                'alpha',
                'beta',
                'rate',
                'epsilon',
                'mode',
                'form',
                'temperature',
                'bank_size',
            )
            if hasattr(criterion, name)
        ]
        assert options
        for name in options:
            assert f'{name}={getattr(criterion, name)!r}' in shown

    @pytest.mark.slow
    def test_compiled_loss_equals_eager(self, compiled):
        make, rows = compiled
        # What a loss keeps is changed in the graph: 'aot_eager' makes it one without side effects.
        backend = 'aot_eager' if make().state_dict() else 'eager'
        compare_compiled(make, rows, backend)

    @needs_fake_devices
    @forms('softmax', 'sigmoid', 'quality_focal')
    @pytest.mark.parametrize('rows', [False, True])
    def test_no_step_waits_for_a_device(self, rows, method, form):
        """Fake tensors hold no values: whatever would fetch one, as for a condition, raises."""
        with FakeTensorMode(allow_non_fake_inputs=True):
            criterion = training(method.make(**form))
            if not takes(criterion, rows):
                pytest.skip('takes no rows')
            scores, label, weight = batch(rows)
            with no_label_check():
                criterion(scores.requires_grad_(), label, weight).backward()
            assert scores.grad.shape == scores.shape
            # Forwards as on a GPU, with its look at the labels; backwards would need one.
            criterion.to('cuda')
            criterion(*batch(rows, device='cuda'))

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
    @forms('softmax', 'sigmoid', 'quality_focal')
    @pytest.mark.parametrize('rows', [False, True])
    def test_no_step_synchronises_a_gpu(self, rows, method, form):
        criterion = training(method.make(**form).cuda())
        if not takes(criterion, rows):
            pytest.skip('takes no rows')
        scores, label, weight = batch(rows, device='cuda')
        scores.requires_grad_()
        torch.cuda.set_sync_debug_mode('error')
        try:
            criterion(scores, label, weight).backward()
        finally:
            torch.cuda.set_sync_debug_mode('default')
        assert scores.grad.isfinite().all()
