"""The AP of PASCAL VOC, against a computation of its own from VOC's rules."""

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import METRICS, DefaultScope

from mmdet_ols import VOCAPMetric

CLASSES = ('cat', 'dog', 'all difficult', 'no object')


def overlap(a, b):
    """IoU of two boxes that count their last pixels."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = max(width, 0) * max(height, 0)
    areas = [(x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (a, b)]
    return shared / (sum(areas) - shared)


def voc_ap(images, label, points):
    """AP of a class: detections one by one, the surest of all images first."""
    objects = [
        (i, box, difficult)
        for i, image in enumerate(images)
        for box, kind, difficult in image['objects']
        if kind == label
    ]
    ranked = [
        (score, i, box)
        for i, image in enumerate(images)
        for box, kind, score in image['detections']
        if kind == label
    ]
    wanted = sum(not difficult for *_, difficult in objects)
    if wanted == 0:
        return None
    taken, right, wrong, curve = set(), 0, 0, []
    for _, i, box in sorted(ranked, reverse=True):
        overlaps = [overlap(box, other) if j == i else 0 for j, other, _ in objects]
        best = int(np.argmax(overlaps))
        if overlaps[best] < 0.5 or best in taken:
            wrong += 1
        elif objects[best][2]:
            continue
        else:
            taken.add(best)
            right += 1
        curve.append((right / wanted, right / (right + wrong)))
    if points:
        return (
            sum(
                max((precision for recall, precision in curve if recall >= point / 10), default=0)
                for point in range(11)
            )
            / 11
        )
    area, before = 0, 0
    for recall, _ in curve:
        area += (recall - before) * max(p for r, p in curve if r >= recall)
        before = recall
    return area


def jitter(rng, box, amount):
    return [int(edge) for edge in np.add(box, rng.integers(-amount, amount + 1, 4))]


@pytest.fixture
def images():
    """Objects, some difficult; detections near them, twice, of the wrong class and of nothing."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(25):
        objects, detections = [], []
        for place in range(rng.integers(0, 5)):
            x, y = 60 * place, rng.integers(0, 50)
            box = [int(edge) for edge in (x, y, x + rng.integers(6, 40), y + rng.integers(6, 40))]
            kind = int(rng.integers(0, 3))
            objects.append((box, kind, kind == 2 or rng.random() < 0.3))
            for _ in range(rng.integers(0, 4)):
                label = kind if rng.random() < 0.8 else int(rng.integers(0, 4))
                detections.append((jitter(rng, box, 4), label, float(rng.random())))
        if rng.random() < 0.3:
            detections.append(([100, 80, 140, 120], int(rng.integers(0, 4)), float(rng.random())))
        images.append(dict(objects=objects, detections=detections))
    return images


def packed(images):
    """MMDetection's data samples, as its evaluator hands them to a metric."""

    def instances(rows, *keys):
        columns = list(zip(*rows)) or [()] * (1 + len(keys))
        values = {key: torch.tensor(column) for key, column in zip(keys, columns[1:])}
        return dict(bboxes=torch.tensor(columns[0], dtype=torch.float).reshape(-1, 4), **values)

    return [
        dict(
            gt_instances=instances([row[:2] for row in image['objects'] if not row[2]], 'labels'),
            ignored_instances=instances([row[:2] for row in image['objects'] if row[2]], 'labels'),
            pred_instances=instances(image['detections'], 'labels', 'scores'),
        )
        for image in images
    ]


def build():
    with DefaultScope.overwrite_default_scope('mmdet'):
        metric = METRICS.build(dict(type='VOCAPMetric'))
    metric.dataset_meta = dict(classes=CLASSES, dataset_type='VOC2007')
    return metric


@pytest.fixture
def printed(monkeypatch):
    lines = []
    logger = MMLogger.get_instance('voc_ap')
    monkeypatch.setattr(logger, 'info', lines.append)
    monkeypatch.setattr(logger, 'log', lambda level, message: lines.append(message))
    monkeypatch.setattr(MMLogger, 'get_current_instance', classmethod(lambda cls: logger))
    return lines


def test_both_readings_of_every_class_follow_vocs_rules(images, printed):
    metric = build()
    samples = packed(images)
    for start in range(0, len(samples), 4):
        metric.process(None, samples[start : start + 4])
    values = metric.evaluate(len(samples))
    for reading, mean, points in (('AP', 'mAP', False), ('AP_11points', 'mAP_11points', True)):
        expected = {
            name: ap
            for label, name in enumerate(CLASSES)
            if (ap := voc_ap(images, label, points)) is not None
        }
        assert set(expected) == {'cat', 'dog'}
        prefix = f'pascal_voc/{reading}/'
        logged = {key[len(prefix) :]: values[key] for key in values if key.startswith(prefix)}
        assert min(expected.values()) > 0.1 and max(expected.values()) < 0.9
        assert logged == pytest.approx(expected, abs=1e-6)
        mean = values[f'pascal_voc/{mean}']
        assert mean == pytest.approx(np.mean(list(expected.values())), abs=1e-6)
    assert next(iter(values)) == 'pascal_voc/mAP'  # what save_best='auto' takes
    tables = [line for line in printed if '| class' in line]
    assert len(tables) == 2 and all(name in table for table in tables for name in CLASSES)
    for table, mean in zip(tables, ('mAP', 'mAP_11points')):
        assert f'{values[f"pascal_voc/{mean}"]:.3f}' in table.splitlines()[-2]


def test_boxes_count_their_last_pixels(printed):
    """IoU 5 / 10 where a pixel column counts, and below one half where it does not."""
    image = dict(objects=[([0, 0, 9, 9], 0, False)], detections=[([0, 0, 4, 9], 0, 0.9)])
    metric = build()
    metric.process(None, packed([image]))
    assert metric.evaluate(1)['pascal_voc/AP/cat'] == pytest.approx(1)


def test_nothing_found_and_nothing_to_find(printed):
    nothing, missed = dict(objects=[], detections=[]), [([0, 0, 9, 9], 0, False)]
    for objects, expected in (([], {}), (missed, {'pascal_voc/AP/cat': 0.0})):
        metric = build()
        metric.process(None, packed([nothing, dict(objects=objects, detections=[])]))
        values = metric.evaluate(2)
        assert values['pascal_voc/mAP'] == values['pascal_voc/mAP_11points'] == 0
        assert {key: ap for key, ap in values.items() if '/AP/' in key} == expected


def test_the_threshold_is_checked_and_used(printed):
    with pytest.raises(ValueError, match=r'`iou_thr` must be in \(0, 1\], but got 50'):
        VOCAPMetric(iou_thr=50)
    metric = VOCAPMetric(iou_thr=0.6)
    metric.dataset_meta = dict(classes=CLASSES)
    image = dict(objects=[([0, 0, 9, 9], 0, False)], detections=[([0, 0, 4, 9], 0, 0.9)])
    metric.process(None, packed([image]))
    assert metric.evaluate(1)['pascal_voc/AP/cat'] == 0
