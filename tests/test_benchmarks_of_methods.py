"""The benchmark of the methods: it times whole steps of each, and says how they compare."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))

import method_cost


def test_each_method_has_a_row(tmp_path, capsys):
    out = tmp_path / 'cost.csv'
    config = Path(__file__).parents[1] / 'configs/cifar100/resnet29_cifar100.py'
    words = ['--methods', 'hard', 'byot+ols', 'ddgsd', 'tfkd_self', '--batch-size', '2']
    method_cost.main([str(config), *words, '--rounds', '1', '--out', str(out)])
    with out.open() as file:
        rows = {row['method']: row for row in csv.DictReader(file)}
    assert list(rows) == ['hard', 'byot+ols', 'ddgsd', 'tfkd_self']
    assert float(rows['hard']['ratio']) == float(rows['hard']['peak_ratio']) == 1
    # Two views hold twice the maps; the exits, and a teacher without a graph, hold less.
    peaks = {name: float(row['peak_ratio']) for name, row in rows.items()}
    assert peaks['ddgsd'] == pytest.approx(2, abs=0.3)
    assert 1 < peaks['byot+ols'] < peaks['ddgsd'] and 1 <= peaks['tfkd_self'] < peaks['ddgsd']
    table = capsys.readouterr().out
    assert table.count('| `') == 4 and '| `tfkd_self` |' in table
