"""Reading runs, telling which are comparable, and the statistics of the table."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from scipy import stats

from mmdet_ols.experiments.comparison import (
    Comparison,
    Sweep,
    check_comparable,
    check_extras,
    check_same_config,
    duration,
    flat_settings,
    headline_metrics,
    metric_of,
    summarise,
    to_markdown,
    write_comparison,
)
from mmdet_ols.experiments.comparison_plots import draw_curves, draw_sweep, places_of
from mmdet_ols.results.run_folder import Run, read_run

MAP = 'pascal_voc/mAP'
CONFIG = """
model = dict(
    type='YOLOV3', backbone=dict(depth=18),
    bbox_head=dict(type='YOLOV3Head', loss_cls=dict(type='CrossEntropyLoss', loss_weight=1.0)),
)
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=[dict(type='Resize', scale=(2, 2))]))
optim_wrapper = dict(optimizer=dict(lr=0.1))
default_hooks = dict(logger=dict(type='LoggerHook', interval=10))
randomness = dict(seed=0)
load_from = None
"""


def config(text='', **values):
    cfg = Config.fromstring(CONFIG + text, '.py')
    cfg.merge_from_dict(values)
    return cfg


def settings(text='', **values):
    return flat_settings(config(text, **values))


def make_start(run, stamp, lines, end=None, cfg=None):
    """One start of a training as MMEngine leaves it; `lines` are its scalars."""
    folder = run / stamp / 'vis_data'
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / f'{stamp}.json').write_text(text)
    if end:
        (run / stamp / f'{stamp}.log').write_text(f'System\n{end} - mmengine - INFO - done\n')
    if cfg:
        cfg.dump(folder / 'config.py')


def trained(epoch, step=None):
    return {'loss': 1.0, 'epoch': epoch, 'iter': step or 10 * epoch, 'step': step or 10 * epoch}


def validated(epoch, value, **more):
    return {MAP: value, **more, 'data_time': 0.1, 'time': 0.2, 'step': epoch}


def checkpoint(run, name):
    (run / 'last_checkpoint').write_text(f'/where/it/was/made/{name}')


# --- Reading a run --------------------------------------------------------------------------------


def test_a_run_that_never_began(tmp_path):
    run = read_run(tmp_path / 'absent', 3)
    assert (run.done, run.final, run.trained, run.last_checkpoint) == (0, None, False, None)


def test_the_last_epoch_counts_and_the_best_is_recorded(tmp_path):
    lines = [trained(1), validated(1, 0.3), trained(2), validated(2, 0.5), trained(3)]
    make_start(tmp_path, '20260101_235950', [*lines, validated(3, 0.4)], '2026/01/02 00:01:00')
    checkpoint(tmp_path, 'epoch_3.pth')
    run = read_run(tmp_path, 3)
    assert run.final == {MAP: 0.4} and run.best(MAP) == (2, 0.5)
    assert run.best(MAP, lower_is_better=True) == (1, 0.3)
    assert run.done == 3 and run.seconds == 70
    assert run.last_checkpoint == tmp_path / 'epoch_3.pth'


def test_a_resumed_run_is_read_as_one(tmp_path):
    """The first start had validated epochs that the second one trained and validated again."""
    first = [trained(1), validated(1, 0.1), trained(2), validated(2, 0.9), trained(3)]
    make_start(tmp_path, '20260101_000000', first, '2026/01/01 00:01:00')
    make_start(tmp_path, '20260101_100000', [], '2026/01/01 10:00:05')  # ended before it learned
    second = [trained(2), validated(2, 0.2), trained(3), validated(3, 0.3)]
    make_start(tmp_path, '20260102_000000', second, '2026/01/02 00:00:30')
    run = read_run(tmp_path, 3)
    assert {epoch: values[MAP] for epoch, values in run.validations.items()} == {
        1: 0.1, 2: 0.2, 3: 0.3,
    }  # fmt: skip
    assert run.seconds == 90


def test_what_was_lost_with_the_checkpoints_does_not_count(tmp_path):
    make_start(tmp_path, '20260101_000000', [trained(3), validated(3, 0.9)])
    make_start(tmp_path, '20260102_000000', [trained(1), validated(1, 0.1), trained(2)])
    run = read_run(tmp_path, 3)
    assert run.final is None and list(run.validations) == [1] and run.done == 1


def test_an_interrupted_run_is_not_finished(tmp_path):
    make_start(tmp_path, '20260101_000000', [trained(1), validated(1, 0.1), trained(2)])
    path = tmp_path / '20260101_000000' / 'vis_data' / '20260101_000000.json'
    path.write_text(path.read_text() + '{"pascal_voc/mAP": 0.5, "st')  # cut short while written
    run = read_run(tmp_path, 2)
    assert run.final is None and not run.trained and run.done == 1


def test_progress_within_an_epoch_is_that_of_the_log(tmp_path):
    log = '2026/01/01 00:00:40 - mmengine - INFO - Epoch(train)  [2][ 5/20]  lr: 1\n'
    make_start(tmp_path, '20260101_000000', [trained(1), trained(2)])
    (tmp_path / '20260101_000000' / '20260101_000000.log').write_text(log)
    assert read_run(tmp_path, 3).done == 1.25


def test_interrupted_in_the_last_validation_it_only_needs_a_test(tmp_path):
    make_start(tmp_path, '20260101_000000', [trained(1), trained(2)])
    checkpoint(tmp_path, 'epoch_2.pth')
    run = read_run(tmp_path, 2)
    assert run.trained and run.final is None
    checkpoint(tmp_path, 'epoch_12.pth')
    assert not read_run(tmp_path, 2).trained


@pytest.mark.parametrize(
    ('stamp', 'counts'), [('20260103_000000', True), ('20260101_120000', False)]
)
def test_a_test_counts_if_it_is_of_the_last_training(tmp_path, stamp, counts):
    make_start(tmp_path, '20260102_000000', [trained(1), validated(1, 0.1)])
    result = tmp_path / 'test' / stamp
    result.mkdir(parents=True)
    (result / f'{stamp}.json').write_text(json.dumps({MAP: 0.7, 'time': 1.0}))
    assert read_run(tmp_path, 1).final == {MAP: 0.1}
    assert read_run(tmp_path, 1, test_folder=tmp_path / 'test').final == {
        MAP: 0.7 if counts else 0.1
    }
    run = read_run(tmp_path, 1, test_folder=tmp_path / 'test', needs_test=True)
    assert run.final == ({MAP: 0.7} if counts else None)


def test_an_iteration_based_run_counts_iterations(tmp_path):
    """MMEngine writes its validations as epoch 0 and its training lines as epoch 1."""
    lines = [trained(1, 50), validated(0, 0.1), trained(1, 100), validated(0, 0.2)]
    make_start(tmp_path, '20260101_000000', lines)
    run = read_run(tmp_path, 100, by_epoch=False)
    assert list(run.validations) == [50, 100] and run.final == {MAP: 0.2} and run.done == 100


def make_scalars(run, stamp, lines):
    path = run / stamp / 'vis_data' / 'scalars.json'
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def test_what_hooks_measured_joins_the_validations_and_the_test(tmp_path):
    """Resumed in its second epoch, which was measured twice; the soft labels are no measurement."""
    key, wrong = 'train/top1_error', 'train/wrong_label_error'

    def measured(epoch, value):
        return [{key: value, wrong: 90.0 + epoch, 'step': epoch}]

    first = [trained(1), {'ols/head/entropy': 2.0, 'step': 1}, *measured(1, 50.0)]
    first += [validated(1, 0.1), trained(2), *measured(2, 99.0)]
    second = [trained(2), {'ols/head/entropy': 1.0, 'step': 2}]
    second += [*measured(2, 30.0), validated(2, 0.2)]
    for stamp, lines in (('20260101_000000', first), ('20260102_000000', second)):
        make_start(tmp_path, stamp, [line for line in lines if 'iter' in line or MAP in line])
        make_scalars(tmp_path, stamp, lines)
    run = read_run(tmp_path, 2)
    assert run.final == {MAP: 0.2, key: 30.0, wrong: 92.0}
    assert run.over_time(key) == {1: 50.0, 2: 30.0} and run.over_time(MAP) == {1: 0.1, 2: 0.2}
    assert run.best(key, lower_is_better=True) == (2, 30.0)
    result = tmp_path / 'test' / '20260103_000000'
    result.mkdir(parents=True)
    (result / '20260103_000000.json').write_text(json.dumps({'fgsm/top1_error': 70.0, MAP: 0.3}))
    tested = read_run(tmp_path, 2, test_folder=tmp_path / 'test', needs_test=True)
    assert tested.final == {'fgsm/top1_error': 70.0, MAP: 0.3, key: 30.0, wrong: 92.0}
    assert read_run(tmp_path, 2, needs_test=True).final is None


# --- Which runs are comparable --------------------------------------------------------------------


def test_the_loss_its_hook_and_what_nobody_reads_may_differ():
    ols = config(
        "custom_imports = dict(imports=['mmdet_ols'])\nmax_epochs = 3\nwork_dir = 'elsewhere'\n"
        "paper_result = dict(value=82.7)\ndefault_hooks['ols'] = dict(type='OLSHook')\n"
        "ols = dict(type='mmdet_ols.engine.hooks.OLSHook', interval=2)\n"
        "custom_hooks = [ols, dict(type='EMAHook')]\n"
        "model['bbox_head']['loss_cls'] = dict(type='OLSLoss', num_classes=20)\n"
    )
    hard = settings("custom_hooks = [dict(type='EMAHook')]\n")
    found = check_comparable({'hard': hard, 'ols': flat_settings(ols)})
    assert found == {
        'ols': {
            'custom_hooks.1.type': ('(absent)', 'mmdet_ols.engine.hooks.OLSHook'),
            'custom_hooks.1.interval': ('(absent)', 2),
            'default_hooks.ols.type': ('(absent)', 'OLSHook'),
            'model.bbox_head.loss_cls.type': ('CrossEntropyLoss', 'OLSLoss'),
            'model.bbox_head.loss_cls.num_classes': ('(absent)', 20),
            'model.bbox_head.loss_cls.loss_weight': (1.0, '(absent)'),
        }
    }
    ls = settings(**{'model.bbox_head.one_hot_smoother': 0.1})
    assert list(check_comparable({'hard': settings(), 'ls': ls})['ls']) == [
        'model.bbox_head.one_hot_smoother'
    ]


def test_a_loss_that_is_switched_on_later_is_a_loss_but_other_data_are_not():
    schedule = [dict(action_epoch=201, loss=dict(type='PairwiseConfusionLoss', num_classes=9))]
    switch, ema = dict(type='SwitchRecipeHook', schedule=schedule), dict(type='EMAHook')
    plain = settings(custom_hooks=[ema])
    later = settings(custom_hooks=[switch, ema])
    assert len(check_comparable({'hard': plain, 'pc': later})['pc']) == 4
    schedule[0]['batch_augments'] = dict(augments='Mixup')
    with pytest.raises(ValueError, match=r'differ in more(?s:.*)schedule\.0\.batch_augments\.aug'):
        check_comparable({'hard': plain, 'pc': settings(custom_hooks=[switch, ema])})


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        (
            'optim_wrapper.optimizer.lr',
            0.2,
            r'optim_wrapper\.optimizer\.lr: 0\.1 \(a\), 0\.2 \(b\)',
        ),
        ('optim_wrapper.loss_scale', 2.0, r'loss_scale: \(absent\) \(a\), 2\.0 \(b\)'),
        ('model.backbone.depth', 50, r'model\.backbone\.depth: 18 \(a\), 50 \(b\)'),
        ('model.bbox_head.type', 'SSDHead', r"'YOLOV3Head' \(a\), 'SSDHead' \(b\)"),
        ('train_dataloader.dataset.pipeline.0.scale', (2, 4), r'pipeline\.0\.scale\.1: 2 .*4 '),
        ('default_hooks.logger.interval', 20, r'interval: 10 \(a\), 20 \(b\)'),
        ('randomness.seed', 1, r'randomness\.seed: 0 \(a\), 1 \(b\)'),
        ('custom_hooks', [dict(type='EMAHook')], r"custom_hooks\.0\.type: \(absent\) .*'EMAHook'"),
    ],
)
def test_what_differs_beside_the_loss_is_refused_unless_allowed(key, value, message):
    methods = {'a': settings(), 'b': settings(**{key: value})}
    with pytest.raises(ValueError, match=f'b cannot be compared with a(?s:.*){message}'):
        check_comparable(methods)
    assert check_comparable(methods, [key])['b']
    assert check_comparable(methods, [key.split('.')[0]])['b']
    similar = f"no method has '{key[:-1]}'; similar are: .*{key}"
    with pytest.raises(ValueError, match=similar):
        check_comparable(methods, [key[:-1]])  # no key, only how one begins


def test_a_dumped_config_is_the_config(tmp_path):
    cfg = config('train_cfg = dict(val=(), names=("a", "b"), none=None)\n')
    cfg.dump(tmp_path / 'dumped.py')
    assert flat_settings(Config.fromfile(tmp_path / 'dumped.py')) == flat_settings(cfg)


def test_a_run_made_with_another_config_is_refused(tmp_path):
    make_start(tmp_path, '20260101_000000', [trained(1)], cfg=config())
    check_same_config(tmp_path, settings("work_dir = 'x'"))
    asked = settings(**{'model.bbox_head.loss_cls.loss_weight': 2.0})
    with pytest.raises(ValueError, match=r'loss_weight: 1\.0 \(made with\), 2\.0 \(asked for\)'):
        check_same_config(tmp_path, asked)
    check_same_config(tmp_path / 'absent', asked)
    with pytest.raises(ValueError, match=r'randomness\.seed: 0 .* 1 (?s:.*)remove'):
        check_same_config(tmp_path, settings(**{'randomness.seed': 1}))


def test_every_start_of_a_run_counts_but_not_what_resuming_forgets(tmp_path):
    asked = settings("load_from = 'coco.pth'\n")
    make_start(tmp_path, '20260101_000000', [trained(1)], cfg=config("load_from = 'coco.pth'\n"))
    make_start(tmp_path, '20260102_000000', [trained(2)], cfg=config('resume = True\n'))
    check_same_config(tmp_path, asked)
    make_start(
        tmp_path, '20260103_000000', [trained(3)], cfg=config('resume = True\nval_cfg = 1\n')
    )
    with pytest.raises(ValueError, match='val_cfg'):
        check_same_config(tmp_path, asked)


# --- Metrics and statistics -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ('key', 'label', 'lower_is_better', 'shown'),
    [
        ('pascal_voc/mAP', 'mAP (%)', False, 25),
        ('coco/bbox_mAP_50', 'bbox_mAP_50 (%)', False, 25),
        ('pascal_voc/AP/dog', 'dog (%)', False, 25),
        ('accuracy/top1', 'top-1 error (%)', True, 99.75),
        ('accuracy/top5', 'top-5 error (%)', True, 99.75),
        ('multi-label/mAP', 'multi-label mAP', False, 0.25),  # MMPretrain's is in per cent already
        ('calibration/ece', 'calibration ECE (%)', True, 0.25),
        ('cifar10h/kl', 'cifar10h KL (nats)', True, 0.25),
        ('pgd/top1_error', 'PGD top-1 error (%)', True, 0.25),
        ('ensemble/top1_error_6', 'ensemble top-1 error 6 (%)', True, 0.25),
        ('train/wrong_label_error', 'train wrong label error (%)', False, 0.25),
        ('single-label/recall', 'single-label recall', False, 0.25),
        ('mirror/terror', 'mirror terror', False, 0.25),
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
        'top-1 error', 'top-5 error', 'a f1',
    ]  # fmt: skip
    assert [m.key for m in headline_metrics(['own/score'])] == ['own/score']


def test_intervals_are_those_of_students_t():
    values = [81.2, 81.9, 80.7, 82.4]
    summary = summarise(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    np.testing.assert_allclose(summary[:3], (81.55, (1.69 / 3) ** 0.5, 4), rtol=1e-12)
    np.testing.assert_allclose(summary[3:], (low, high), rtol=1e-12)
    assert summarise([5.0])[:1] == (5.0,) and np.isnan(summarise([5.0])[3:]).all()
    assert summarise([]).n == 0 and np.isnan(summarise([]).mean)


def run_with(values, length=2, seconds=60.0):
    """A run with these metrics at its last epoch; None is one that did not get there."""
    validations = {1: {key: value / 2 for key, value in values.items()}, length: dict(values)}
    return Run('unused', length, length, validations, seconds=seconds)


def comparison(**kwargs):
    hard, ols = (0.80, 0.82, 0.81), (0.83, 0.82, None)
    runs = {('hard', s): run_with({MAP: v, 'pascal_voc/AP/dog': v / 2}) for s, v in enumerate(hard)}
    for seed, value in enumerate(ols):
        values = {} if value is None else {MAP: value, 'pascal_voc/AP/dog': 0.5}
        runs['ols', seed] = run_with(values, seconds=90) if values else Run('unused', 2)
    return Comparison(runs, **kwargs)


def test_the_table_pairs_by_seed():
    header, rows = comparison(failed={('ols', 2): 'exit status 1\nTraceback'}).table()
    assert header == [
        'metric', 'config', 'mean', 'sd', 'n', 'difference to hard', '95 % interval', 'time a run',
    ]  # fmt: skip
    interval = stats.ttest_rel([83, 82], [80, 82]).confidence_interval()
    assert rows == [
        ['mAP (%), higher is better', 'hard', '81.00', '1.00', '3', '', '', '1 min 00 s'],
        [
            'mAP (%), higher is better', 'ols', '82.50', '0.71', '2', '+1.50',
            f'{interval.low:+.2f} to {interval.high:+.2f}', '1 min 30 s',
        ],
    ]  # fmt: skip


def test_the_difference_is_over_the_seeds_that_both_have():
    both = comparison()
    both.runs['hard', 1] = Run('unused', 2)
    row = both.table()[1][1]
    assert row[4:7] == ['2', '+3.00', '–']  # seed 0 alone
    both.runs['ols', 2] = run_with({MAP: 0.85})
    assert both.table()[1][1][6].endswith(' (2 pairs)')


def test_curves_are_of_finished_runs():
    ours = comparison()
    ours.runs['ols', 2].validations[1] = {MAP: 0.0}  # still running
    curve = ours.curve('ols', metric_of(MAP))
    assert {epoch: point.mean for epoch, point in curve.items()} == {1: 41.25, 2: 82.5}
    np.testing.assert_allclose(curve[2].sd, 0.5**0.5)


def classifiers():
    """Two seeds that are best at epochs 2 and 1; epochs 1, 2 and 3 of 3."""
    top1, top5 = [(70.0, 80.0, 76.0), (78.0, 77.0, 74.0)], [(90, 97, 99), (95, 96, 94)]
    runs = {}
    for seed in (0, 1):
        epochs = zip((1, 2, 3), top1[seed], top5[seed])
        validations = {e: {'accuracy/top1': a, 'accuracy/top5': b} for e, a, b in epochs}
        measured = {3: {'train/top1_error': 4.0 + seed, 'cifar10h/kl': 0.2504 + 0.1 * seed}}
        runs['ce', seed] = Run('unused', 3, 3, validations, measured)
    return runs


def test_the_best_epoch_is_a_column_beside_the_last():
    """By top-1; top-5 is that of the same epoch, though its own best is another one."""
    ours = Comparison(classifiers(), best_is_of_test=True)
    header, rows = ours.table()
    assert header[-1] == 'best epoch'
    assert [[row[0].partition(',')[0], row[2], row[-1]] for row in rows] == [
        ['top-1 error (%)', '25.00', '21.00 ± 1.41'],  # 20 and 22
        ['top-5 error (%)', '3.50', '4.00 ± 1.41'],  # 3 and 5
        ['train top-1 error (%)', '4.50', '–'],  # not measured then
        ['cifar10h KL (nats)', '0.300', '–'],
    ]
    assert any('chosen on the test set' in note for note in ours.notes())
    without = Comparison(classifiers())
    assert without.table()[0][-1] == 'time a run'
    assert not any('best epoch:' in note for note in without.notes())


def test_the_overview_has_every_measurement_in_its_unit():
    runs = {**classifiers(), ('ols', 0): Run('unused', 3, 3, {3: {'accuracy/top1': 80.0}})}
    assert Comparison(runs).overview() == (
        ['', 'ce', 'ols'],
        [
            ['top-1 error (%), lower is better', '25.00 ± 1.41', '20.00'],
            ['top-5 error (%), lower is better', '3.50 ± 3.54', '–'],
            ['train top-1 error (%), lower is better', '4.50 ± 0.71', '–'],
            ['cifar10h KL (nats), lower is better', '0.300 ± 0.071', '–'],
        ],
    )
    assert '| top-1 error (%), lower is better | 25.00 ± 1.41 | 20.00 |' in to_markdown(
        Comparison(runs), {}
    )


def test_the_curves_and_the_sweep_are_written(tmp_path):
    runs = classifiers()
    for seed in (0, 1):  # and one that has not got to its end
        runs['ce', seed].measured[1] = {'train/top1_error': 40.0}
        for value, top1 in (('12', 80.0), ('3072', 90.0)):
            last = {3: {'accuracy/top1': top1 + seed}}
            half = {1: {'accuracy/top1': 9.0}}
            runs[f'interval={value}', seed] = Run('unused', 3, 3, half if seed else last)
    names = {f'interval={value}': value for value in ('12', '3072')}
    ours = Comparison(runs, sweep=Sweep('ols', 'hooks.ols.interval', names))
    write_comparison(ours, tmp_path, {})
    with (tmp_path / 'comparison_curves.csv').open() as file:
        rows = list(csv.reader(file))
    assert rows[:4] == [
        ['config', 'seed', 'epoch', 'accuracy/top1', 'accuracy/top5', 'train/top1_error'],
        ['ce', '0', '1', '70.0', '90', '40.0'],
        ['ce', '0', '2', '80.0', '97', ''],
        ['ce', '0', '3', '76.0', '99', '4.0'],
    ]
    assert [row[:3] for row in rows[7:]] == [[name, '0', '3'] for name in names]
    text = (tmp_path / 'comparison.md').read_text()
    assert '![](comparison_sweep.png)' in text and '![](comparison_curves.png)' in text
    for name in ('comparison_sweep.png', 'comparison_curves.png'):
        assert np.asarray(Image.open(tmp_path / name)).std() > 10


@pytest.mark.parametrize(
    ('values', 'places', 'log'),
    [
        (['12', '384', '3072'], [12, 384, 3072], True),
        (['0.1', '0.5', '1.0'], [0.1, 0.5, 1], False),
        (['0', '3072'], [0, 3072], False),
        (['mean', '0.5'], [0, 1], False),
    ],
)
def test_values_stand_where_they_are_and_words_side_by_side(values, places, log):
    assert places_of(values) == (places, log)


def drawn(monkeypatch, draw, comparison, tmp_path):
    """The axes of a picture."""
    figures = []
    monkeypatch.setattr('matplotlib.figure.Figure.savefig', lambda self, _: figures.append(self))
    draw(comparison, tmp_path / 'unused.png')
    return figures[0].axes


def test_the_pictures_hold_means_and_deviations(monkeypatch, tmp_path):
    runs = classifiers()
    runs.update({(f'alpha={a}', s): runs['ce', s] for a in (0.9, 0.1) for s in (0, 1)})
    names = {f'alpha={value}': value for value in ('0.9', '0.1')}
    ours = Comparison(runs, sweep=Sweep('ols', 'alpha', names), best_is_of_test=True)
    (axes,) = drawn(monkeypatch, draw_sweep, ours, tmp_path)
    baseline, line = axes.get_lines()[-1], axes.containers[0]
    assert list(baseline.get_ydata()) == [25.0, 25.0] and baseline.get_label() == 'ce'
    assert line[0].get_xydata().tolist() == [[0.1, 25.0], [0.9, 25.0]]
    low, high = line[2][0].get_segments()[0][:, 1]
    np.testing.assert_allclose((low, high), (25 - 2**0.5, 25 + 2**0.5))
    assert axes.get_xlabel() == 'alpha' and axes.get_xscale() == 'linear'

    for run in classifiers(), runs:
        axes = drawn(monkeypatch, draw_curves, Comparison(run, best_is_of_test=True), tmp_path)
        assert [a.get_title() for a in axes] == ['test top-1 error (%)', 'test top-5 error (%)']
        points = axes[0].get_lines()[0].get_xydata()
        np.testing.assert_allclose(points, [[1, 26], [2, 21.5], [3, 25]])
        band = axes[0].collections[0].get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose((band.min(), band.max()), (21.5 - 4.5**0.5, 26 + 32**0.5))


def test_classes_errors_and_the_papers_figures():
    assert comparison().class_table() == (
        ['AP (%)', 'hard', 'ols'], [['dog', '40.50 ± 0.50', '50.00 ± 0.00']],
    )  # fmt: skip
    paper = {'ols': [dict(table='X', metric=MAP, value=82.7)]}
    header, rows = comparison(paper=paper).table()
    assert header[-1] == 'paper' and [row[-1] for row in rows] == ['', '82.70 (Table X)']
    logged = {'accuracy/top1': 80.0, 'accuracy/top5': 95.0, 'cifar10h/kl': 0.25}
    paper = [
        dict(metric='cifar10h/kl', value=0.3),
        dict(table='II', metric='top5_error', value=4.0, std=0.5),
        dict(metric='accuracy/top1', value=78.0),
    ]
    header, rows = Comparison({('ce', 0): run_with(logged)}, {'ce': paper}).table()
    assert [row[:3] + row[-1:] for row in rows] == [
        ['cifar10h KL (nats), lower is better', 'ce', '0.250', '0.300'],
        ['top-1 error (%), lower is better', 'ce', '20.00', '22.00'],
        ['top-5 error (%), lower is better', 'ce', '5.00', '4.00 ± 0.50 (Table II)'],
    ]


def test_that_the_paper_tests_otherwise_is_said_where_its_figures_are_shown():
    paper = {'ols': [dict(table='X', metric=MAP, value=82.7)]}
    said = [
        any('--tta' in note for note in comparison(**kwargs).notes())
        for kwargs in (dict(paper=paper), dict(paper=paper, tta=True), dict())
    ]
    assert said == [True, False, False]


def test_how_the_runs_were_made_is_what_they_recorded():
    old, new = {'machine': 'old', 'jobs': '1'}, {'machine': 'new', 'jobs': '1'}
    runs = [('hard', 0), ('hard', 1), ('hard', 2), ('ols', 0), ('ols', 1)]
    made = {run: [old] for run in runs}
    made['ols', 2] = [{'machine': 'of a run that is not finished'}]
    assert comparison(made=made).recorded() == [['machine', 'old'], ['jobs', '1']]
    made['ols', 1] = [old, new]  # interrupted, and gone on with elsewhere
    rows = [['machine', 'old'], ['machine', 'new (ols seed 1)'], ['jobs', '1']]
    assert comparison(made=made).recorded() == rows
    del made['hard', 0], made['hard', 1]
    assert ['made', 'not recorded (hard seed 0, hard seed 1)'] in comparison(made=made).recorded()
    assert '| made | not recorded |' in to_markdown(comparison(), {})


@pytest.mark.parametrize('module', ['matplotlib.figure', 'scipy.stats'])
def test_what_a_comparison_needs_is_missed_at_once(monkeypatch, module):
    check_extras()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{module}(?s:.*)pip install 'mmdet_ols\[plot\]'"):
        check_extras()


def test_what_is_not_in_the_table_is_said():
    failed = comparison(failed={('ols', 2): 'exit status 1\nTraceback'})
    assert any('FAILED' in note and 'ols seed 2: exit status 1' in note for note in failed.notes())
    assert any('Not finished yet' in note and 'ols seed 2' in note for note in comparison().notes())
    assert not any('Traceback' in note for note in failed.notes())
    misspelt = comparison(primary='pascal_voc/map')
    assert misspelt.metrics[0].key == MAP
    assert any('No run logged pascal_voc/map, only pascal_voc/mAP' in n for n in misspelt.notes())
    assert comparison(primary='pascal_voc/AP/dog').metrics[0].title == 'dog'


def test_what_is_written(tmp_path):
    differs = {'ols': {'model.loss.type': ('CE', 'OLSLoss')}}
    ours = comparison(differs=differs, failed={('ols', 2): 'exit status 1'})
    write_comparison(ours, tmp_path, {'command': '`python tools/compare.py a|b`'})
    text = (tmp_path / 'comparison.md').read_text()
    assert text == to_markdown(ours, {'command': '`python tools/compare.py a|b`'})
    assert '| mAP (%), higher is better | ols | 82.50 | 0.71 | 2 | +1.50 |' in text
    assert "`model.loss.type`: 'CE' → 'OLSLoss'" in text and r'compare.py a\|b' in text
    with (tmp_path / 'comparison.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [(row['config'], row['seed'], row['state'], row[MAP]) for row in rows] == [
        ('hard', '0', 'finished', '0.8'), ('hard', '1', 'finished', '0.82'),
        ('hard', '2', 'finished', '0.81'), ('ols', '0', 'finished', '0.83'),
        ('ols', '1', 'finished', '0.82'), ('ols', '2', 'failed', ''),
    ]  # fmt: skip
    assert (rows[0][f'best {MAP}'], rows[0]['best at'], rows[0]['seconds']) == ('0.8', '2', '60')
    assert np.asarray(Image.open(tmp_path / 'comparison.png')).std() > 10


def test_the_best_epoch_of_a_classifier_has_the_highest_accuracy(tmp_path):
    run = Run('unused', 2, 2, {1: {'accuracy/top1': 90.0}, 2: {'accuracy/top1': 80.0}})
    write_comparison(Comparison({('ce', 0): run}), tmp_path, {})
    with (tmp_path / 'comparison.csv').open() as file:
        (row,) = csv.DictReader(file)
    assert (row['best accuracy/top1'], row['best at'], row['accuracy/top1']) == (
        '90.0',
        '1',
        '80.0',
    )


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(12.4, '12 s'), (200, '3 min 20 s'), (3725, '1 h 02 min'), (float('nan'), '–')],
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text
