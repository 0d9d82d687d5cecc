"""Which annotation disagrees with what the network sees, against hand-computed cases."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from xml.dom import minidom

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, MODELS
from mmengine.structures import InstanceData
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch import nn

from mmdet_ols.analysis import annotations as module
from mmdet_ols.analysis.annotations import (
    Annotation,
    match_predictions,
    mean_predictions,
    predict_annotations,
    rank_annotations,
    read_annotations,
)
from mmdet_ols.datasets.demo_voc import CLASSES, make_demo_voc

# --- matching ------------------------------------------------------------------------------------


def test_boxes_without_an_area_take_no_detection_from_others():
    boxes = np.array([[5, 5, 5, 5], [0, 0, 10, 10]], dtype=float)
    predicted = np.array([[5, 5, 5, 5], [0, 0, 10, 9]], dtype=float)
    found = match_predictions(boxes, predicted, np.array([0, 1]), np.array([0.9, 0.8]), 2)
    assert_allclose(found, [[0, 0], [0, 0.8]])


def test_each_class_counts_with_its_best_detection_of_enough_overlap():
    boxes = np.array([[0, 0, 10, 10]], dtype=float)
    predicted = np.array(
        [
            [0, 0, 10, 10],
            [0, 0, 10, 9],  # the same class, a lower score
            [0, 0, 10, 5],  # an IoU of exactly one half
            [0, 0, 10, 4.9],
        ]
    )
    found = match_predictions(
        boxes, predicted, np.array([2, 2, 0, 1]), np.array([0.3, 0.2, 0.1, 0.9]), 4
    )
    assert_allclose(found, [[0.1, 0, 0.3, 0]])


def test_a_detection_speaks_for_the_box_that_it_overlaps_most():
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [2, 0, 12, 10]], dtype=float)
    predicted = np.array([[0, 0, 10, 10], [2, 0, 12, 10]], dtype=float)  # both overlap all by half
    found = match_predictions(boxes, predicted, np.array([0, 1]), np.array([0.9, 0.8]), 2)
    assert_allclose(found, [[0.9, 0], [0, 0.8], [0, 0.8]])


def test_weak_detections_find_nothing():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]], dtype=float)
    found = match_predictions(
        boxes, boxes[:2], np.array([0, 1]), np.array([module.MIN_SCORE, module.MIN_SCORE / 2]), 2
    )
    assert_allclose(found, [[module.MIN_SCORE, 0], [0, 0], [0, 0]])
    assert_array_equal(match_predictions(boxes, np.empty((0, 4)), [], [], 2), np.zeros((3, 2)))


# --- ranking -------------------------------------------------------------------------------------


def test_disagreement_by_hand():
    profiles = np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0], [0.0, 0.0, 1.0]])
    scores = np.array([[0.1, 0.6, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    suspects, nearest, missed = rank_annotations(scores, np.array([0, 0, 1, 2]), profiles)
    assert missed == [2]

    def log(row, column):
        return math.log((1 - module.SMOOTHING) * profiles[row][column] + module.SMOOTHING / 3)

    two_as_one = 0.5 * (log(1, 1) - log(2, 1))
    zero_as_one = 0.1 * (log(1, 0) - log(0, 0)) + 0.6 * (log(1, 1) - log(0, 1))
    assert [item[:2] for item in suspects] == [(3, 1), (0, 1)]
    assert_allclose([item.disagreement for item in suspects], [two_as_one, zero_as_one])
    rather_zero = 0.9 * (log(1, 0) - log(0, 0)) + 0.1 * (log(1, 1) - log(0, 1))
    assert rather_zero < 0 and [item[:2] for item in nearest] == [(1, 1)]
    assert nearest[0].disagreement == pytest.approx(rather_zero)


def test_only_what_was_seen_beside_the_written_class_is_near_to_another():
    scores = np.array([[0.9, 0.0, 0.2], [0.9, 0.0, 0.0], [0.9, 0.0, 0.4], [0.5, 0.5, 0.0]])
    suspects, nearest, missed = rank_annotations(scores, np.zeros(4, dtype=int), np.eye(3))
    assert suspects == [] and missed == []
    assert [item[:2] for item in nearest] == [(3, 1), (2, 2), (0, 2)]


def test_usual_confusions_and_weak_detections_rank_behind():
    # Classes 0 and 1 look alike, 2 and 3 never.
    profiles = np.array(
        [[0.6, 0.4, 0, 0], [0.4, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=float
    )
    scores = np.array([[0.2, 0.8, 0, 0], [0, 0, 0.1, 0.4], [0, 0, 0.2, 0.8]], dtype=float)
    suspects, *_ = rank_annotations(scores, np.array([0, 2, 2]), profiles)
    assert [item.row for item in suspects] == [2, 1, 0]


def test_rows_of_profiles_need_not_sum_to_one():
    rng = np.random.default_rng(0)
    scores, labels = rng.random((20, 3)), rng.integers(3, size=20)
    profiles = rng.random((3, 3)) + np.eye(3)
    expected, *_ = rank_annotations(scores, labels, profiles / profiles.sum(1, keepdims=True))
    found, *_ = rank_annotations(scores, labels, profiles)
    assert [item[:2] for item in found] == [item[:2] for item in expected]
    assert_allclose([item[2] for item in found], [item[2] for item in expected])


def test_mean_predictions_by_hand():
    scores = np.array([[0.6, 0.2, 0], [0.2, 0.2, 0], [0.1, 0.9, 0], [0, 0, 0]])
    labels = np.array([0, 0, 0, 2])
    # The first two are right (the second by its place), the third is wrong, the last was missed.
    expected = [[(0.75 + 0.5) / 2, (0.25 + 0.5) / 2, 0], [0, 1, 0], [0, 0, 1]]
    assert_allclose(mean_predictions(scores, labels), expected)


# --- reading -------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    """A repeated and mixed data set over both years, with augmentation."""
    root = tmp_path_factory.mktemp('data') / 'demo'
    counts = {'VOC2007/trainval': 6, 'VOC2012/trainval': 4, 'VOC2007/test': 2}
    make_demo_voc(root, counts, wrong_labels=0.2, workers=1)
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    parts = [
        dict(
            type='XMLDataset',
            data_root=str(root),
            ann_file=f'{year}/ImageSets/Main/trainval.txt',
            data_prefix=dict(sub_data_root=f'{year}/'),
            metainfo=dict(classes=CLASSES),
            pipeline=[*load, dict(type='RandomFlip', prob=1.0), dict(type='PackDetInputs')],
        )
        for year in ('VOC2007', 'VOC2012')
    ]
    concat = dict(type='ConcatDataset', datasets=parts)
    test = dict(
        parts[0], ann_file='VOC2007/ImageSets/Main/test.txt', pipeline=[*load, PACK], test_mode=True
    )
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(type='StubDetector', test_cfg=dict(score_thr=0.3, max_per_img=10)),
            train_dataloader=dict(dataset=dict(type='RepeatDataset', times=3, dataset=concat)),
            test_dataloader=dict(batch_size=3, dataset=test),
        )
    )


PACK = dict(type='PackDetInputs', meta_keys=('img_path', 'ori_shape'))


def test_annotations_are_read_once_without_the_ignored(cfg):
    root = Path(cfg.test_dataloader.dataset.data_root)
    expected = []
    for year, names in (('VOC2007', range(1, 7)), ('VOC2012', range(1, 5))):
        for name in names:
            stem = f'{name:06d}' if year == 'VOC2007' else f'2012_{name:06d}'
            document = minidom.parse(str(root / year / 'Annotations' / f'{stem}.xml'))
            for number, node in enumerate(document.getElementsByTagName('object')):
                text = {
                    tag: node.getElementsByTagName(tag)[0].firstChild.data
                    for tag in ('name', 'difficult', 'xmin', 'ymin', 'xmax', 'ymax')
                }
                if text['difficult'] == '0':
                    # MMDetection takes 1 off all four.
                    box = tuple(float(text[key]) - 1 for key in ('xmin', 'ymin', 'xmax', 'ymax'))
                    label = CLASSES.index(text['name'])
                    image = str(root / year / 'JPEGImages' / f'{stem}.jpg')
                    sample = name - 1 if year == 'VOC2007' else name + 5
                    expected.append(Annotation(image, number, box, label, sample))
    assert read_annotations(cfg) == expected
    assert any(item.number != 0 for item in expected)


def test_unknown_split_is_named(cfg):
    with pytest.raises(ValueError, match='no data set for val: `val_dataloader` is empty'):
        read_annotations(cfg, 'val')


def test_images_are_spread_over_the_split(cfg):
    images = list(dict.fromkeys(item.image for item in read_annotations(cfg)))
    few = list(dict.fromkeys(item.image for item in read_annotations(cfg, max_images=3)))
    assert few == [images[0], images[4], images[9]]


# --- predicting ----------------------------------------------------------------------------------


@MODELS.register_module()
class StubDetector(nn.Module):
    """Finds whatever fills the image, as class 3 by 0.9 and as class 0 by its weight."""

    calls = 0

    def __init__(self, test_cfg, data_preprocessor=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.test_cfg = test_cfg

    def test_step(self, batch):
        StubDetector.calls += 1
        assert not self.training and not torch.is_grad_enabled()
        for sample in batch['data_samples']:
            assert 'bboxes' not in sample.gt_instances  # nothing is given away
            height, width = sample.ori_shape
            # As a detector does: what is below its threshold is not there.
            scores = torch.stack([torch.tensor(0.9), self.weight.detach()])
            kept = scores >= self.test_cfg.score_thr
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor([[0.0, 0.0, width, height]]).repeat(2, 1)[kept],
                labels=torch.tensor([3, 0])[kept],
                scores=scores[kept],
            )
        return batch['data_samples']


@pytest.fixture
def predicted(cfg, tmp_path):
    """Arguments for `predict_annotations`: one object an image, which fills it."""
    StubDetector.calls = 0
    boxes = []
    for path in dict.fromkeys(item.image for item in read_annotations(cfg)):
        with Image.open(path) as image:
            box = (0.0, 0.0, *map(float, image.size))
            boxes.append(Annotation(path, 0, box, 0, len(boxes)))
    boxes[4] = boxes[4]._replace(box=(0.0, 0.0, 5.0, 5.0))
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=dict(weight=torch.tensor(0.1))), path)
    return dict(
        cfg=cfg, checkpoint=path, annotations=boxes, num_classes=9, cache=tmp_path / 'scores.npz'
    )


def test_every_annotation_gets_the_scores_of_its_place(predicted):
    found = predict_annotations(**predicted)
    expected = np.zeros((10, 9))
    expected[:, 3], expected[:, 0] = 0.9, 0.1  # below the threshold of the config, 0.3
    expected[4] = 0
    assert_allclose(found, expected, rtol=1e-6)
    assert predicted['cfg'].model.test_cfg.score_thr == 0.3
    assert StubDetector.calls > 1


def test_predictions_are_kept_as_long_as_they_hold(predicted):
    first = predict_annotations(**predicted)
    calls = StubDetector.calls
    relabelled = [item._replace(label=1) for item in predicted['annotations']]
    assert_array_equal(predict_annotations(**dict(predicted, annotations=relabelled)), first)
    assert StubDetector.calls == calls

    torch.save(dict(state_dict=dict(weight=torch.tensor(0.2))), predicted['checkpoint'])
    assert_allclose(predict_annotations(**predicted)[:2, 0], [0.2, 0.2])
    moved = [item._replace(box=(0.0, 0.0, 5.0, 5.0)) for item in predicted['annotations']]
    assert predict_annotations(**dict(predicted, annotations=moved)).sum() == 0
    expected = predict_annotations(**predicted)
    whole = predicted['cache'].read_bytes()
    for damaged in (b'', b'no archive', whole[:-9], whole[:60], whole.replace(whole[60:80], b'')):
        predicted['cache'].write_bytes(damaged)
        assert_array_equal(predict_annotations(**predicted), expected)
        assert predicted['cache'].read_bytes()[:2] == b'PK'
    assert [path.name for path in predicted['cache'].parent.glob('scores*')] == ['scores.npz']


def test_a_checkpoint_of_another_network_is_refused(predicted):
    torch.save(dict(state_dict=dict(other=torch.tensor(0.1))), predicted['checkpoint'])
    with pytest.raises(ValueError, match='the model must be the one it was trained with'):
        predict_annotations(**predicted)


def test_a_part_of_the_images_is_enough(predicted):
    part = predicted['annotations'][3:6]
    found = predict_annotations(**dict(predicted, annotations=part))
    assert_allclose(found[:, 3], [0.9, 0, 0.9], rtol=1e-6)
    assert StubDetector.calls == 1  # three images, batches of three


@DATASETS.register_module()
class Arrays(BaseDataset):
    """As MMPretrain's CIFAR and MNIST: no files."""

    def __init__(self, labels, **kwargs):
        self.labels = labels
        super().__init__(**kwargs)

    def load_data_list(self):
        return [
            dict(img=np.full((4, 4, 3), level, dtype=np.uint8), gt_label=label)
            for level, label in enumerate(self.labels)
        ]


@MODELS.register_module()
class Brightness(nn.Module):
    def __init__(self, data_preprocessor=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def test_step(self, batch):
        levels = [float(inputs.float().mean()) for inputs in batch['inputs']]
        for sample, level in zip(batch['data_samples'], levels):
            sample.set_pred_score(torch.tensor([level, 1.0]))
        return batch['data_samples']


def arrays(labels):
    part = dict(type='Arrays', labels=labels, pipeline=[dict(type='PackInputs')])
    concat = dict(type='ConcatDataset', datasets=[part, dict(part, labels=labels[:2])])
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='Brightness'),
            train_dataloader=dict(batch_size=2, dataset=concat),
        )
    )


def test_images_without_files_are_known_by_their_place(tmp_path):
    cfg = arrays([1, 0, 1])
    found = read_annotations(cfg)
    assert [item.image for item in found] == [f'Arrays {index}' for index in (0, 1, 2, 0, 1)]
    assert [(item.label, item.sample) for item in found] == [(1, 0), (0, 1), (1, 2), (1, 3), (0, 4)]
    assert found[2].pixels.mean() == 2
    path = tmp_path / 'weights.pth'
    torch.save(dict(weight=torch.tensor(0.1)), path)
    cache = tmp_path / 'scores.npz'
    scores = predict_annotations(cfg, path, found[1:4], 2, cache=cache)
    assert_allclose(scores, [[1, 1], [2, 1], [0, 1]])
    found[1] = found[1]._replace(pixels=np.zeros((4, 4, 3), dtype=np.uint8))
    assert module._key(cfg, path, found[1:4]) != str(np.load(cache)['key'])


def test_several_labels_an_image_are_refused():
    with pytest.raises(ValueError, match=r'train data have several labels .*Arrays 1: \[0, 1\]'):
        read_annotations(arrays([1, [0, 1], 0]))


def test_labels_are_those_that_the_run_learned_from():
    """Behind the wrappers that select samples and make labels wrong, by the run's seed."""
    labels = [0] * 9 + [1] * 7
    cfg = arrays(labels)
    plain = dict(cfg.train_dataloader.dataset.datasets[0], metainfo=dict(classes=('a', 'b')))
    noisy = dict(
        type='NoisyLabelDataset',
        rate=0.5,
        dataset=dict(type='BalancedSubset', samples_per_class=6, dataset=plain),
    )
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(
            type='InMemoryDataset',
            dataset=noisy,
            batch_transforms=[dict(type='BatchRandomFlip', prob=0.5)],
        ),
    )
    with pytest.raises(ValueError, match=r'made wrong is not known.*randomness.seed=N'):
        read_annotations(cfg)
    cfg.randomness = dict(seed=7)
    torch.manual_seed(7)  # as MMEngine's Runner does
    learned = DATASETS.build(noisy).noisy_labels.tolist()
    assert learned != labels[:6] + labels[9:15]
    torch.manual_seed(8)
    found = read_annotations(cfg)
    assert [item.label for item in found] == learned
    assert [int(item.pixels.mean()) for item in found] == [*range(6), *range(9, 15)]
    cfg.train_dataloader.dataset.dataset.dataset.seed = 3
    learned = DATASETS.build(dict(noisy, seed=3)).noisy_labels.tolist()
    assert [item.label for item in read_annotations(cfg)] == learned


def test_limits_are_lifted_but_for_proposals():
    test_cfg = ConfigDict(
        rpn=dict(nms_pre=1000, max_per_img=300),
        rcnn=dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
        conf_thr=0.001,
    )
    before = deepcopy(test_cfg.rpn)
    module._ask_for_everything(test_cfg)
    assert test_cfg.rpn == before
    assert test_cfg.rcnn.score_thr == module.SCORE_THR and test_cfg.rcnn.max_per_img == 1000
    assert test_cfg.conf_thr == 0.001
