"""The scores that a network gives to annotated objects, and when they are computed again."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from tiny_models import NUM_CLASSES, build, read_host, shrink
from torch import nn
from toy_arrays import arrays

from mmdet_ols.analysis import predictions
from mmdet_ols.analysis.annotations import Annotation, read_annotations
from mmdet_ols.analysis.predictions import match_predictions, predict_annotations
from mmdet_ols.analysis.report.suspects import audit_annotations
from mmdet_ols.datasets.demo_voc import CLASSES

# --- matching ------------------------------------------------------------------------------------


def test_boxes_without_an_area_take_no_detection_from_others():
    boxes = np.array([[5, 5, 5, 5], [0, 0, 10, 10]], dtype=float)
    predicted = np.array([[5, 5, 5, 5], [0, 0, 10, 9]], dtype=float)
    actual = match_predictions(boxes, predicted, np.array([0, 1]), np.array([0.9, 0.8]), 2)
    assert_allclose(actual, [[0, 0], [0, 0.8]])


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
    actual = match_predictions(
        boxes, predicted, np.array([2, 2, 0, 1]), np.array([0.3, 0.2, 0.1, 0.9]), 4
    )
    assert_allclose(actual, [[0.1, 0, 0.3, 0]])


def test_a_detection_speaks_for_the_box_that_it_overlaps_most():
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [2, 0, 12, 10]], dtype=float)
    predicted = np.array([[0, 0, 10, 10], [2, 0, 12, 10]], dtype=float)  # both overlap all by half
    actual = match_predictions(boxes, predicted, np.array([0, 1]), np.array([0.9, 0.8]), 2)
    assert_allclose(actual, [[0.9, 0], [0, 0.8], [0, 0.8]])


def test_weak_detections_find_nothing():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]], dtype=float)
    actual = match_predictions(
        boxes,
        boxes[:2],
        np.array([0, 1]),
        np.array([predictions.MIN_SCORE, predictions.MIN_SCORE / 2]),
        2,
    )
    assert_allclose(actual, [[predictions.MIN_SCORE, 0], [0, 0], [0, 0]])
    assert_array_equal(match_predictions(boxes, np.empty((0, 4)), [], [], 2), np.zeros((3, 2)))


# --- predicting ----------------------------------------------------------------------------------


@MODELS.register_module()
class StubDetector(nn.Module):
    """Detects what fills the image: class 3 with score 0.9, class 0 with its weight."""

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
    actual = predict_annotations(**predicted)
    expected = np.zeros((10, 9))
    expected[:, 3], expected[:, 0] = 0.9, 0.1  # below the threshold of the config, 0.3
    expected[4] = 0
    assert_allclose(actual, expected, rtol=1e-6)
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


def test_a_work_directory_that_cannot_be_written_to_does_no_harm(predicted, tmp_path, monkeypatch):
    warned = []
    monkeypatch.setattr(predictions, 'print_log', lambda text, **_: warned.append(text))
    expected = predict_annotations(**predicted)
    somebody_elses = tmp_path / 'scores.npz/absent'  # in a file, so not even root can write there
    actual = predict_annotations(**dict(predicted, cache=somebody_elses))
    assert_array_equal(actual, expected)
    (warning,) = warned
    assert 'The scores cannot be kept' in warning and 'Not a directory' in warning


def test_a_checkpoint_of_another_network_is_refused(predicted):
    torch.save(dict(state_dict=dict(other=torch.tensor(0.1))), predicted['checkpoint'])
    with pytest.raises(ValueError, match='the model must be the one it was trained with') as error:
        predict_annotations(**predicted)
    assert '--resume' not in str(error.value)  # which neither a test nor a report has


def test_a_part_of_the_images_is_enough(predicted):
    part = predicted['annotations'][3:6]
    actual = predict_annotations(**dict(predicted, annotations=part))
    assert_allclose(actual[:, 3], [0.9, 0, 0.9], rtol=1e-6)
    assert StubDetector.calls == 1  # three images, batches of three


def test_without_names_in_the_checkpoint_the_classes_are_those_of_the_data(predicted, tmp_path):
    """Whose annotations need not be of all classes that the network knows."""
    record = SimpleNamespace(
        cfg=predicted['cfg'], checkpoint=predicted['checkpoint'], classes=[], content={},
        folder=tmp_path,
    )  # fmt: skip
    assert audit_annotations(record, 'train', 1).classes == list(CLASSES)
    more = predict_annotations(**dict(predicted, num_classes=12))
    assert more.shape == (10, 12) and predict_annotations(**predicted).shape == (10, 9)


def test_outputs_without_a_class_say_nothing(predicted):
    """A head of 80 outputs trains on data of three classes, with a warning."""
    actual = predict_annotations(**dict(predicted, num_classes=2))  # the detector sees class 3
    assert_allclose(actual[0], [0.1, 0], rtol=1e-6)


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


def test_images_without_files_are_known_by_their_pixels(tmp_path):
    cfg = arrays([1, 0, 1])
    actual = read_annotations(cfg)
    path = tmp_path / 'weights.pth'
    torch.save(dict(weight=torch.tensor(0.1)), path)
    cache = tmp_path / 'scores.npz'
    scores = predict_annotations(cfg, path, actual[1:4], 2, cache=cache)
    assert_allclose(scores, [[1, 1], [2, 1], [0, 1]])
    actual[1] = actual[1]._replace(pixels=np.zeros((4, 4, 3), dtype=np.uint8))
    assert predictions._cache_key(cfg, path, actual[1:4]) != str(np.load(cache)['key'])


def test_another_preprocessor_gives_other_scores(predicted):
    """A classifier's config has it next to the model, not in it."""
    args = [predicted[name] for name in ('cfg', 'checkpoint', 'annotations')]
    key = predictions._cache_key(*args)
    args[0] = Config(dict(args[0].to_dict(), data_preprocessor=dict(mean=[1.0, 2.0, 3.0])))
    assert predictions._cache_key(*args) != key


def test_limits_are_lifted_but_for_proposals():
    test_cfg = ConfigDict(
        rpn=dict(nms_pre=1000, max_per_img=300),
        rcnn=dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
        conf_thr=0.001,
    )
    before = deepcopy(test_cfg.rpn)
    predictions._lower_thresholds(test_cfg)
    assert test_cfg.rpn == before
    assert test_cfg.rcnn.score_thr == predictions.SCORE_THR and test_cfg.rcnn.max_per_img == 1000
    assert test_cfg.conf_thr == 0.001


@pytest.mark.parametrize(
    ('path', 'most'),
    [
        ('detr/detr_r50_8xb2-150e_coco.py', 12),  # of 12 queries
        ('ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py', 3),  # of the distinct ones of its queries
        ('sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco.py', 100),
        ('retinanet/retinanet_r50_fpn_1x_coco.py', 1000),
    ],
)
def test_a_detector_is_not_asked_for_more_detections_than_it_has(path, most, tmp_path):
    cfg = shrink(read_host(path))
    if most < 100:
        cfg.model.test_cfg.max_per_img = most
    torch.save(dict(state_dict=build(cfg).state_dict()), tmp_path / 'weights.pth')
    model = predictions.load_model(cfg, tmp_path / 'weights.pth')
    batch = demo_mm_inputs(2, (3, 64, 64), num_items=[1, 1], num_classes=NUM_CLASSES)
    found = [len(sample.pred_instances) for sample in model.test_step(batch)]
    if most < 1000:
        assert found == [most, most]
    else:
        assert all(100 < count <= most for count in found)
