"""What of a checkpoint a model takes is known before it costs time, as the model itself decides."""

import pytest
import torch
from torch import nn

from mmdet_ols import OLSLoss
from mmdet_ols.checks.matching import check_match


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


def test_a_checkpoint_of_something_else_is_an_error():
    with pytest.raises(ValueError, match='must be the one it was trained with'):
        check_match(nn.Linear(2, 2), {'state_dict': {'other': torch.ones(1)}}, 'a.pth', 'test')
