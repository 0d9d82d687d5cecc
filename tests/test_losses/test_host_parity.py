"""With alpha=1 OLSLoss is the host's CrossEntropyLoss, in value and gradient.

The hosts are imported at the top on purpose: without them these tests fail rather than skip.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.losses import CrossEntropyLoss as MMDetLoss
from mmdet.models.losses import FocalLoss, QualityFocalLoss
from mmpretrain.models.losses import CrossEntropyLoss as MMPretrainLoss
from torch.testing import assert_close
from torch_releases import IS_OLDEST

from mmdet_ols import OLSLoss

N, C = 12, 5
CLASS_WEIGHT = [0.5, 1.0, 2.0, 3.0, 0.25]
FORMS = pytest.mark.parametrize('use_sigmoid', [False, True])
REDUCTIONS = pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
pytestmark = pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore`` is False')


def assert_equal_losses(ours, host, cls_score, *args, **kwargs):
    """Value and gradient, for any gradient from above."""
    results = []
    for criterion in (ours, host):
        scores = cls_score.clone().requires_grad_()
        loss = criterion(scores, *args, **kwargs)
        upstream = torch.linspace(0.5, 2, loss.numel()).view_as(loss)
        results.append((loss, torch.autograd.grad(loss, scores, upstream)[0]))
    assert results[0][1].abs().sum() > 0
    assert_close(results[0], results[1])


def mmdet_pair(**kwargs):
    ours = OLSLoss(C, alpha=1, **kwargs)
    # Soft labels that would show if alpha=1 let any of them through.
    ours.soft_labels.copy_(torch.rand(C, C).softmax(-1))
    return ours, MMDetLoss(**kwargs)


def labels(kind):
    index = torch.randint(C, (N,))
    if kind == 'indices':
        return index
    if kind == 'one-hot':
        return F.one_hot(index, C).float()
    if kind == 'soft':  # as mixup makes them
        share = torch.rand(N, 1)
        return share * F.one_hot(index, C) + (1 - share) * F.one_hot(torch.randint(C, (N,)), C)
    if kind == 'scaled':  # as YOLOX makes them: times an IoU
        return torch.rand(N, 1) * F.one_hot(index, C)
    raise ValueError(kind)


# --- MMDetection ---------------------------------------------------------------------------------


@FORMS
@REDUCTIONS
@pytest.mark.parametrize('class_weight', [None, CLASS_WEIGHT])
@pytest.mark.parametrize('weight', ['no weight', 'weight'])
@pytest.mark.parametrize('kind', ['indices', 'one-hot', 'soft', 'scaled'])
def test_labels_and_weights(kind, weight, class_weight, reduction, use_sigmoid):
    ours, host = mmdet_pair(
        use_sigmoid=use_sigmoid, class_weight=class_weight, reduction=reduction, loss_weight=0.7
    )
    # MMDetection's sigmoid form takes a sample's weight for rows as a column.
    shape = (N, 1) if use_sigmoid and kind != 'indices' else (N,)
    weight = torch.rand(shape) * (torch.rand(shape) < 0.8) if weight == 'weight' else None
    assert_equal_losses(ours, host, torch.randn(N, C), labels(kind), weight)


@FORMS
@pytest.mark.parametrize('kind', ['indices', 'one-hot'])
@pytest.mark.parametrize('avg_factor', [3, 2.5, torch.tensor(3), torch.tensor(2.5), 0.0])
@pytest.mark.parametrize('reduction', ['none', 'mean'])
def test_avg_factor(reduction, avg_factor, kind, use_sigmoid):
    """0.0, too: MMDetection adds an epsilon to the divisor."""
    ours, host = mmdet_pair(use_sigmoid=use_sigmoid, reduction=reduction)
    assert_equal_losses(ours, host, torch.randn(N, C), labels(kind), avg_factor=avg_factor)


@FORMS
def test_avg_factor_with_sum_is_refused_by_both(use_sigmoid):
    for criterion in mmdet_pair(use_sigmoid=use_sigmoid, reduction='sum'):
        with pytest.raises(ValueError, match='avg_factor'):
            criterion(torch.randn(N, C), labels('indices'), avg_factor=3)


@FORMS
@REDUCTIONS
@pytest.mark.parametrize('configured', ['none', 'mean', 'sum'])
def test_reduction_override(configured, reduction, use_sigmoid):
    ours, host = mmdet_pair(use_sigmoid=use_sigmoid, reduction=configured)
    assert_equal_losses(
        ours, host, torch.randn(N, C), labels('indices'), reduction_override=reduction
    )


@FORMS
@pytest.mark.parametrize('avg_non_ignore', [False, True])
@pytest.mark.parametrize(
    ('reduction', 'avg_factor'),
    [('none', None), ('none', 4.0), ('sum', None), ('mean', None), ('mean', 4.0)],
)
@pytest.mark.parametrize(
    ('configured', 'per_call', 'ignored'),
    [(None, None, -100), (255, None, 255), (None, 255, 255), (255, 2, 2), (None, 0, 0)],
)
def test_ignore_index(
    configured, per_call, ignored, avg_factor, avg_non_ignore, reduction, use_sigmoid
):
    ours, host = mmdet_pair(
        use_sigmoid=use_sigmoid,
        reduction=reduction,
        ignore_index=configured,
        avg_non_ignore=avg_non_ignore,
    )
    label = labels('indices')
    label[[1, 4, 5]] = ignored
    assert_equal_losses(
        ours,
        host,
        torch.randn(N, C),
        label,
        torch.rand(N),
        ignore_index=per_call,
        avg_factor=avg_factor,
    )


@FORMS
@pytest.mark.parametrize('avg_non_ignore', [False, True])
def test_rows_with_avg_non_ignore(avg_non_ignore, use_sigmoid):
    """Both count a row's entries, not the row."""
    ours, host = mmdet_pair(use_sigmoid=use_sigmoid, avg_non_ignore=avg_non_ignore)
    assert_equal_losses(ours, host, torch.randn(N, C), labels('soft'))


@REDUCTIONS
@pytest.mark.parametrize('avg_non_ignore', [False, True])
@pytest.mark.parametrize('ignored', [-1, -100, 255])
def test_ignored_entries_of_rows_under_sigmoid(ignored, avg_non_ignore, reduction):
    ours, host = mmdet_pair(
        use_sigmoid=True, reduction=reduction, ignore_index=255, avg_non_ignore=avg_non_ignore
    )
    rows = labels('one-hot')
    rows[0] = ignored
    rows[1, 3] = ignored
    assert_equal_losses(ours, host, torch.randn(N, C), rows)


@REDUCTIONS
def test_weight_of_each_score_under_sigmoid(reduction):
    ours, host = mmdet_pair(use_sigmoid=True, reduction=reduction, class_weight=CLASS_WEIGHT)
    assert_equal_losses(ours, host, torch.randn(N, C), labels('one-hot'), torch.rand(N, C))


@REDUCTIONS
@pytest.mark.parametrize('negative', [C, -1])
def test_background_and_negative_indices_under_sigmoid(negative, reduction):
    """Index C is background and pulls all scores down; a negative index is ignored."""
    ours, host = mmdet_pair(use_sigmoid=True, reduction=reduction)
    label = labels('indices')
    label[3:9] = negative
    assert_equal_losses(ours, host, torch.randn(N, C), label, torch.rand(N))


@pytest.mark.parametrize(
    ('use_sigmoid', 'dtype'),
    # The others fail in the host.
    [(True, torch.int32), (True, torch.int64), (False, torch.int64), (False, torch.uint8)],
)
def test_index_dtypes(use_sigmoid, dtype):
    ours, host = mmdet_pair(use_sigmoid=use_sigmoid)
    assert_equal_losses(ours, host, torch.randn(N, C), labels('indices').to(dtype))


@pytest.mark.parametrize('dtype', [torch.int64, torch.bool])
def test_row_dtypes_under_sigmoid(dtype):
    ours, host = mmdet_pair(use_sigmoid=True)
    assert_equal_losses(ours, host, torch.randn(N, C), labels('one-hot').to(dtype))


def test_softmax_with_masked_class():
    """A logit of -inf, where the target is zero, is finite in the host."""
    ours, host = mmdet_pair()
    scores, label = torch.randn(N, C), torch.randint(C - 1, (N,))
    scores[:, -1] = -torch.inf
    assert_equal_losses(ours, host, scores, label)


@FORMS
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_score_dtypes(dtype, use_sigmoid):
    """The host computes in the scores' dtype, or float32; ours in float32 at least."""
    if IS_OLDEST and dtype == torch.float16:
        pytest.skip('the host needs operations that torch 2.1 has in float16 only on a GPU')
    ours, host = mmdet_pair(use_sigmoid=use_sigmoid)
    scores, label = torch.randn(N, C).to(dtype), labels('indices')
    # A handful of roundings of numbers below 4 in the host: of a log-probability, of a loss, and of
    # the mean. PyTorch's binary cross entropy rounds float64 scores to its float32 targets.
    atol = 4 * 4 * torch.finfo(dtype).eps if dtype.itemsize == 2 else 1e-6
    assert_close(ours(scores, label).double(), host(scores, label).double(), rtol=0, atol=atol)


# --- the calls of MMDetection's heads -----------------------------------------------------------


def test_yolov3_head():
    """(B, anchors, C), float rows that are zero for negatives, weight (B, anchors, 1), sum."""
    ours, host = mmdet_pair(use_sigmoid=True, reduction='sum')
    rows = torch.zeros(2, 30, C)
    rows[0, 3, 1] = rows[0, 4, 1] = rows[1, 29, 4] = 1
    weight = (torch.rand(2, 30, 1) < 0.9).float()
    assert_equal_losses(ours, host, torch.randn(2, 30, C), rows, weight=weight)


@pytest.mark.parametrize('n', [N, 0])
def test_yolox_head(n):
    """One-hot rows times an IoU; there may be no positive at all."""
    ours, host = mmdet_pair(use_sigmoid=True, reduction='sum')
    scores, rows = torch.randn(n, C), labels('scaled')[:n]
    if n:
        assert_equal_losses(ours, host, scores, rows)
    else:
        assert_close(ours(scores, rows), host(scores, rows))


@pytest.mark.parametrize('weight', [None, torch.linspace(0, 1, N)])
@pytest.mark.parametrize('avg_factor', [7, 7.5, torch.tensor(7.5)])
def test_dense_heads(avg_factor, weight):
    """FCOS, ATSS and RetinaNet: mostly background."""
    ours, host = mmdet_pair(use_sigmoid=True)
    label = torch.full((N,), C)
    label[:3] = torch.tensor([0, 1, C - 1])
    assert_equal_losses(ours, host, torch.randn(N, C), label, weight, avg_factor=avg_factor)


def test_bbox_head_of_faster_rcnn():
    """A softmax with a last column for the background."""
    ours, host = OLSLoss(C, alpha=1, background=True), MMDetLoss()
    label = torch.randint(C + 1, (N,))
    assert (label == C).any()
    assert_equal_losses(
        ours,
        host,
        torch.randn(N, C + 1),
        label,
        torch.ones(N),
        avg_factor=float(N),
        reduction_override=None,
    )


@FORMS
@pytest.mark.parametrize('n_classes', [1, 2])
def test_few_classes(n_classes, use_sigmoid):
    """One class: MMDetection's single-class detectors send (N, 1) and index 1 as background."""
    ours = OLSLoss(n_classes, alpha=1, use_sigmoid=use_sigmoid, background=not use_sigmoid)
    host = MMDetLoss(use_sigmoid=use_sigmoid)
    scores = torch.randn(N, n_classes + (not use_sigmoid))
    assert_equal_losses(ours, host, scores, torch.randint(n_classes + 1, (N,)), torch.rand(N))


# --- MMPretrain ----------------------------------------------------------------------------------


@REDUCTIONS
@pytest.mark.parametrize('class_weight', [None, CLASS_WEIGHT])
@pytest.mark.parametrize('weight', [None, torch.linspace(0, 1, N)])
@pytest.mark.parametrize('kind', ['indices', 'one-hot', 'soft'])
def test_mmpretrain_softmax(kind, weight, class_weight, reduction):
    kwargs = dict(class_weight=class_weight, reduction=reduction, loss_weight=0.7)
    assert_equal_losses(
        OLSLoss(C, alpha=1, **kwargs),
        MMPretrainLoss(use_soft=kind != 'indices', **kwargs),
        torch.randn(N, C),
        labels(kind),
        weight,
    )


@REDUCTIONS
@pytest.mark.parametrize('pos_weight', [None, CLASS_WEIGHT])
@pytest.mark.parametrize('weight', [None, torch.linspace(0, 1, N)])
@pytest.mark.parametrize('kind', ['one-hot', 'soft'])
def test_mmpretrain_sigmoid(kind, weight, pos_weight, reduction):
    """Its `pos_weight` is what MMDetection, and so OLSLoss, calls `class_weight`."""
    assert_equal_losses(
        OLSLoss(C, alpha=1, use_sigmoid=True, class_weight=pos_weight, reduction=reduction),
        MMPretrainLoss(use_sigmoid=True, pos_weight=pos_weight, reduction=reduction),
        torch.randn(N, C),
        labels(kind),
        weight,
    )


@FORMS
@pytest.mark.parametrize('avg_factor', [N, 7.5, torch.tensor(7.5)])
def test_cls_head_of_mmpretrain(avg_factor, use_sigmoid):
    assert_equal_losses(
        OLSLoss(C, alpha=1, use_sigmoid=use_sigmoid),
        MMPretrainLoss(use_sigmoid=use_sigmoid, use_soft=not use_sigmoid),
        torch.randn(N, C),
        labels('soft'),
        avg_factor=avg_factor,
    )


# --- where the contract differs on purpose ------------------------------------------------------


@FORMS
def test_mean_of_nothing_is_zero_and_not_nan(use_sigmoid):
    ours, host = mmdet_pair(use_sigmoid=use_sigmoid)
    nothing = torch.zeros(0, C), torch.zeros(0, dtype=int)
    assert host(*nothing).isnan()
    assert_close(ours(*nothing), torch.tensor(0.0))


def test_avg_factor_of_zero_is_finite_unlike_mmpretrains():
    scores, label = torch.randn(N, C), labels('indices')
    assert MMPretrainLoss()(scores, label, avg_factor=0.0).isinf()
    loss = OLSLoss(C, alpha=1)(scores, label, avg_factor=0.0)
    assert_close(loss, F.cross_entropy(scores, label, reduction='sum') / 2**-23)


@FORMS
def test_rows_of_several_classes_are_refused(use_sigmoid):
    ours, host = mmdet_pair(use_sigmoid=use_sigmoid)
    rows = labels('one-hot')
    rows[2] = torch.tensor([1.0, 0, 1, 0, 0])
    assert host(torch.randn(N, C), rows).isfinite()
    with pytest.raises(ValueError, match='not defined for samples of several classes'):
        ours(torch.randn(N, C), rows)


def test_label_beyond_the_background_is_refused_under_sigmoid():
    """The host treats any large index as background, which hides a wrong `num_classes`."""
    ours, host = mmdet_pair(use_sigmoid=True)
    label = labels('indices')
    label[0] = C + 1
    assert host(torch.randn(N, C), label).isfinite()
    with pytest.raises(ValueError, match=r'label must be in \[0, 5\]'):
        ours(torch.randn(N, C), label)


def test_class_weight_under_sigmoid_weighs_the_positive_part_unlike_mmpretrains():
    scores, rows = torch.randn(N, C), labels('one-hot')
    ours = OLSLoss(C, alpha=1, use_sigmoid=True, class_weight=CLASS_WEIGHT, reduction='none')
    host = MMPretrainLoss(use_sigmoid=True, class_weight=CLASS_WEIGHT, reduction='none')
    element_wise = F.binary_cross_entropy_with_logits(scores, rows, reduction='none')
    assert_close(host(scores, rows), element_wise * torch.tensor(CLASS_WEIGHT))
    positive = element_wise * torch.tensor(CLASS_WEIGHT)
    assert_close(ours(scores, rows), torch.where(rows == 1, positive, element_wise))


@pytest.mark.parametrize('name', ['weights', 'img_metas', 'avg_factors'])
def test_an_unknown_argument_of_a_call_is_refused(name):
    """As by MMDetection's own: a misspelt `weight` must not go unnoticed."""
    for criterion in mmdet_pair():
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            criterion(torch.randn(N, C), labels('indices'), **{name: torch.ones(N)})


@pytest.mark.parametrize('name', ['pos_inds', 'pos_labels'])
def test_heat_maps_are_refused(name):
    """As CenterNetUpdateHead sends them, whose loss is a HeatmapFocalLoss."""
    with pytest.raises(ValueError, match='`pos_inds` and .* heat maps .* Keep its own'):
        OLSLoss(C, use_sigmoid=True)(
            torch.zeros(2, C), torch.zeros(2, C), **{name: torch.tensor([0])}
        )


# --- MMDetection's FocalLoss ---------------------------------------------------------------------


@REDUCTIONS
@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('weight', ['no weight', 'weight'])
def test_focal_form(weight, gamma, reduction):
    ours = OLSLoss(
        C, alpha=1, use_sigmoid=True, gamma=gamma, balance=0.3, reduction=reduction, loss_weight=0.7
    )
    host = FocalLoss(gamma=gamma, alpha=0.3, reduction=reduction, loss_weight=0.7)
    label = torch.randint(C + 1, (N,))  # C is the background
    weight = torch.rand(N) if weight == 'weight' else None
    assert_equal_losses(ours, host, 3 * torch.randn(N, C), label, weight)
    if reduction == 'mean':
        assert_equal_losses(ours, host, 3 * torch.randn(N, C), label, weight, avg_factor=7.0)


# --- MMDetection's QualityFocalLoss --------------------------------------------------------------


@REDUCTIONS
@pytest.mark.parametrize('beta', [0.0, 0.5, 2.0])
@pytest.mark.parametrize('weight', ['no weight', 'weight'])
@pytest.mark.parametrize('kind', ['qualities', 'rows'])
def test_quality_focal_form(kind, weight, beta, reduction):
    ours, _ = mmdet_pair(use_sigmoid=True, reduction=reduction, loss_weight=0.7)
    ours.quality_beta = beta
    host = QualityFocalLoss(beta=beta, reduction=reduction, loss_weight=0.7)
    index, quality = torch.randint(-1, C + 1, (N,)), torch.rand(N)
    quality[::4] = 0  # a box that does not overlap
    label = (index, quality) if kind == 'qualities' else labels('scaled')
    weight = torch.rand(N) * (torch.rand(N) < 0.8) if weight == 'weight' else None
    assert_equal_losses(ours, host, 3 * torch.randn(N, C), label, weight)
    if reduction == 'mean':
        assert_equal_losses(ours, host, 3 * torch.randn(N, C), label, weight, avg_factor=7.0)
