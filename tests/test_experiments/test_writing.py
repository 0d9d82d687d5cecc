"""What a comparison writes: Markdown, CSV and pictures."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
from PIL import Image
from toy_comparison import classifiers, comparison
from toy_runs import MAP

from mmdet_ols.experiments.comparison import Comparison, Sweep
from mmdet_ols.experiments.writing import check_extras, to_markdown, write_comparison
from mmdet_ols.results.run_folder import Run


@pytest.mark.parametrize('module', ['matplotlib.figure', 'scipy.stats'])
def test_what_a_comparison_needs_is_missed_at_once(monkeypatch, module):
    check_extras()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{module}(?s:.*)pip install 'mmdet_ols\[plot\]'"):
        check_extras()


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
