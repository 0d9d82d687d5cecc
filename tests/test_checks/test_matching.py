"""What of a checkpoint a model takes is known before it costs time, as the model itself decides."""

import copy

import mmdet.models
import mmpretrain.models
import pytest
import torch
from mmcv.cnn.bricks import ConvAWS2d
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from mmdet_ols import OLSLoss
from mmdet_ols.checks.matching import check_match, match_weights
from mmdet_ols.losses import PencilLoss


class Classifier(nn.Module):
    def __init__(self, num_classes, loss):
        super().__init__()
        self.fc = nn.Linear(4, num_classes)
        self.loss = loss


def checkpoint_of(model, classes):
    return dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes)))


@pytest.mark.parametrize('use', ['resume', 'test'])
def test_another_number_of_classes_is_an_error_where_the_run_goes_on(use):
    checkpoint = checkpoint_of(Classifier(3, OLSLoss(3)), ('cat', 'dog', 'fox'))
    model = Classifier(2, OLSLoss(2))
    with pytest.raises(ValueError, match=r'(?s)3 classes: cat, dog, fox.*fc\.weight is \(3, 4\)'):
        check_match(model, checkpoint, 'coco.pth', use)


def test_a_new_training_may_start_from_other_classes_and_hears_what_is_left_out():
    checkpoint = checkpoint_of(Classifier(3, OLSLoss(3)), ('cat', 'dog', 'fox'))
    match = check_match(Classifier(2, OLSLoss(2)), checkpoint, 'coco.pth', 'start')
    assert match.mismatched['fc.bias'] == ((3,), (2,))
    assert match.mismatched['loss.state.soft_labels'] == ((3, 3), (2, 2))
    assert 'fc.bias is (3,) in the checkpoint, (2,) in the model' in str(match)


def test_with_and_without_soft_labels_fit_each_other_and_say_what_is_left_out():
    with_ols, without = Classifier(2, OLSLoss(2)), Classifier(2, nn.Identity())
    match = check_match(without, checkpoint_of(with_ols, None), 'a.pth', 'test')
    assert not match.missing and 'loss.state.soft_labels' in match.unexpected
    assert 'only in the checkpoint, left out: loss.state.correct_count' in str(match)
    match = check_match(with_ols, checkpoint_of(without, None), 'a.pth', 'resume')
    assert not match.unexpected and 'loss.state.soft_labels' in match.missing
    assert 'only in the model, kept as initialised: loss.state.correct_count' in str(match)


def test_a_test_takes_the_samples_of_the_checkpoint_and_a_resumed_training_does_not():
    checkpoint = checkpoint_of(Classifier(3, PencilLoss(3, num_samples=5)), None)
    model = Classifier(3, PencilLoss(3))
    match = check_match(model, checkpoint, 'a.pth', 'test')
    assert not match.mismatched and 'loss.state.logits' in match.loaded
    assert model.loss.state.num_samples == 0
    with pytest.raises(ValueError, match=r'loss\.state\.logits is \(5, 3\) .*, \(4, 3\)'):
        check_match(Classifier(3, PencilLoss(3, num_samples=4)), checkpoint, 'a.pth', 'resume')
    with pytest.raises(ValueError, match=r'loss\.state\.logits is \(5, 3\)'):
        check_match(Classifier(2, PencilLoss(2)), checkpoint, 'a.pth', 'test')


def test_a_checkpoint_of_something_else_is_an_error():
    with pytest.raises(ValueError, match='must be the one it was trained with'):
        check_match(nn.Linear(2, 2), {'state_dict': {'other': torch.ones(1)}}, 'a.pth', 'test')


class Renaming(nn.Module):
    """Renames and resizes while it loads, as MMPretrain's transformers do."""

    def __init__(self):
        super().__init__()
        self.fc, self.other = nn.Linear(2, 2), nn.Linear(2, 1)
        self.register_buffer('table', torch.zeros(4))
        self._register_load_state_dict_pre_hook(self._rename)

    def _rename(self, state_dict, prefix, *args):
        for name in ('weight', 'bias'):
            if f'{prefix}old.{name}' in state_dict:
                state_dict[f'{prefix}fc.{name}'] = state_dict.pop(f'{prefix}old.{name}')
        if f'{prefix}table' in state_dict:
            state_dict[f'{prefix}table'] = state_dict[f'{prefix}table'].repeat(2)


def truly_loaded(model, state_dict):
    """The tensors that hold values after loading into a model that holds none."""
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.fill_(torch.nan)
    load_state_dict(model, state_dict, logger='silent')
    return {
        key
        for key, value in model.state_dict().items()
        if value.is_floating_point() and not value.isnan().any()
    }


def test_what_counts_as_loaded_is_what_the_host_loads():
    outer = nn.Sequential(Renaming(), nn.BatchNorm1d(2), nn.Linear(2, 3))
    state_dict = {
        '0.old.weight': torch.ones(2, 2),
        '0.old.bias': torch.ones(2),
        '0.table': torch.ones(2),
        '1.running_mean': torch.ones(2),
        '2.weight': torch.ones(4, 2),
        'x': torch.ones(1),
    }
    before = copy.deepcopy(outer.state_dict())
    random_state = torch.get_rng_state()
    match = match_weights(outer, state_dict)
    assert match.loaded == {'0.fc.weight', '0.fc.bias', '0.table', '1.running_mean'}
    assert match.mismatched == {'2.weight': ((4, 2), (3, 2))} and match.unexpected == ['x']
    assert not any(key.endswith('num_batches_tracked') for key in match.missing)
    assert match.parameters == 6 + 3 + 4 + 9 and match.share == 6 / 22
    assert torch.equal(torch.get_rng_state(), random_state)
    for key, value in outer.state_dict().items():
        assert torch.equal(value, before[key]), 'nothing is loaded'
    assert 'x' in state_dict and '0.old.bias' in state_dict, 'nor is anything renamed'
    assert truly_loaded(outer, state_dict) == match.loaded


@pytest.mark.parametrize('maker', [mmdet.models.MobileNetV2, mmpretrain.models.MobileNetV2])
def test_networks_of_one_host_take_little_of_the_others_file(maker):
    theirs = mmpretrain.models.MobileNetV2(widen_factor=0.1).state_dict()
    match = match_weights(maker(widen_factor=0.1), theirs)
    assert match.loaded == truly_loaded(maker(widen_factor=0.1), theirs)
    assert (match.share == 1) == (maker is mmpretrain.models.MobileNetV2)
    assert match.share > 0, 'the first convolution, which hides the mistake'


def test_a_model_that_cannot_be_copied_is_compared_by_its_keys():
    model = nn.Linear(2, 2)
    model.cache = model.weight * 2  # not a leaf: PyTorch refuses to copy it
    given = {'weight': torch.ones(2, 2), 'bias': torch.ones(3), 'x': torch.ones(1)}
    match = match_weights(model, given)
    assert match.loaded == {'weight'} and match.mismatched == {'bias': ((3,), (2,))}
    assert match.unexpected == ['x']


def test_loading_code_that_asks_for_values_is_no_obstacle():
    """As that of the convolutions of DetectoRS does, which a copy without memory does not have."""
    model = nn.Sequential(ConvAWS2d(1, 1, 1))
    match = match_weights(model, model.state_dict())
    assert match.share == 1 and not match.missing and not match.unexpected


def test_loading_to_compare_says_nothing(caplog, recwarn):
    match_weights(nn.Linear(2, 2), {'weight': torch.ones(2, 2)})
    assert not caplog.records and not recwarn.list


def test_parts_of_a_match():
    model = nn.ModuleDict(dict(neck=nn.Linear(1, 1), neck_two=nn.Linear(1, 2)))
    given = {'neck.weight': torch.ones(1, 1), 'neck_two.bias': torch.ones(9)}
    match = match_weights(model, given)
    assert (match.part('neck').share, match.part('neck_two').share) == (0.5, 0)
    assert match.part('neck').missing == ['neck.bias']
    assert list(match.part('neck_two').mismatched) == ['neck_two.bias']
