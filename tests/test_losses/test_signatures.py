"""A user sees every option of a loss in its own signature, and nothing is swallowed."""

from __future__ import annotations

import inspect

import pytest
import torch

import mmdet_ols
from mmdet_ols.losses.classification_loss import ClassificationLoss

LOSSES = [
    cls
    for name in mmdet_ols.__all__
    if isinstance(cls := getattr(mmdet_ols, name), type) and issubclass(cls, ClassificationLoss)
]
EVERY_LOSS = pytest.mark.parametrize('cls', LOSSES, ids=lambda cls: cls.__name__)
#: What could be given by position, as users may have written it.
POSITIONAL = dict(
    BootstrapLoss=['num_classes', 'mode', 'beta'],
    DisturbLabelLoss=['num_classes', 'rate'],
    LSLoss=['num_classes', 'epsilon'],
    OLSLoss=['num_classes', 'alpha'],
    OLSSingleLoss=['num_classes', 'alpha'],
    OLSSparseLoss=['num_classes', 'alpha'],
    PairwiseConfusionLoss=['num_classes', 'form', 'confusion_weight'],
    SCELoss=['num_classes', 'alpha', 'beta'],
    TfKDRegLoss=['num_classes', 'alpha', 'temperature', 'multiplier', 'form'],
)


@EVERY_LOSS
def test_every_option_is_in_the_signature(cls):
    parameters = inspect.signature(cls).parameters
    shared = inspect.signature(ClassificationLoss).parameters
    assert all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values())
    assert set(shared) <= set(parameters)
    for name in set(shared) - {'num_classes'}:
        assert parameters[name].default == shared[name].default
    positional = [
        name
        for name, parameter in parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    assert positional == POSITIONAL[cls.__name__]


@EVERY_LOSS
def test_every_option_is_documented_and_reaches_the_loss(cls):
    options = dict(
        reduction='sum',
        loss_weight=0.3,
        class_weight=[1.0, 2.0, 3.0],
        ignore_index=7,
        avg_non_ignore=True,
        implementation='plain',
    )
    if cls.__name__ not in ('PairwiseConfusionLoss', 'TfKDRegLoss'):
        options.update(use_sigmoid=True, gamma=2.0, balance=0.25)
    criterion = cls(3, **options)
    for name, value in options.items():
        assert getattr(criterion, name) == value
    if 'use_sigmoid' in options:
        quality = cls(3, use_sigmoid=True, quality_beta=1.5)
        assert quality.quality_beta == 1.5
    for name in inspect.signature(cls).parameters:
        assert f'\n        {name}: ' in cls.__doc__, name


@EVERY_LOSS
def test_a_misspelt_argument_is_an_error(cls):
    with pytest.raises(TypeError, match="unexpected keyword argument 'los_weight'"):
        cls(3, los_weight=2.0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'weights'"):
        cls(3)(torch.zeros(2, 3), torch.tensor([0, 1]), weights=torch.ones(2))


@EVERY_LOSS
def test_a_class_says_whether_it_keeps_a_rolling_state(cls):
    assert cls.has_rolling_state == (getattr(cls(3), 'state', None) is not None)
