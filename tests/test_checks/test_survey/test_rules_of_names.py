"""Class names: lists that the hosts understand otherwise, near duplicates, and the head."""

from __future__ import annotations

import pytest
from toy_survey import run_config, voc_set
from toy_voc import write_xml

from mmdet_ols.checks.class_lists import check_class_lists
from mmdet_ols.checks.data import check_datasets
from mmdet_ols.checks.head_classes import check_head_classes
from mmdet_ols.checks.survey.names import skeleton

CLASSES = ('cat', 'dog', 'fox')


@pytest.mark.parametrize(
    ('dataset', 'message'),
    [
        (dict(metainfo=dict(classes=('a', '{{b}}'))), r"must not contain '\{\{'.*\{\{b\}\}"),
        (dict(metainfo=dict(classes='cat')), r"the string 'cat'.*letter by letter.*\('cat',\)"),
        (dict(classes='cat'), r"`classes` of here .*the string 'cat'"),
        (dict(metainfo=dict(classes=('cat', 'dog', 'cat'))), "names 'cat' more than once"),
        (dict(metainfo=dict(classes=(1, 2))), 'must be a tuple of names'),
        (dict(metainfo=dict(CLASSES=('cat',))), 'write classes in small letters'),
        (dict(metainfo=('cat',)), 'must be a dict'),
    ],
)
def test_lists_that_the_host_takes_for_something_else(dataset, message):
    with pytest.raises(ValueError, match=message):
        check_class_lists(dataset, 'here')


def test_lists_that_are_right(tmp_path):
    names = tmp_path / 'names.txt'
    names.write_text('cat\n')
    for dataset in ({}, dict(metainfo=dict(classes=('cat',))), dict(classes=str(names))):
        check_class_lists(dataset, 'here')


def test_a_string_is_an_error_before_the_host_reads_it(root):
    with pytest.raises(ValueError, match=r'train_dataloader, XMLDataset must be a tuple'):
        check_datasets(run_config(train=voc_set(root, 'cat')))


@pytest.mark.parametrize(
    ('first', 'second'),
    [
        ('M\u00f6we', 'Mo\u0308we'),
        ('M\u00f6we', 'm\u00f6we'),
        ('traffic light', 'Traffic_light'),
        ('t-shirt', 'tshirt'),
        ('cat', ' cat '),
        ('\uff23\uff21\uff34', 'cat'),
        ('Stra\u00dfe', 'STRASSE'),
    ],
)
def test_names_that_look_alike(first, second):
    assert skeleton(first) == skeleton(second)


@pytest.mark.parametrize(('first', 'second'), [('1-1', '11'), ('cat', 'cats'), ('c', 'c#')])
def test_names_that_differ(first, second):
    assert skeleton(first) != skeleton(second)


def test_single_letters_are_names_of_their_own(root, said):
    write_xml(root / 'Annotations/b.xml', ['A', 'a', '-', '_', 'b', ' b'])
    check_datasets(run_config(train=voc_set(root, ('A', 'a', '-', '_', 'b', ' b'))))
    (message,) = (text for text in said if 'look like' in text)
    assert message.startswith("2 class names look like 1 that are written differently: ' b'")


def test_near_duplicates_are_a_warning_with_counts(root, said):
    write_xml(root / 'Annotations/b.xml', ['Fo\u0308x', 'CAT'])
    classes = ('cat', 'CAT', 'dog', 'F\u00f6x', 'Fo\u0308x')
    check_datasets(run_config(train=voc_set(root, classes)))
    message = next(text for text in said if 'look like' in text)
    assert message.startswith('4 class names look like 2 that are written differently: ')
    assert "'CAT' (1) and 'cat' (1)" in message
    assert r"(written as 'Fo\u0308x') (1)" in message and "'F\u00f6x' (no object)" in message


def test_classes_that_val_lacks_are_counted(root, said):
    (root / 'ImageSets/Main/val.txt').write_text('c\n')
    (root / 'ImageSets/Main/trainval.txt').write_text('a\nb\n')
    write_xml(root / 'Annotations/c.xml', ['cat'])
    check_datasets(run_config(train=voc_set(root, CLASSES), val=voc_set(root, CLASSES, 'val')))
    assert said == ['val: 2 of the classes that are learned have no object there: dog, fox.']


def test_a_detectors_head_needs_at_least_as_many_classes(root, said):
    train = voc_set(root, CLASSES)
    with pytest.raises(
        ValueError, match=r'model\.bbox_head is 2, but .* has 3 classes: set model\.bbox_head\.num'
    ):
        check_datasets(run_config(2, train=train))
    check_datasets(run_config(3, train=train))
    assert said == []
    check_datasets(run_config(80, train=train))
    assert len(said) == 1 and 'The other outputs learn nothing' in said[0]


@pytest.mark.parametrize(
    ('head', 'is_warned'),
    [
        (dict(type='LinearClsHead', num_classes=1), True),
        (dict(type='LinearClsHead', num_classes=2), False),
        (dict(type='LinearClsHead', num_classes=1, loss=dict(use_sigmoid=True)), False),
        (dict(type='MultiLabelLinearClsHead', num_classes=1), False),
    ],
)
def test_a_softmax_of_one_class_is_always_sure(head, is_warned):
    cfg = run_config()
    cfg.model = dict(type='ImageClassifier', head=head)
    warnings = check_head_classes([], cfg).warnings
    assert any('the loss is 0 from the first step' in text for text in warnings) == is_warned


def test_the_head_of_a_semi_supervised_detector_is_compared_too(root):
    cfg = run_config(2, train=voc_set(root, CLASSES))
    cfg.model = dict(type='SoftTeacher', detector=cfg.model)
    with pytest.raises(ValueError, match=r'model\.detector\.bbox_head\.num_classes=3'):
        check_datasets(cfg)


def test_strict_makes_warnings_errors(root):
    with pytest.raises(ValueError, match=r'(?s)is 80.*leave --strict out'):
        check_datasets(run_config(80, train=voc_set(root, CLASSES)), strict=True)
