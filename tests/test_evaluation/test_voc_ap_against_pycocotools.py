"""The AP of PASCAL VOC from annotation files on, against pycocotools and VOC's own rule.

pycocotools matches and counts on its own. Three of its definitions differ from VOC's, and are set
here so that the results must be equal:

- Boxes: VOC's `xmin` to `xmax` count both pixels; COCO's have a width, here `xmax - xmin + 1`.
- Objects that are marked as difficult swallow any number of detections in VOC. COCO's ignored
  objects swallow one, and its crowds several, but by another overlap; here such objects are
  ignored, and each of them stands in the list several times.
- The points of recall: COCO takes 101 of them; here they are VOC's 11, or every object one.

A fourth cannot be set: in VOC a detection belongs to the object that it overlaps most, even if that
one is taken; in COCO it then takes the next one. The data below leave no choice, and a test of its
own shows the difference.
"""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, METRICS, DefaultScope
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from toy_voc_folder import annotation_xml, box_xml, object_xml

from mmdet_ols.datasets.lenient_voc import LenientVOCDataset  # noqa: F401

CLASSES = ('cat', 'dog', 'fox')
SIZE = (300, 200)
SIZE_TAG = '<size><width>300</width><height>200</height><depth>3</depth></size>'


def make_scene(rng):
    """Objects on a grid, as (name, box from 1 on, difficult), and detections of them."""
    objects, detections = [], []
    for x in range(10, 250, 60):
        for y in (10, 90):
            if rng.random() < 0.4:
                continue
            box = [x, y, x + int(rng.integers(12, 45)), y + int(rng.integers(12, 60))]
            name = str(rng.choice(CLASSES))
            objects.append((name, box, bool(rng.random() < 0.25)))
            # Several of one object, some of the wrong class, and some that are there twice.
            for _ in range(rng.integers(0, 4)):
                moved = np.add(box, rng.integers(-6, 7, 4)).tolist()
                kind = name if rng.random() < 0.8 else str(rng.choice(CLASSES))
                copies = 1 + int(rng.random() < 0.3)
                detections += copies * [(kind, moved, float(rng.random()))]
    if rng.random() < 0.5:
        detections.append((str(rng.choice(CLASSES)), [250, 150, 280, 190], 0.5))
    return objects, detections


@pytest.fixture(scope='module')
def scenes():
    rng = np.random.default_rng(3)
    scenes = [make_scene(rng) for _ in range(30)]
    scenes[4] = ([], scenes[4][1])  # false alarms in an empty image
    scenes[5] = ([], [])
    scenes[6] = (scenes[6][0], [])  # nothing detected
    return scenes


@pytest.fixture(scope='module')
def folder(scenes, tmp_path_factory):
    root = tmp_path_factory.mktemp('voc')
    for name in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (root / name).mkdir(parents=True)
    for number, (objects, _) in enumerate(scenes):
        nodes = [
            object_xml(name, f'<difficult>{int(difficult)}</difficult>', box_xml(*box))
            for name, box, difficult in objects
        ]
        text = annotation_xml(*nodes, size=SIZE_TAG)
        (root / f'Annotations/{number:03d}.xml').write_text(text)
        Image.new('L', SIZE).save(root / f'JPEGImages/{number:03d}.jpg')
    lines = [f'{number:03d}\n' for number in range(len(scenes))]
    (root / 'ImageSets/Main/test.txt').write_text(''.join(lines))
    return root


def samples_of(folder, kind, scenes):
    """What the evaluator of a run hands over: read by the data set, detected from pixel 0 on."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(
            dict(
                type=kind,
                data_root=str(folder),
                ann_file='ImageSets/Main/test.txt',
                data_prefix=dict(sub_data_root=''),
                metainfo=dict(classes=CLASSES),
                test_mode=True,
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', with_bbox=True),
                    dict(type='PackDetInputs', meta_keys=('img_id',)),
                ],
            )
        )
        packed = [dataset[index]['data_samples'].to_dict() for index in range(len(dataset))]
    assert [sample['img_id'] for sample in packed] == [f'{n:03d}' for n in range(len(scenes))]
    for sample, (_, detections) in zip(packed, scenes):
        for part in ('gt_instances', 'ignored_instances'):
            sample[part] = dict(sample[part].items())
            boxes = sample[part]['bboxes']
            sample[part]['bboxes'] = getattr(boxes, 'tensor', boxes)
        sample['pred_instances'] = dict(
            bboxes=torch.tensor([box for _, box, _ in detections]).reshape(-1, 4).float() - 1,
            labels=torch.tensor([CLASSES.index(kind) for kind, *_ in detections]).long(),
            scores=torch.tensor([score for *_, score in detections]).float(),
        )
    return packed


def evaluate(samples, **metric):
    with DefaultScope.overwrite_default_scope('mmdet'):
        built = METRICS.build(metric)
    built.dataset_meta = dict(classes=CLASSES)
    built.process(None, samples)
    return built.evaluate(len(samples))


class EvalWithDifficult(COCOeval):
    """COCO's evaluation in which `difficult` objects are ignored without being crowds."""

    def _prepare(self):
        super()._prepare()
        for objects in self._gts.values():
            for item in objects:
                item['ignore'] = item['difficult']


#: More than detections of any one object.
COPIES = 8


def with_pycocotools(scenes, label, points, copies=COPIES):
    """AP of a class at an IoU of 0.5 by pycocotools; `points` are its thresholds of recall."""

    def coco(items):
        api = COCO()
        api.dataset = dict(
            images=[dict(id=1 + number) for number in range(len(scenes))],
            categories=[dict(id=1 + number) for number in range(len(CLASSES))],
            annotations=[dict(item, id=1 + number) for number, item in enumerate(items)],
        )
        api.createIndex()
        return api

    def item(image, name, box, **more):
        x1, y1, x2, y2 = box
        width, height = x2 - x1 + 1, y2 - y1 + 1
        box = dict(bbox=[x1, y1, width, height], area=width * height, iscrowd=0)
        return dict(box, image_id=1 + image, category_id=1 + CLASSES.index(name), **more)

    truth, detected = (
        [
            item(image, name, box, **{key: value})
            for image, scene in enumerate(scenes)
            for name, box, value in scene[part]
            for _ in range(copies if key == 'difficult' and value else 1)
        ]
        for part, key in ((0, 'difficult'), (1, 'score'))
    )
    evaluation = EvalWithDifficult(coco(truth), coco(detected), 'bbox')
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.params.recThrs = np.array(points)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval['precision'][0, :, label, 0, -1].mean()


def count_objects(folder, label):
    """How many objects of a class count, read from the files."""
    names = [
        node.findtext('name')
        for path in folder.glob('Annotations/*.xml')
        for node in ET.parse(path).findall('object')
        if node.findtext('difficult') == '0'
    ]
    return names.count(CLASSES[label])


def by_vocs_rule(scenes, label):
    """The AP as an area, and at 11 points, by VOC's rule: pixels from 1 on, both edges counted."""
    name = CLASSES[label]
    ranked = sorted(
        ((score, image, box) for image, (_, detections) in enumerate(scenes)
         for kind, box, score in detections if kind == name),
        key=lambda item: -item[0],
    )  # fmt: skip
    objects = {
        image: [[box, difficult, False] for kind, box, difficult in scene if kind == name]
        for image, (scene, _) in enumerate(scenes)
    }
    wanted = sum(not difficult for scene in objects.values() for _, difficult, _ in scene)
    curve, right, wrong = [], 0, 0
    for _, image, box in ranked:
        best = max(objects[image], key=lambda item: voc_overlap(box, item[0]), default=None)
        if best is None or voc_overlap(box, best[0]) < 0.5 or (best[2] and not best[1]):
            wrong += 1
        elif not best[1]:
            best[2] = True
            right += 1
        curve.append((right / wanted, right / max(right + wrong, 1)))

    def precision(recall):
        return max((p for r, p in curve if r >= recall - 1e-9), default=0)

    area = sum(precision(number / wanted) for number in range(1, wanted + 1)) / wanted
    return area, sum(precision(point / 10) for point in range(11)) / 11


def voc_overlap(a, b):
    sides = [min(a[k + 2], b[k + 2]) - max(a[k], b[k]) + 1 for k in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    return shared / (sum((x2 - x1 + 1) * (y2 - y1 + 1) for x1, y1, x2, y2 in (a, b)) - shared)


@pytest.mark.parametrize('kind', ['XMLDataset', 'LenientVOCDataset'])
def test_from_the_files_on_it_is_that_of_pycocotools_and_of_vocs_rule(kind, scenes, folder):
    samples = samples_of(folder, kind, scenes)
    ours = evaluate(samples, type='VOCAPMetric')
    for sample in samples:  # the host leaves the order of equal scores to chance
        scores = sample['pred_instances']['scores']
        scores -= 1e-6 * torch.arange(len(scores))
    hosts = {
        mode: evaluate(samples, type='VOCMetric', iou_thrs=0.5, eval_mode=mode)['pascal_voc/mAP']
        for mode in ('area', '11points')
    }
    areas, elevens = [], []
    for label, name in enumerate(CLASSES):
        count = count_objects(folder, label)
        areas.append(with_pycocotools(scenes, label, np.arange(1, count + 1) / count))
        elevens.append(with_pycocotools(scenes, label, np.arange(11) / 10 - 1e-9))
        assert by_vocs_rule(scenes, label) == pytest.approx((areas[-1], elevens[-1]), abs=1e-9)
        assert ours[f'pascal_voc/AP/{name}'] == pytest.approx(areas[-1], abs=1e-6)
        assert ours[f'pascal_voc/AP_11points/{name}'] == pytest.approx(elevens[-1], abs=1e-6)
        assert 0.2 < areas[-1] < 0.9 and count > 20
    assert ours['pascal_voc/mAP'] == pytest.approx(np.mean(areas), abs=1e-6)
    assert ours['pascal_voc/mAP_11points'] == pytest.approx(np.mean(elevens), abs=1e-6)
    assert hosts['area'] == pytest.approx(np.mean(areas), abs=1e-6)
    assert hosts['11points'] == pytest.approx(np.mean(elevens), abs=1e-6)
    # What makes the data worth it: without one of VOC's rules the result would be another one.
    easy = [([(name, box, False) for name, box, _ in scene], d) for scene, d in scenes]
    assert abs(by_vocs_rule(easy, 0)[0] - areas[0]) > 0.01
    moved = [(scene, [(k, [edge - 1 for edge in b], s) for k, b, s in d]) for scene, d in scenes]
    assert abs(by_vocs_rule(moved, 0)[0] - areas[0]) > 1e-3


def ap_of_cat(objects, detections):
    scenes = [([('cat', *item) for item in objects], [('cat', *item) for item in detections])]

    def instances(boxes, **more):
        boxes = torch.tensor(boxes).reshape(-1, 4).float()
        labels = torch.zeros(len(boxes), dtype=torch.long)
        return dict(bboxes=boxes, labels=labels, **more)

    sample = dict(
        gt_instances=instances([box for box, difficult in objects if not difficult]),
        ignored_instances=instances([box for box, difficult in objects if difficult]),
        pred_instances=instances(
            [box for box, _ in detections], scores=torch.tensor([s for _, s in detections])
        ),
    )
    values = evaluate([sample], type='VOCAPMetric')
    return values['pascal_voc/AP/cat'], scenes


def test_a_detection_of_a_taken_object_does_not_fall_to_its_neighbour():
    """Here VOC and COCO differ by definition, for objects that overlap by more than a half."""
    first, second = [0, 0, 99, 99], [30, 0, 129, 99]
    objects = [(first, False), (second, False)]
    detections = [([0, 0, 99, 99], 0.9), ([5, 0, 104, 99], 0.8)]  # both overlap `first` most
    ours, scenes = ap_of_cat(objects, detections)
    assert ours == pytest.approx(0.5) == by_vocs_rule(scenes, 0)[0]
    assert with_pycocotools(scenes, 0, [0.5, 1]) == pytest.approx(1)


@pytest.mark.parametrize('right_first', [True, False])
def test_equal_scores_keep_their_order(right_first):
    """As in VOC's own evaluation, whose sort is stable; also where sorting is not, from 17 on."""
    objects = [([20 * n, 0, 20 * n + 9, 9], False) for n in range(20)]
    right = [(box, 0.5) for box, _ in objects]
    wrong = [([20 * n, 50, 20 * n + 9, 59], 0.5) for n in range(20)]
    order = right + wrong if right_first else wrong + right
    ours, scenes = ap_of_cat(objects, order)
    assert ours == pytest.approx(by_vocs_rule(scenes, 0)[0], abs=1e-6)
    assert ours == pytest.approx(1 if right_first else 0.5, abs=1e-6)


def test_a_difficult_object_swallows_its_detections_but_no_others():
    objects = [([0, 0, 9, 9], True), ([20, 0, 29, 9], False)]
    detections = [([0, 0, 9, 9], 0.9), ([1, 0, 10, 9], 0.8), ([20, 0, 29, 9], 0.7)]
    ours, scenes = ap_of_cat(objects, detections)
    assert ours == pytest.approx(1) == by_vocs_rule(scenes, 0)[0]
    assert with_pycocotools(scenes, 0, [1]) == pytest.approx(1)
    assert with_pycocotools(scenes, 0, [1], copies=1) == pytest.approx(0.5)  # COCO's own rule
