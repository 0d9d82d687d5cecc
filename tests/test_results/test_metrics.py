"""How logged metrics are shown, and who says so."""

from __future__ import annotations

import pytest
from mmengine.evaluator import BaseMetric
from mmengine.registry import HOOKS, METRICS
from toy_runs import MAP

from mmdet_ols.evaluation.descriptions import MetricDescription
from mmdet_ols.results.metrics import class_of_key, headline_metrics, metric_of


@pytest.mark.parametrize(
    ('key', 'label', 'lower_is_better', 'shown'),
    [
        ('pascal_voc/mAP', 'mAP (%)', False, 25),
        ('coco/bbox_mAP_50', 'bbox_mAP_50 (%)', False, 25),
        ('pascal_voc/AP/dog', 'dog (%)', False, 25),
        ('accuracy/top1', 'top-1 error (%)', True, 99.75),
        ('accuracy/top5', 'top-5 error (%)', True, 99.75),
        ('accuracy/top1_thr-0.50', 'top-1 error_thr-0.50 (%)', True, 99.75),
        ('crowd_human/mMR', 'mMR (%)', True, 25),
        ('multi-label/mAP', 'multi-label mAP (%)', False, 0.25),  # in per cent already
        ('calibration/ece', 'calibration ECE (%)', True, 0.25),
        ('calibration/mce', 'calibration MCE (%)', True, 0.25),
        ('cifar10h/kl', 'cifar10h KL (nats)', True, 0.25),
        ('pgd/top1_error', 'PGD top-1 error (%)', True, 0.25),
        ('pgd_1_0.25/top5_error', 'pgd_1_0.25 top-5 error (%)', True, 0.25),
        ('train/top1_error', 'train top-1 error (%)', True, 0.25),
        ('ensemble/top1_error_6', 'ensemble top-1 error 6 (%)', True, 0.25),
        ('train/wrong_label_error', 'train wrong label error (%)', False, 0.25),
        ('single-label/recall', 'single-label recall (%)', False, 0.25),
        ('night/coco/bbox_mAP_50', 'night bbox_mAP_50 (%)', False, 25),  # MultiDatasetsEvaluator
        ('night/accuracy/top1', 'night top-1 error (%)', True, 99.75),
        ('mirror/error', 'mirror/error', None, 0.25),  # nothing describes it
    ],
)
def test_each_metric_is_shown_the_right_way_round(key, label, lower_is_better, shown):
    metric = metric_of(key)
    assert (metric.label, metric.lower_is_better) == (label, lower_is_better)
    assert metric.shown(0.25) == pytest.approx(shown)


def test_the_main_metrics_come_first_and_classes_have_their_own_table():
    keys = ['pascal_voc/AP50', MAP, 'pascal_voc/mAP_11points', 'pascal_voc/AP/dog']
    assert [m.key for m in headline_metrics(keys)] == [MAP, 'pascal_voc/mAP_11points']
    assert headline_metrics(keys, 'pascal_voc/mAP_11points')[0].title == 'mAP_11points'
    assert [m.title for m in headline_metrics(['a/f1', 'accuracy/top1', 'accuracy/top5'])] == [
        'top-1 error', 'top-5 error', 'a/f1',
    ]  # fmt: skip
    assert [m.key for m in headline_metrics(['own/score'])] == ['own/score']


def test_the_main_metrics_of_several_data_sets_come_before_those_of_classes():
    names = ('person_precision', 'bbox_mAP', 'bbox_mAP_s')
    keys = [f'{dataset}/coco/{name}' for dataset in ('day', 'night') for name in names]
    assert [m.key for m in headline_metrics(keys)] == ['day/coco/bbox_mAP', 'night/coco/bbox_mAP']
    assert [class_of_key(key) for key in (keys[0], keys[3])] == ['day/person', 'night/person']


def test_a_metric_of_the_users_describes_itself():
    assert metric_of('mine/loss_of_water').described == 'mine/loss_of_water, direction unknown'

    class Mine(BaseMetric):
        logged_metrics = (
            MetricDescription(r'mine/loss_of_\w+', 'loss', 'l', lower_is_better=True),
        )

    METRICS.register_module(module=Mine)
    try:
        assert metric_of('mine/loss_of_water').described == 'loss (l), lower is better'
    finally:
        METRICS.module_dict.pop('Mine')


def test_every_metric_and_measuring_hook_of_ours_says_what_it_logs():
    import mmdet_ols

    measuring = ('CalibrationError', 'CIFAR10HDivergence', 'VOCAPMetric', 'AdversarialErrorHook',
                 'EnsembleHook', 'TrainErrorHook')  # fmt: skip
    for name in measuring:
        kind = getattr(mmdet_ols, name)
        assert (METRICS.get(name) or HOOKS.get(name)) is kind
        assert all(each.lower_is_better is not None for each in kind.logged_metrics)


@pytest.mark.parametrize(
    ('key', 'lower_is_better'),
    [('accuracy/top1', False), ('calibration/ece', True), (MAP, False), ('unknown/key', None)],
)
def test_the_logged_value_of_an_error_that_is_logged_as_accuracy_is_better_higher(
    key, lower_is_better
):
    assert metric_of(key).logged_lower_is_better is lower_is_better


def test_the_class_of_a_metric():
    keys = ['pascal_voc/AP/dog', 'coco/traffic light_precision', MAP, 'pascal_voc/AP_11points/dog']
    assert [class_of_key(key) for key in keys] == ['dog', 'traffic light', None, None]
