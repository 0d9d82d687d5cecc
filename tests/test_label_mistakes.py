"""The benchmark of finding labelling mistakes: rankings, folds, the truth, and what is recorded."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_image_configs import cifar10n
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from numpy.testing import assert_allclose
from sklearn.metrics import average_precision_score
from toy_runs import make_start

from mmdet_ols.analysis.annotations import Annotation
from mmdet_ols.engine.run_config import read_config
from mmdet_ols.experiments.evidence import read_rows
from mmdet_ols.experiments.evidence_page import Selection, evidence_tables
from mmdet_ols.experiments.executors.local import LocalExecutor
from mmdet_ols.experiments.experiment import Experiment

sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))

import label_mistakes
import mistake_rankings
from mistake_rankings import Seen, Suspicion, joined, measures, report

ROOT = Path(__file__).parents[1]
CONFIG = str(ROOT / 'configs/cifar10/resnet18_worst_cifar10n.py')


def seen(scores, labels, wrong, **more):
    count = len(labels)
    parts = dict(images=np.arange(count), boxes=None, detections=[])
    return Seen(
        np.array(scores, dtype=np.float32), np.array(labels), np.array(wrong, dtype=bool),
        **{**parts, **more},
    )  # fmt: skip


#: Four annotations of two classes: a clear mistake, a close one, one not found, and a right one.
SCORES = [[0.1, 0.9], [0.45, 0.55], [0, 0], [0.95, 0.05]]


def test_measures_by_hand():
    suspicion = Suspicion(np.array([4.0, 3, 2, 1]), np.array([True, True, False, False]))
    actual = measures(suspicion, seen(SCORES, [0, 0, 0, 0], [True, False, True, False]))
    assert actual == pytest.approx(
        {
            'mistakes/average_precision': (1 + 2 / 3) / 2,
            'mistakes/precision_at_number': 0.5,
            'mistakes/precision_at_100': 0.5,
            'mistakes/list_precision': 0.5,
            'mistakes/list_recall': 0.5,
        }
    )


def test_an_empty_list_finds_nothing_and_has_no_precision():
    suspicion = Suspicion(np.array([4.0, 3, 2, 1]), np.zeros(4, dtype=bool))
    actual = measures(suspicion, seen(SCORES, [0, 0, 0, 0], [True, False, True, False]))
    assert actual['mistakes/list_recall'] == 0
    assert 'mistakes/list_precision' not in actual


def test_the_report_puts_suspects_before_missed_objects_and_those_before_closest_calls():
    profiles = np.array([[0.9, 0.1], [0.1, 0.9]])
    given = seen(SCORES, [0, 0, 0, 0], [1, 0, 0, 0], profiles=profiles)
    suspicion = report(given)
    assert np.argsort(-suspicion.values).tolist() == [0, 1, 2, 3]
    assert suspicion.listed.tolist() == [True, True, False, False]
    assert suspicion.images is None


def test_what_a_neighbour_explains_counts_half_as_in_the_report():
    """The second object overlaps the first one, and is of the class that the network sees there."""
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]])
    given = seen(
        [[0.4, 0.6], [0.2, 0.8], [0.45, 0.55]], [0, 1, 0], [0, 0, 1],
        images=np.zeros(3, dtype=int), boxes=boxes, profiles=np.eye(2),
    )  # fmt: skip
    assert np.argsort(-report(given).values).tolist() == [0, 2, 1]
    explained = np.array([[False, True], [False, False], [False, False]])
    assert report(replace(given, neighbours=explained)).listed.tolist() == [False, False, True]


def test_an_image_is_as_suspicious_as_its_worst_object():
    boxes = np.zeros((4, 4))
    given = seen(
        SCORES, [0, 0, 0, 0], [0, 1, 0, 0], images=np.array([1, 0, 0, 1]), boxes=boxes
    )  # fmt: skip
    suspicion = report(given)
    assert np.argsort(-suspicion.images).tolist() == [1, 0]
    actual = measures(suspicion, given)['mistakes/images/average_precision']
    assert actual == pytest.approx(0.5)  # the second image in the list has the mistake


def test_parts_keep_their_images_apart():
    boxes = np.arange(8.0).reshape(2, 4)
    part = seen(
        SCORES[:2], [0, 1], [0, 1], images=np.array([0, 1]), boxes=boxes, detections=['a', 'b']
    )  # fmt: skip
    both = joined([part, part])
    assert both.images.tolist() == [0, 1, 2, 3] and both.wrong.tolist() == [0, 1, 0, 1]
    assert both.detections == ['a', 'b', 'a', 'b']
    assert_allclose(both.boxes, np.concatenate([boxes, boxes]))
    assert joined([part]) is part


# --- cleanlab -------------------------------------------------------------------------------------


@pytest.fixture
def cleanlab():
    return pytest.importorskip('cleanlab', reason='see requirements/mistakes.txt')


@pytest.mark.parametrize('name', mistake_rankings.OF_IMAGES)
def test_planted_mistakes_come_first(name, cleanlab):
    rng = np.random.default_rng(0)
    true = np.arange(400) % 4
    scores = rng.dirichlet(np.ones(4), 400) * 0.4
    scores[np.arange(400), true] += 0.6
    labels, wrong = true.copy(), rng.random(400) < 0.1
    labels[wrong] = (labels[wrong] + 1) % 4
    given = seen(scores, labels, wrong)
    suspicion = mistake_rankings.OF_IMAGES[name](given)
    assert average_precision_score(wrong, suspicion.values) > 0.95
    if name == 'self_confidence':
        assert_allclose(suspicion.values, 1 - given.scores[np.arange(400), labels], rtol=1e-5)
    if name == 'find_label_issues':
        assert suspicion.listed[wrong].mean() > 0.9
        assert suspicion.values[suspicion.listed].min() > suspicion.values[~suspicion.listed].max()


@pytest.mark.parametrize('name', mistake_rankings.OF_BOXES)
def test_a_box_of_the_wrong_class_comes_first(name, cleanlab):
    box, other = np.array([10.0, 10, 50, 50]), np.array([60.0, 60, 90, 90])
    detections, scores = [], []
    for _ in range(3):  # in each image one object of each class, detected with confidence
        rows = [np.array([[*box, 0.97]]), np.array([[*other, 0.98]])]
        detections.append(rows)
        scores += [[0.97, 0], [0, 0.98]]
    labels, wrong = np.array([0, 1, 1, 1, 0, 1]), np.array([0, 0, 1, 0, 0, 0])
    given = seen(
        scores, labels, wrong, images=np.array([0, 0, 1, 1, 2, 2]),
        boxes=np.array([box, other] * 3), detections=detections,
    )  # fmt: skip
    suspicion = mistake_rankings.OF_BOXES[name](given)
    assert suspicion.values.argmax() == 2
    assert suspicion.values[2] > np.delete(suspicion.values, 2).max()
    if suspicion.images is not None:
        assert suspicion.images.argmax() == 1


def test_objects_that_were_not_detected_come_last_in_cleanlabs_orders(cleanlab):
    suspicion = mistake_rankings.OF_IMAGES['self_confidence'](seen(SCORES, [0] * 4, [0] * 4))
    assert np.argsort(-suspicion.values).tolist() == [0, 1, 3, 2]


# --- the data -------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Ten classes of four images; every other label is wrong."""
    root = tmp_path_factory.mktemp('data') / 'cifar10'
    cifar10n(root)
    return root


def labels_of(cfg):
    """The label and whether it is wrong, of each image that a config trains on."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset).dataset
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    return dict(zip(paths, zip(dataset.noisy_labels.tolist(), dataset.flipped.tolist())))


def test_folds_divide_the_data_and_keep_the_labels(root):
    cfg = read_config(CONFIG, data_root=str(root))
    whole = labels_of(cfg)
    held_out = []
    for fold in range(3):
        trained = labels_of(label_mistakes.fold_config(cfg, fold, 3))
        left = labels_of(label_mistakes.fold_config(cfg, fold, 3, held_out=True))
        assert {**trained, **left} == whole and not trained.keys() & left.keys()
        held_out += left
    assert sorted(held_out) == sorted(whole)
    assert labels_of(cfg) == whole  # the config itself is as before


@pytest.mark.parametrize(
    ('wrapper', 'message'),
    [
        (dict(type='NoisyLabelDataset', rate=0.2), 'write them into a file for LabelFileDataset'),
        (dict(type='BalancedSubset', samples_per_class=5), 'would select other samples'),
    ],
)
def test_what_depends_on_the_whole_data_cannot_be_divided(wrapper, message):
    dataset = dict(wrapper, dataset=dict(type='CIFAR10'))
    with pytest.raises(ValueError, match=message):
        label_mistakes.fold_config(Config(dict(train_dataloader=dict(dataset=dataset))), 0, 4)


def test_wrong_boxes_are_those_of_the_file(tmp_path):
    path = tmp_path / 'wrong.json'
    path.write_text(json.dumps([dict(image='VOC2012/000001', object=1, true='cat', written='dog')]))
    annotations = [
        Annotation(f'/data/{year}/JPEGImages/000001.jpg', number, (0, 0, 1, 1), 0, sample)
        for sample, year in enumerate(('VOC2007', 'VOC2012'))
        for number in range(2)
    ]
    actual = mistake_rankings.wrong_annotations(Config(), annotations, path)
    assert actual.tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match='--truth must name a file that lists the wrong labels'):
        mistake_rankings.wrong_annotations(Config(), annotations, tmp_path / 'none.json')


# --- the whole ------------------------------------------------------------------------------------

TINY = ['model.backbone.stem_channels=8', 'model.backbone.base_channels=8']
TINY += ['model.head.in_channels=64', 'train_cfg.max_epochs=2', 'param_scheduler.end=2']


def leave_untrained(executor, tasks, say):
    """What takes the place of the trainings: networks as they start, with a first validation."""
    for task in tasks:
        assert 'mmdet_ols.cli.train' in task.next_command()
        folder, spec = task.folder, task.spec
        cfg = read_config(
            spec.config, options=spec.options, method=spec.method, data_root=spec.data_root
        )
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build({**cfg.model, 'data_preprocessor': None})
        line = {'accuracy/top1': 10.0, 'data_time': 0.1, 'time': 0.2, 'step': 2}
        make_start(folder, '20260101_000000', [line], '2026/01/01 00:01:00')
        torch.save(dict(state_dict=model.state_dict()), folder / 'epoch_2.pth')
        (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
        say('started', folder, '')
    return {}


def test_results_become_rows_and_rows_count_as_results(root, tmp_path, monkeypatch):
    monkeypatch.setattr(LocalExecutor, 'run', leave_untrained)
    monkeypatch.setattr(Experiment, 'check', lambda self: None)
    path = tmp_path / 'rows.csv'
    words = [CONFIG, '--methods', 'hard', 'ols', '--folds', '2', '--seeds', '0', '1']
    words += ['--rankings', 'report', '--record', str(path), '--work-dir', str(tmp_path / 'runs')]
    words += ['--data-root', str(root), '--cfg-options', *TINY]
    label_mistakes.main(words)
    rows = read_rows(path)
    assert [(row.name, row.seed) for row in rows] == [
        (f'{how}, report', seed)
        for seed in (0, 1)
        for how in ('hard, in-sample', 'ols, in-sample', 'hard, 2-fold')
    ]
    assert len({row.base for row in rows}) == 1 and len({row.settings for row in rows}) == 3
    assert all(0 < row.metrics['mistakes/average_precision'] < 1 for row in rows)

    monkeypatch.setattr(LocalExecutor, 'run', lambda *_: pytest.fail('trained again'))
    label_mistakes.main(words)
    assert read_rows(path) == rows
    text = evidence_tables(rows, Selection(reference='hard, in-sample, report'))
    assert '| average precision (%), higher is better | hard, 2-fold, report |' in text
    command = 'benchmarks/label_mistakes.py configs/cifar10/resnet18_worst_cifar10n.py'
    assert f'{command} --methods hard ols --cross-validate hard --folds=2 --seeds 0 1 ' in text


def test_without_cleanlab_the_message_says_how_to_install_it(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(label_mistakes, 'find_spec', lambda name: None)
    words = [CONFIG, '--data-root', str(root), '--record', str(tmp_path / 'rows.csv')]
    with pytest.raises(SystemExit, match=r'requirements/mistakes\.txt'):
        label_mistakes.main([*words, '--cross-validate', '--work-dir', str(tmp_path)])
