"""What the first validation would stumble over is found before a training starts."""

from __future__ import annotations

import gc
import json
import sys
from importlib import import_module
from pathlib import Path

import mmdet  # noqa: F401  (registers its modules)
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS
from PIL import Image

import mmdet_ols  # noqa: F401  (registers its modules)
from mmdet_ols.checks import evaluation
from mmdet_ols.checks.evaluation import check_evaluation
from mmdet_ols.checks.made_up_predictions import evaluate_made_up_predictions

CHECKPOINT = dict(type='CheckpointHook')


@METRICS.register_module()
class OfMyOwn(BaseMetric):
    """A metric that needs more of a prediction than is made up."""

    def process(self, data_batch, data_samples):
        raise KeyError('what only my model gives')

    def compute_metrics(self, results):
        raise AssertionError


@HOOKS.register_module()
class AddsAMetric(Hook):
    """A user's hook, whose metrics are not known beforehand."""

    def after_val_epoch(self, runner, metrics=None):
        metrics['mine'] = 1.0


@pytest.fixture(autouse=True)
def warnings_said(monkeypatch):
    """What the check warns of."""
    # MMEngine's data sets call it at each start, which takes seconds in a process of many tests.
    monkeypatch.setattr(gc, 'collect', lambda: 0)
    said = []
    monkeypatch.setattr(evaluation, 'warn', said.append)
    return said


def picture(path, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size[::-1], 3), 90, np.uint8)).save(path)


def classifier(root, evaluator, num_classes=3, head='LinearClsHead', hook=CHECKPOINT, **changes):
    """A classifier and one image of each of its three classes."""
    for name in ('ant', 'bee', 'cow'):
        picture(Path(root, 'val', name, 'a.jpg'))
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    dataset = dict(type='CustomDataset', data_root=str(root), data_prefix='val', pipeline=pipeline)
    model = dict(type='ImageClassifier', head=dict(type=head, num_classes=num_classes))
    if head == 'LinearClsHead':
        model['head'].update(in_channels=4)
    cfg = dict(
        default_scope='mmpretrain',
        model=model,
        train_cfg=dict(max_epochs=3),
        val_cfg=dict(),
        val_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset)),
        val_evaluator=evaluator,
        default_hooks=dict(checkpoint=hook),
    )
    return Config({**cfg, **changes})


def detector(root, evaluator, num_classes=2, classes=('cat', 'dog'), coco=False, **model):
    """A detector and one image with a cat and a dog, in VOC's layout or as a COCO file."""
    picture(Path(root, 'JPEGImages/a.jpg'))
    box = '<xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>25</ymax>'
    objects = ''.join(
        f'<object><name>{name}</name><difficult>0</difficult><bndbox>{box}</bndbox></object>'
        for name in ('cat', 'dog')
    )
    size = '<size><width>40</width><height>30</height></size>'
    for folder in ('Annotations', 'ImageSets/Main'):
        Path(root, folder).mkdir(parents=True, exist_ok=True)
    Path(root, 'Annotations/a.xml').write_text(f'<annotation>{size}{objects}</annotation>')
    Path(root, 'ImageSets/Main/test.txt').write_text('a\n')
    write_coco(Path(root, 'val.json'))
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    keys = ('img_id', 'img_path', 'ori_shape', 'img_shape')
    dataset = dict(
        type='CocoDataset' if coco else 'XMLDataset',
        data_root=str(root),
        ann_file='val.json' if coco else 'ImageSets/Main/test.txt',
        data_prefix=dict(img='JPEGImages/') if coco else dict(sub_data_root=''),
        metainfo=dict(classes=classes),
        test_mode=True,
        pipeline=[*load, dict(type='PackDetInputs', meta_keys=keys)],
    )
    head = dict(
        type='FCOSHead',
        num_classes=num_classes,
        in_channels=4,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
    )
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(type='FCOS', bbox_head=head, **model),
            train_cfg=dict(max_epochs=3),
            val_cfg=dict(),
            val_dataloader=dict(dataset=dataset),
            val_evaluator=evaluator,
        )
    )


def write_coco(path, image='a.jpg', names=('cat', 'dog')):
    shape = dict(bbox=[2, 3, 18, 22], area=396, segmentation=[[2, 3, 20, 3, 20, 25, 2, 25]])
    annotations = [
        dict(id=n, image_id=1, category_id=n, iscrowd=0, **shape) for n in range(1, len(names) + 1)
    ]
    categories = [dict(id=n, name=name) for n, name in enumerate(names, 1)]
    images = [dict(id=1, file_name=image, width=40, height=30)]
    content = dict(images=images, annotations=annotations, categories=categories)
    path.write_text(json.dumps(content))
    return path


def names(cfg):
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return evaluate_made_up_predictions(cfg, 'val')


# --- what can be evaluated passes, with the names that it will have ------------------------------


@pytest.mark.parametrize(
    ('metrics', 'expected'),
    [
        (dict(type='Accuracy'), ['accuracy/top1']),
        (dict(type='Accuracy', topk=(1, 3)), ['accuracy/top1', 'accuracy/top3']),
        (
            [dict(type='SingleLabelMetric', items=['recall']), dict(type='CalibrationError')],
            ['single-label/recall', 'calibration/ece'],
        ),
        (dict(type='Evaluator', metrics=[dict(type='Accuracy')]), ['accuracy/top1']),
        (dict(type='ConfusionMatrix', num_classes=3), ['confusion_matrix/result']),
    ],
)
def test_metrics_of_classifiers_are_named(tmp_path, metrics, expected, capsys):
    assert names(classifier(tmp_path, metrics)) == expected
    printed = capsys.readouterr()
    assert not printed.out + printed.err


def test_metrics_of_detectors_are_named(tmp_path, capsys):
    voc = [dict(type='VOCMetric', metric='mAP', eval_mode='area')]
    assert names(detector(tmp_path, voc)) == ['pascal_voc/mAP', 'pascal_voc/AP50']
    ours = names(detector(tmp_path, dict(type='VOCAPMetric')))
    assert 'pascal_voc/mAP' in ours
    coco = dict(type='CocoMetric', ann_file=str(tmp_path / 'val.json'))
    assert names(detector(tmp_path, coco, coco=True))[:2] == ['coco/bbox_mAP', 'coco/bbox_mAP_50']
    printed = capsys.readouterr()
    assert not printed.out + printed.err


def test_a_thousand_classes_take_a_moment(tmp_path):
    assert names(classifier(tmp_path, dict(type='Accuracy', topk=5), num_classes=10000)) == [
        'accuracy/top5'
    ]


def test_a_metric_of_ones_own_is_built_and_not_tried(tmp_path):
    assert names(classifier(tmp_path, dict(type='OfMyOwn'))) is None
    both = [dict(type='Accuracy'), dict(type='OfMyOwn')]
    hook = dict(CHECKPOINT, save_best='mine', rule='less')  # it may give that
    check_evaluation(classifier(tmp_path, both, hook=hook))


def test_several_labels_an_image_are_evaluated_as_such(tmp_path):
    """Only with a metric for them: the other one would end the first validation."""
    picture(tmp_path / 'a.jpg')
    content = dict(
        metainfo=dict(classes=('ant', 'bee', 'cow')),
        data_list=[dict(img_path='a.jpg', gt_label=[0, 2]), dict(img_path='a.jpg', gt_label=[1])],
    )
    (tmp_path / 'labels.json').write_text(json.dumps(content))

    def cfg(metric):
        made = classifier(tmp_path, metric, head='MultiLabelLinearClsHead')
        made.model.head.in_channels = 4
        dataset = made.val_dataloader.dataset.dataset
        dataset.update(type='MultiLabelDataset', ann_file='labels.json', data_prefix='')
        return made

    assert 'multi-label/f1-score' in names(cfg(dict(type='MultiLabelMetric', thr=0.5)))
    with pytest.raises(ValueError, match='val_evaluator, Accuracy cannot evaluate'):
        names(cfg(dict(type='Accuracy')))


# --- what cannot is an error that says what and where ---------------------------------------------


@pytest.mark.parametrize('topk', [5, (1, 5)])
def test_more_places_than_classes(tmp_path, topk):
    cfg = classifier(tmp_path, [dict(type='CalibrationError'), dict(type='Accuracy', topk=topk)])
    message = r'`topk` of val_evaluator\.1, Accuracy.*predicts, 3.*val_evaluator\.1\.topk=1'
    with pytest.raises(ValueError, match=message):
        check_evaluation(cfg)


def test_a_misspelt_argument_and_an_unknown_metric(tmp_path):
    with pytest.raises(ValueError, match=r'val_evaluator, Accuracy cannot be built: .*top_k'):
        check_evaluation(classifier(tmp_path, dict(type='Accuracy', top_k=1)))
    with pytest.raises(ValueError, match=r'val_evaluator\.0, Acuracy cannot be built: .*registry'):
        check_evaluation(classifier(tmp_path, [dict(type='Acuracy')]))


def test_the_tests_evaluation_is_tried_where_it_is_another_one(tmp_path):
    cfg = classifier(tmp_path, dict(type='Accuracy'))
    cfg.merge_from_dict(dict(test_cfg=dict(), test_dataloader=cfg.val_dataloader.to_dict()))
    cfg.test_evaluator = dict(type='Accuracy', topk=4)
    with pytest.raises(ValueError, match='test_evaluator, Accuracy'):
        check_evaluation(cfg)
    check_evaluation(cfg, ('val',))


def test_a_metric_without_its_annotations(tmp_path):
    absent = dict(type='CocoMetric', ann_file=str(tmp_path / 'absent.json'))
    with pytest.raises(FileNotFoundError, match=r'`ann_file` of val_evaluator, CocoMetric.*absent'):
        check_evaluation(detector(tmp_path, absent, coco=True))
    with pytest.raises(ValueError, match='CocoMetric.*cannot evaluate.*ground truth is required'):
        check_evaluation(detector(tmp_path, dict(type='CocoMetric')))


def test_a_metric_with_the_annotations_of_other_images(tmp_path):
    """Both files call their first image 1."""
    other = write_coco(tmp_path / 'train.json', image='b.jpg')
    metric = dict(type='CocoMetric', ann_file=str(other))
    with pytest.raises(ValueError, match=r'train\.json|image 1 .* is a\.jpg, and .* has b\.jpg'):
        check_evaluation(detector(tmp_path, metric, coco=True))


def test_a_detector_that_predicts_more_classes_than_the_data_name(tmp_path):
    metric = dict(type='CocoMetric', ann_file=str(tmp_path / 'val.json'))
    cfg = detector(tmp_path, metric, coco=True, num_classes=80)
    with pytest.raises(ValueError, match='predicts 80 classes, and the data set names 2'):
        check_evaluation(cfg)


def test_masks_without_a_head_that_makes_them(tmp_path):
    metric = dict(type='CocoMetric', metric=['bbox', 'segm'], ann_file=str(tmp_path / 'val.json'))
    cfg = detector(tmp_path, metric, coco=True)
    assert 'coco/segm_mAP' in names(cfg)  # of such a model nothing says that it makes none
    cfg.model = dict(type='FasterRCNN', roi_head=dict(type='StandardRoIHead'))
    with pytest.raises(ValueError, match='CocoMetric cannot evaluate.*segm is not in results'):
        check_evaluation(cfg)
    cfg.model = dict(type='MaskRCNN', roi_head=dict(type='StandardRoIHead', mask_head=dict(a=1)))
    check_evaluation(cfg)


def test_a_pipeline_that_loads_no_annotations(tmp_path):
    cfg = detector(tmp_path, dict(type='VOCMetric'))
    del cfg.val_dataloader.dataset.pipeline[1]
    with pytest.raises(ValueError, match='VOCMetric cannot evaluate.*Correct the metric, or the'):
        check_evaluation(cfg)


def test_a_first_image_that_cannot_be_loaded(tmp_path):
    cfg = classifier(tmp_path, dict(type='Accuracy'))
    Path(tmp_path, 'val/ant/a.jpg').write_bytes(b'no image')
    with pytest.raises(ValueError, match='val_dataloader, CustomDataset: its first image'):
        check_evaluation(cfg)


# --- what follows a metric ------------------------------------------------------------------------

ECE, ACCURACY = dict(type='CalibrationError'), dict(type='Accuracy')


@pytest.mark.parametrize(
    ('hook', 'metrics', 'message'),
    [
        (dict(save_best='accuracy/top5'), ACCURACY, r'`save_best`.*one of accuracy/top1.*top5'),
        (dict(save_best='accuracy/topl'), ACCURACY, r'did you mean `accuracy/top1`'),
        (dict(save_best='auto'), [ECE, ACCURACY], r"follows calibration/ece.*rule='less'"),
        (dict(save_best='auto'), [ACCURACY, ECE], None),
        (dict(save_best='auto', rule='less'), [ECE, ACCURACY], None),
        (dict(save_best=['accuracy/top1', 'calibration/ece']), [ECE, ACCURACY], r"rule='less'"),
    ],
)
def test_what_chooses_the_best_checkpoint(tmp_path, hook, metrics, message):
    cfg = classifier(tmp_path, metrics, hook=dict(CHECKPOINT, **hook))
    if message is None:
        check_evaluation(cfg)
    else:
        with pytest.raises(ValueError, match=message):
            check_evaluation(cfg)


def test_hooks_may_add_metrics(tmp_path):
    hook = dict(CHECKPOINT, save_best='fgsm/top1_error', rule='less')
    attack = dict(type='AdversarialErrorHook', val_interval=1)
    check_evaluation(classifier(tmp_path, ACCURACY, hook=hook, custom_hooks=[attack]))
    with pytest.raises(ValueError, match='`save_best`'):
        check_evaluation(classifier(tmp_path, ACCURACY, hook=hook, custom_hooks=[None]))
    hook['save_best'] = 'mine'
    check_evaluation(
        classifier(tmp_path, ACCURACY, hook=hook, custom_hooks=[dict(type='AddsAMetric')])
    )


def test_what_lowers_the_learning_rate(tmp_path):
    scheduler = dict(type='ReduceOnPlateauLR', monitor='accuracy/top1', rule='greater')
    check_evaluation(classifier(tmp_path, ACCURACY, param_scheduler=[scheduler]))
    for wrong in (dict(type='ReduceOnPlateauLR'), dict(scheduler, monitor='acc')):
        with pytest.raises(ValueError, match='`monitor` of ReduceOnPlateauLR must name a metric'):
            check_evaluation(classifier(tmp_path, ACCURACY, param_scheduler=dict(a=[wrong])))


def test_what_stops_the_training(tmp_path, warnings_said):
    stop = dict(type='EarlyStoppingHook', monitor='acc')
    check_evaluation(classifier(tmp_path, ACCURACY, custom_hooks=[stop]))
    assert '`monitor` of EarlyStoppingHook must name a metric' in warnings_said[0]
    stop['strict'] = True
    with pytest.raises(ValueError, match='EarlyStoppingHook'):
        check_evaluation(classifier(tmp_path, ACCURACY, custom_hooks=[stop]))


def test_no_validation_at_all_is_said(tmp_path, warnings_said):
    check_evaluation(classifier(tmp_path, ACCURACY, train_cfg=dict(max_epochs=3, val_begin=4)))
    assert 'Nothing will be validated: train_cfg.val_begin is 4' in warnings_said.pop()
    hook = dict(CHECKPOINT, save_best='auto')
    none = dict(val_cfg=None, val_dataloader=None, val_evaluator=None)
    check_evaluation(classifier(tmp_path, ACCURACY, hook=hook, **none))
    assert 'No best checkpoint will be saved' in warnings_said.pop()
    check_evaluation(classifier(tmp_path, ACCURACY, train_cfg=dict(max_epochs=3, val_interval=9)))
    assert not warnings_said


def test_random_numbers_of_the_run_are_left_alone(tmp_path):
    cfg = classifier(tmp_path, ACCURACY)
    before = torch.random.get_rng_state()
    check_evaluation(cfg)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_the_tools_ask_before_they_start(tmp_path, tool, monkeypatch):
    module = import_module(f'mmdet_ols.cli.{tool}')
    cfg = classifier(tmp_path, dict(type='Accuracy', topk=(1, 5)))
    for split in ('train', 'test'):
        cfg[f'{split}_dataloader'] = cfg.val_dataloader.to_dict()
    cfg.merge_from_dict(dict(test_cfg=dict(), test_evaluator=cfg.val_evaluator.to_dict()))
    cfg.dump(tmp_path / 'five.py')
    (tmp_path / 'a.pth').touch()
    words = [tmp_path / 'five.py', *([tmp_path / 'a.pth'] if tool == 'test' else [])]
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, words)])
    with pytest.raises(ValueError, match='`topk` of (val|test)_evaluator, Accuracy'):
        module.checked_config(module.parse_args())


def later_annotation(path, **changes):
    """Add a second image, whose object lacks or has something that the first one's do not."""
    content = json.loads(path.read_text())
    picture(path.parent / 'JPEGImages/b.jpg')
    content['images'].append(dict(content['images'][0], id=2, file_name='b.jpg'))
    item = {**content['annotations'][0], 'id': 9, 'image_id': 2, **changes}
    content['annotations'].append({key: value for key, value in item.items() if value != 'none'})
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(iscrowd='none'), r"1 of 3 annotations must have 'iscrowd'.*annotation 9 of image 2"),
        (dict(iscrowd='false'), r"must have 'iscrowd', 0 or 1.*has 'false'"),
        (dict(id='a9'), r"must have an 'id' that is a number.*'a9'"),
    ],
)
def test_what_ends_cocos_evaluation_at_a_later_image(tmp_path, changes, message):
    cfg = detector(
        tmp_path, dict(type='CocoMetric', ann_file=str(tmp_path / 'val.json')), coco=True
    )
    check_evaluation(cfg)
    later_annotation(tmp_path / 'val.json', **changes)
    with pytest.raises(ValueError, match=f'`ann_file` of val_evaluator, CocoMetric .*{message}'):
        check_evaluation(cfg)


def test_an_annotation_with_the_id_0_counts_as_missed(tmp_path, monkeypatch):
    from mmdet_ols.checks import metric_annotations

    said = []
    monkeypatch.setattr(metric_annotations, 'warn', said.append)
    cfg = detector(
        tmp_path, dict(type='CocoMetric', ann_file=str(tmp_path / 'val.json')), coco=True
    )
    check_evaluation(cfg)
    assert said == []
    later_annotation(tmp_path / 'val.json', id=0)
    check_evaluation(cfg)
    assert len(said) == 1 and 'the id 0' in said[0] and 'from 1' in said[0]
