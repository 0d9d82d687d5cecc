"""A checkpoint must number its classes as the data do that it is tested on."""

import pytest
from torch import nn

from mmdet_ols.checks.checkpoint_classes import compare_classes
from mmdet_ols.checks.weight_report import WeightReport

TRAINED = ('cat', 'dog', 'traffic light')


def compare(ours, use='test', trained=TRAINED, model=None, renamed=False, meta=None):
    report = WeightReport()
    content = dict(meta=meta or dict(dataset_meta=dict(classes=trained)))
    compare_classes(report, model or nn.Identity(), content, ours, 'a.pth', use, renamed)
    return report


@pytest.mark.parametrize('use', ['test', 'resume'])
def test_another_order_is_an_error_that_names_the_labels(use):
    (error,) = compare(('dog', 'cat', 'traffic light'), use).errors
    assert error.startswith('The classes have another order.')
    assert "label 0 is 'cat' there and 'dog' here, 1 is 'dog' there and 'cat' here" in error
    assert 'metainfo=dict(classes=...)' in error


def test_other_names_are_an_error_unless_the_user_says_that_they_are_the_same():
    ours = ('apple', 'pear', 'plum')
    (error,) = compare(ours).errors
    assert "label 0 is 'cat' there and 'apple' here" in error and 'classes_renamed=True' in error
    report = compare(ours, renamed=True)
    assert not report.errors and not report.warnings and 'apple' in report.notes[0]
    assert compare(('dog', 'cat', 'plum'), renamed=True).errors, 'an order is not a name'


def test_a_few_other_names_are_a_warning():
    report = compare(('cat', 'dog', 'lamp'))
    assert not report.errors and "2 is 'traffic light' there and 'lamp' here" in report.warnings[0]


@pytest.mark.parametrize(
    'name', ['Traffic Light', 'traffic_light', ' traffic-light', 'trafficlight']
)
def test_spellings_of_one_name_are_a_warning(name):
    report = compare(('cat', 'dog', name))
    assert not report.errors and 'spell classes differently' in report.warnings[0]
    assert repr(name) in report.warnings[0]


def test_unicode_forms_of_one_name_are_a_warning():
    report = compare(('cafe\u0301',), trained=('caf\u00e9',))
    assert not report.errors and report.warnings


def test_another_number_of_classes():
    assert '3 against 2' in compare(('cat', 'dog')).errors[0]
    started = compare(('cat', 'dog'), 'start')
    assert not started.errors and not started.warnings, 'a new head is the rule there'


def test_a_new_training_is_only_warned():
    for ours in (('dog', 'cat', 'traffic light'), ('apple', 'pear', 'plum')):
        report = compare(ours, 'start')
        assert not report.errors and len(report.warnings) == 1


def test_nothing_is_said_where_nothing_is_known_or_all_is_the_same():
    reports = [
        compare(TRAINED),
        compare(list(TRAINED)),
        compare(()),
        compare(('dog', 'cat', 'fox'), meta=dict(epoch=3)),
        compare(TRAINED, meta=dict(CLASSES=TRAINED)),
    ]
    for report in reports:
        assert not report.errors and not report.warnings and not report.notes
    assert compare(('dog', 'cat', 'fox'), meta=dict(CLASSES=TRAINED)).errors, 'of older releases'


def test_models_that_are_told_the_names_of_their_classes_are_left_alone():
    model = nn.Module()
    model.language_model = nn.Identity()
    assert not compare(('dog', 'cat', 'fox'), model=model).errors
