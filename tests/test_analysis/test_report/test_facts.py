"""What the page says about a run in words and single numbers."""

from __future__ import annotations

import pytest
from toy_work_dir import CONFIG, epoch_end, start, step

from mmdet_ols.analysis.report.facts import facts, figures
from mmdet_ols.analysis.report.record import read_training


def trained(folder, config):
    start(folder, '20260101_000000', [step(1, 10, loss=1.0)], config)
    return dict(dict(facts(read_training(folder)))['What was trained'])


@pytest.mark.parametrize('method', ['ols:alpha=0.3', None])
def test_the_method_is_a_fact_if_the_run_knows_it(tmp_path, method):
    named = '' if method is None else f'applied_method = {method!r}'
    assert trained(tmp_path, CONFIG + named).get('Method') == method


def test_the_loss_is_that_of_the_classes(tmp_path):
    """Not that of the region proposals, which comes first in a two-stage detector."""
    model = """
model = dict(
    type='FasterRCNN',
    rpn_head=dict(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True)),
    roi_head=dict(bbox_head=[dict(loss_cls=dict(type='OLSLoss', background=True))]),
)
"""
    config = CONFIG + model
    assert trained(tmp_path, config)['Loss'] == 'OLSLoss(background=True)'


def test_every_root_of_the_data_is_named_once(tmp_path):
    data = """
part = dict(type='XMLDataset', data_root="it's here")
train_dataloader = dict(batch_size=2, dataset=dict(type='RepeatDataset', times=3, dataset=dict(
    type='ConcatDataset', datasets=[part, dict(part, data_root='a/second'), part])))
"""
    assert trained(tmp_path, CONFIG + data)['Data'] == "a/second, it's here"


def test_numbers_at_the_top(tmp_path):
    lines = [step(1, 10, loss=1.0), *epoch_end(1, 0.3), step(2, 20, loss=1.0), *epoch_end(2, 0.2)]
    start(tmp_path, '20260101_000000', lines)
    log = tmp_path / '20260101_000000/20260101_000000.log'
    log.write_text('2026/01/01 01:02:03 - mmengine - INFO - done\n')
    assert figures(read_training(tmp_path)) == [
        ('mAP, epoch 2', '0.200'),
        ('Best mAP, epoch 1', '0.300'),
        ('Training unfinished', '2 of 4 epochs'),
        ('Wall time', '1:02:03'),
    ]


@pytest.mark.parametrize(
    ('length', 'done', 'said'),
    [('max_iters=2000000', 1234567, '1234567 of 2000000 iterations'), ('max_epochs=9', 3, '2.33')],
)
def test_progress_is_counted_exactly(tmp_path, length, done, said):
    line = dict(step(done, done, loss=1.0), step=done)
    start(tmp_path, '20260101_000000', [line], CONFIG.replace('max_epochs=4', length))
    log = tmp_path / '20260101_000000/20260101_000000.log'
    log.write_text('- mmengine - INFO - Epoch(train)   [3][100/300]  lr: 0.1\n')
    progress = dict(figures(read_training(tmp_path)))['Training unfinished']
    assert progress == (said if 'of' in said else f'{said} of 9 epochs')
