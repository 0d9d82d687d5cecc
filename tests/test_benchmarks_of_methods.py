"""The benchmark of the methods: it times whole steps of each, and says how they compare."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))

import method_cost
import step_times
from toy_plan import CONFIG, cell

from mmdet_ols.experiments.specification import Request, read_variants
from mmdet_ols.reproduction.step_times import phases, read_step_rows


def test_each_method_has_a_row(tmp_path, capsys):
    out = tmp_path / 'cost.csv'
    config = Path(__file__).parents[1] / 'configs/cifar100/resnet29_cifar100.py'
    methods = ['hard', 'byot+ols', 'ddgsd', 'tfkd_self', 'l2rw', 'pencil', 'm_correction']
    words = ['--methods', *methods, '--batch-size', '2']
    method_cost.main([str(config), *words, '--rounds', '1', '--out', str(out)])
    with out.open() as file:
        rows = {row['method']: row for row in csv.DictReader(file)}
    assert list(rows) == methods
    assert float(rows['hard']['ratio']) == float(rows['hard']['peak_ratio']) == 1
    # Two views hold twice the maps; the exits, and a teacher without a graph, hold less.
    peaks = {name: float(row['peak_ratio']) for name, row in rows.items()}
    assert peaks['ddgsd'] == pytest.approx(2, abs=0.3)
    assert 1 < peaks['byot+ols'] < peaks['ddgsd'] and 1 <= peaks['tfkd_self'] < peaks['ddgsd']
    table = capsys.readouterr().out
    assert table.count('| `') == 7 and '| `tfkd_self` |' in table


def test_a_method_with_passes_costs_the_mean_over_its_epochs(monkeypatch):
    monkeypatch.setattr(method_cost.StepClock, 'seconds', lambda self, step, calls: step())
    monkeypatch.setattr(method_cost, 'peak_memory', lambda step, device: step()[0])
    steps = dict(
        hard={'': (lambda: (1.0, 1.0, 1.0), 4)},
        # Of 50,000 images, a batch of 100 has its share of what follows from the pass.
        passing=dict(
            before=(lambda: (2.0, 2.0, 2.0), 1),
            after=(lambda: (4.0, 2.0, 3.0), 3),
            **{'pass': (lambda: (1.0, 500.0, 0.0), 4)},
        ),
    )
    args = method_cost.parse_args(['a.py', '--batch-size', '100', '--rounds', '2'])
    hard, passing = method_cost.measure(steps, args)
    assert hard['median_us'] == pytest.approx(3e6)
    assert passing['ratio'] == pytest.approx((1 * 6 + 3 * 9 + 4 * (1 + 1)) / 4 / 3)
    assert passing['peak_ratio'] == 4


def test_each_kind_of_step_is_measured_once(tmp_path, monkeypatch, capsys):
    config, out = tmp_path / 'tiny.py', tmp_path / 'steps.csv'
    config.write_text(f'{CONFIG}\ntrain_cfg = dict(by_epoch=True, max_epochs=4)  # three stages')
    methods = ['hard', 'ols', 'ddgsd', 'l2rw', 'pencil', 'm_correction', 'deep_self_learning']

    cells = [cell(config, method) for method in methods]
    monkeypatch.setattr(step_times, 'planned_cells', lambda scale, tables: cells)
    words = ['--batch-size', '2', '--steps', '2', '--seconds', '0', '--out', str(out)]
    step_times.main(words)
    with out.open() as file:
        rows = {row['method']: row for row in csv.DictReader(file)}
    passing = [
        f'{method} {part}' for method in methods[-2:] for part in ('before', 'after', 'pass')
    ]
    # OLS has the steps of hard labels.
    assert list(rows) == ['hard', 'ddgsd', 'l2rw', 'pencil', *passing]
    assert all(float(row['median_s']) > 0 and row['side'] == '8' for row in rows.values())
    assert {(row['batch_size'], row['config_batch_size']) for row in rows.values()} == {('2', '4')}
    assert '10 kinds of steps, of which 0 are measured' in capsys.readouterr().out
    assert [row.n for row in read_step_rows(out)] == [2] * 10

    measured = []
    monkeypatch.setattr(step_times, 'measure', lambda phase, *_: measured.append(phase))
    step_times.main(words)
    assert measured == []
    out.write_text(out.read_text().replace(rows['hard']['machine'], 'Z80'))
    with pytest.raises(SystemExit, match='step times of one device'):
        step_times.main(words)


def test_the_update_of_weights_counts_once_a_batch(tmp_path, monkeypatch):
    """A smaller batch than the config's does not make it dearer for each image."""
    config = tmp_path / 'tiny.py'
    config.write_text(CONFIG)
    args = step_times.parse_args(['--batch-size', '2', '--steps', '1', '--out', 'unused'])
    (variant,) = read_variants([Request('a', str(config), 'hard')])
    monkeypatch.setattr(step_times.StepClock, 'seconds', lambda *_: (3.0, 8.0, 1.0))
    args.seconds = 0
    (phase,) = phases(variant)
    row = step_times.measure(phase, variant, args)
    assert row['median_s'] == (3 + 1) / 2 + 8 / 4
