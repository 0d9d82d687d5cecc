"""A forgotten `train()` is said, once, and a validation is no forgotten `train()`."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from mmdet_ols import LSLoss, OLSLoss, OLSSparseLoss, no_teaching

C = 3


def scores(requires_grad=True):
    return torch.randn(6, C, requires_grad=requires_grad), torch.arange(6) % C


@pytest.mark.parametrize('make', [OLSLoss, lambda c: OLSSparseLoss(c, top_m=2)])
def test_a_forgotten_train_is_said_once(make):
    criterion = make(C)
    with torch.no_grad():
        criterion.eval()(*scores())
    with pytest.warns(UserWarning, match=r'OLS\w*Loss is in eval mode.* call train\(\)') as said:
        for _ in range(3):
            criterion(*scores())[None].sum().backward()
    assert len(said) == 1
    assert said[0].filename == nn.modules.module.__file__  # who called the loss


def test_it_is_said_of_a_model_that_is_trained_in_eval_mode():
    model = nn.ModuleDict(dict(head=nn.Linear(4, C), criterion=OLSLoss(C))).eval()
    with pytest.warns(UserWarning, match='is in eval mode'):
        model['criterion'](model['head'](torch.randn(6, 4)), torch.arange(6) % C)


def test_no_alarm_where_nothing_is_trained():
    criterion, smoothing = OLSLoss(C).eval(), LSLoss(C).eval()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with torch.no_grad():
            criterion(*scores())
        with torch.inference_mode():
            criterion(*scores(False))
        criterion(*scores(False))
        with no_teaching():  # an attack
            criterion(*scores()).backward()
        smoothing(*scores()).backward()  # learns nothing anyway
        criterion.train()(*scores()).backward()


class Elsewhere(torch.Tensor):
    """Stands for a tensor on another device, from which `to` makes a new one."""

    device = torch.device('meta')

    def to(self, *args):
        return self.as_subclass(torch.Tensor).clone()


@pytest.mark.parametrize('gamma', [0.0, 2.0])
def test_class_weights_that_a_validation_brought_to_the_device_serve_the_training(gamma):
    """Lightning validates first, and in inference mode, whose tensors no gradient may need."""
    criterion = OLSLoss(C, use_sigmoid=True, class_weight=[1.0, 2.0, 3.0], gamma=gamma)
    criterion.column_weight = criterion.column_weight.as_subclass(Elsewhere)
    with torch.inference_mode():
        criterion.eval()(*scores(False))
    criterion.train()(*scores()).backward()
    assert type(criterion.column_weight) is torch.Tensor  # a training keeps them there
