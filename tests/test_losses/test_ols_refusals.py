"""What OLSLoss refuses, and how it says so."""

from __future__ import annotations

import math

import pytest
import torch
from test_losses.steps import C

from mmdet_ols import OLSLoss


def index(*values):
    return torch.tensor(values)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(alpha=-0.1), r'`alpha`, the share of the hard loss, must be in \[0, 1\].* got -0.1'),
        (dict(alpha=1.5), r'`alpha`.*\[0, 1\].* got 1.5'),
        (dict(alpha=math.nan), r'`alpha`.*\[0, 1\].* got nan'),
        (dict(soft_row_threshold=0), r'`soft_row_threshold` must be in \(0, 1\], but got 0'),
        (dict(soft_row_threshold=80), r'`soft_row_threshold` must be in \(0, 1\], but got 80'),
        (dict(reduction='avg'), r"`reduction` must be one of \('none', 'mean', 'sum'\).* 'avg'"),
        (
            dict(class_weight=1.0),
            r'`class_weight` must hold .* each column, but got 1.0: use loss_w',
        ),
        (
            dict(class_weight='weights.json'),
            r"`class_weight` must be a list of numbers, but got 'weights.json'.* write the weights",
        ),
        (dict(class_weight=[1.0] * 4), r'`class_weight` needs .* each of the 5 score columns.* 4'),
        (
            dict(class_weight=[1.0] * C, background=True),
            r'`class_weight` .* 6 score columns \(num_classes=5, background=True\), but got 5',
        ),
        (dict(num_classes=0), r'`num_classes` must be a positive integer, but got 0'),
        (dict(gamma=-1, use_sigmoid=True), r'`gamma` must be at least 0, but got -1'),
        (dict(balance=25, use_sigmoid=True), r'`balance` must be None or in \[0, 1\], but got 25'),
        (dict(gamma=2.0), r'`gamma` and `balance` .* set use_sigmoid=True, or leave gamma=2.0'),
        (dict(balance=0.25), r'`gamma` and `balance` .* balance=0.25 out'),
        (dict(quality_beta=-1, use_sigmoid=True), r'`quality_beta` must be None or at least 0'),
        (dict(quality_beta=2.0), r'`quality_beta` .* use_sigmoid=False: set use_sigmoid=True'),
        (
            dict(quality_beta=2.0, use_sigmoid=True, gamma=2.0),
            r'`quality_beta` .* no other focal form .* leave gamma and balance out',
        ),
        (dict(sigmoid_reading='mean'), r"`sigmoid_reading` .* 'mean' without use_sigmoid=True"),
        (
            dict(sigmoid_reading='raw', use_sigmoid=True),
            r"`sigmoid_reading` must be one of \('normalized', 'softmax', 'mean'\), but got 'raw'",
        ),
    ],
)
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        OLSLoss(**{'num_classes': C, **kwargs})


def test_labels_with_qualities_are_refused():
    """As GFL's and RTMDet's heads send them."""
    with pytest.raises(TypeError, match=r'got a tuple: .*QualityFocalLoss.* quality_beta=2\.0'):
        OLSLoss(C, use_sigmoid=True)(torch.zeros(2, C), (torch.tensor([0, 1]), torch.ones(2)))


@pytest.mark.parametrize(
    ('label', 'what'),
    [
        (
            (index(0, 1), torch.ones(3)),
            r'torch.int64 of shape \(2,\) and torch.float32 of .*\(3,\)',
        ),
        ((torch.ones(2), index(0, 1)), r'torch.float32 of shape \(2,\) and torch.int64'),
        ((index(0, 1),), r'but got torch.int64 of shape \(2,\):'),
        ([0, 1], 'but got int and int:'),
        (None, 'but got NoneType:'),
    ],
    ids=str,
)
def test_what_is_no_label_with_a_quality_is_described(label, what):
    criterion = OLSLoss(C, use_sigmoid=True, quality_beta=2.0)
    with pytest.raises(ValueError, match=rf'`label` of the quality focal form .* {what}'):
        criterion(torch.zeros(2, C), label)


def test_a_quality_beyond_1_is_refused():
    criterion = OLSLoss(C, use_sigmoid=True, quality_beta=2.0)
    with pytest.raises(ValueError, match=r'quality of a box, too, is at most 1.* sums to 1\.5'):
        criterion(torch.zeros(2, C), (index(0, 1), torch.tensor([0.5, 1.5])))


def test_an_unknown_setting_is_named():
    with pytest.raises(TypeError, match="unexpected keyword argument 'alhpa'"):
        OLSLoss(C, alhpa=0.5)


@pytest.mark.parametrize(
    ('settings', 'scores', 'args', 'kwargs', 'message'),
    [
        ({}, (2, 4), [index(0, 1)], {}, r'made for 5 score columns.* has 4: set num_classes=4'),
        (
            {},
            (2, 6),
            [index(0, 1)],
            {},
            'has 6: set background=True if the last column is .* or else set num_classes=6',
        ),
        (dict(background=True), (2, 5), [index(0, 1)], {}, 'has 5: set num_classes=4'),
        (dict(use_sigmoid=True), (2, 6), [index(0, 1)], {}, 'has 6: set num_classes=6'),
        (
            {},
            (2, C),
            [index(0, 5)],
            {},
            r'label must be in \[0, 4\].* set num_classes.*Got the label 5',
        ),
        ({}, (2, C), [index(0, -1)], {}, r'label must be in \[0, 4\].* Got the label -1'),
        (
            {},
            (2, C),
            [index(0, 255)],
            {},
            'or ignore_index to the label of what has no class.* Got the label 255',
        ),
        (
            dict(background=True),
            (2, 6),
            [index(0, 6)],
            {},
            r'in \[0, 5\].*=True\).* Got the label 6',
        ),
        (
            dict(use_sigmoid=True),
            (2, C),
            [index(0, 6)],
            {},
            r'label must be in \[0, 5\].* Got the label 6',
        ),
        (
            {},
            (1, C),
            [index([1.0, 1, 0, 0, 0])],
            {},
            'one class .* several.* Got the row that sums to 2',
        ),
        (
            dict(use_sigmoid=True),
            (1, C),
            [index([0.5, 0.6, 0, 0, 0])],
            {},
            'one class .* Got the row that sums to 1.1',
        ),
        ({}, (2, C), [index(0, 1, 2)], {}, r'`label` must hold .* \(2,\) or .*\(2, 5\).* \(3,\)'),
        ({}, (2, C), [index(0.0, 1.0)], {}, 'indices must be integers, but `label` is torch.float'),
        ({}, (2, C), [index(0, 1), torch.ones(2, C)], {}, r'`weight` .* each sample, .* \(2, 5\)'),
        (
            dict(use_sigmoid=True),
            (2, C),
            [index(0, 1), torch.ones(2, 3)],
            {},
            r'`weight` must give one weight for each sample or score, but got shape \(2, 3\)',
        ),
        (
            {},
            (2, C),
            [index(0, 1)],
            dict(reduction_override='average'),
            "`reduction_override` must be one of .* but got 'average'",
        ),
        (
            dict(reduction='sum'),
            (2, C),
            [index(0, 1)],
            dict(avg_factor=3.0),
            "`avg_factor` cannot be used with reduction 'sum', but got 3.0: leave it out",
        ),
    ],
)
def test_bad_call_is_refused(settings, scores, args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        OLSLoss(C, **settings)(torch.zeros(scores), *args, **kwargs)


def test_weight_of_another_length_is_refused():
    """A weight of (N,) must not be spread over the classes of rows, or over the samples."""
    with pytest.raises((ValueError, RuntimeError), match='weight|expanded size'):
        OLSLoss(C)(torch.zeros(4, C), torch.zeros(4, dtype=int), torch.ones(3))
