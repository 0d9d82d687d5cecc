"""The benchmark of the losses: what it times is right, and what it writes is what was timed."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from mmdet_ols import OLSLoss

sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))

import loss_cases
import loss_speed
import timing
from loss_cases import AuthorsProcedure, Size, make_batch

#: What a reader of the CSV may rely on.
PROMISED = {
    *('case', 'dtype', 'candidate', 'part', 'n', 'median_us', 'q1_us', 'q3_us', 'min_us', 'max_us'),
    *('reference', 'ratio', 'ratio_of_minima', 'peak_mib', 'device', 'machine', 'threads'),
    *('python', 'torch', 'mmdet', 'mmpretrain', 'mmdet_ols', 'commit', 'date'),
}
BOTH = 'forward + backward'


@pytest.mark.parametrize('transposed', [False, True])
def test_the_authors_procedure_equals_ols(transposed):
    ours = OLSLoss(num_classes=7, alpha=0.3)
    matrices = torch.full((7, 7), 1 / 7), torch.zeros(7, 7)
    theirs = AuthorsProcedure(*(m.T if transposed else m for m in matrices), alpha=0.3)
    for _ in range(2):  # the second period learns from the first
        for seed in range(2):
            batch = make_batch(Size((6,), 7, False), torch.float32, 'cpu', seed)
            values = [loss(batch.logits, batch.label) for loss in (ours, theirs)]
            assert_close(*values)
            gradients = [torch.autograd.grad(value, batch.logits)[0] for value in values]
            assert_close(*gradients)
        assert_close(theirs.sums.T, ours.prob_sum)
        assert (theirs.sums == 0).all(0).any()  # a class without a correct sample
        ours.update_soft_labels()
        theirs.update_soft_labels()
        assert_close(theirs.soft_labels.T, ours.soft_labels)
    assert theirs.soft_labels.std() > 0.1


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('text', ['2000x50', '2000x50+1', '20x1000x50'])
def test_half_of_the_samples_are_right(text, dtype):
    size = Size.parse(text)
    batch = make_batch(size, dtype, 'cpu', seed=0)
    logits, label = batch.logits.flatten(0, -2), batch.label
    if size.sigmoid:
        positive = batch.options['weight'].flatten() == 1
        assert positive.float().mean().item() == pytest.approx(0.01, abs=0.003)
        assert_close(batch.label.flatten(0, -2).sum(1), positive.float())
        logits, label = logits[positive], batch.label.flatten(0, -2)[positive].argmax(1)
    assert logits.shape[1] == 50 + ('+' in text)
    assert (logits.argmax(1) == label).float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert (label == 50).float().mean().item() == pytest.approx(0.75 * ('+' in text), abs=0.05)


@pytest.mark.parametrize('text', ['256', '256x', '0x10', '4x5x6+1', '4x5+2', '4x5x6x7', 'axb'])
def test_a_size_that_is_none_is_an_error(text, capsys):
    with pytest.raises(SystemExit):
        loss_speed.main(['--sizes', '4x3', text])
    error = capsys.readouterr().err
    assert "A size is ROWSxCLASSES ('256x1000')" in error and f'but got {text!r}.' in error


def test_peak_memory_is_the_most_at_a_time():
    def step():
        first = torch.ones(2**18)
        second = first + 1  # 2 MiB
        del first
        third = second + 1  # 2 MiB again
        fourth = torch.cat([second, third])  # 4 MiB
        return (fourth,)

    assert timing.peak_memory(step, 'cpu') == 4 * 2**20


def test_candidates_take_turns(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(timing, 'time', SimpleNamespace(perf_counter=lambda: clock[0]))

    def sampler(name, seconds):
        def sample():
            calls.append(name)
            clock[0] += seconds
            return (seconds,)

        return sample

    samplers = {name: sampler(name, 1.0) for name in 'abcde'}
    samplers['slow'] = sampler('slow', 20.0)
    actual = timing.interleave(samplers, seconds=200, rounds=1000, least=3)
    turns = [calls[start : start + 6] for start in range(0, 18, 6)]
    assert all(set(turn) == set(samplers) for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 1
    # A sixth would be the slow one's share, and three sixths are the most that it gets.
    assert 80 <= 20 * len(actual['slow']) <= 200 / 2 + 20
    assert len(actual['a']) == len(actual['e']) > 2 * len(actual['slow'])
    assert 200 < clock[0] < 230
    assert len(timing.interleave(samplers, seconds=0, rounds=9, least=2)['slow']) == 2
    assert len(timing.interleave(samplers, seconds=1e9, rounds=9, least=2)['a']) == 9


def test_what_is_done_before_a_step_is_not_timed():
    clock = [0.0]

    def advance(seconds):
        clock[0] += seconds

    def step():
        start = clock[0]
        advance(2)
        middle = clock[0]
        advance(3)
        return start, middle, clock[0]

    sample = loss_speed.sampler(step, 4, timing.Stopwatch('cpu'), before=lambda: advance(100))
    assert sample() == (2, 3) and clock[0] == 4 * 105


def test_ratios_are_those_of_medians_of_minima_and_of_turns():
    reference = {0: 1.0, 1: 2.0, 2: 4.0, 3: 0.1}  # sat out in the last round
    row = timing.summary({0: 3.0, 1: 3.0, 2: 10.0}, reference)
    assert row == dict(
        n=3, min_us=3e6, q1_us=3e6, median_us=3e6, q3_us=6.5e6, max_us=1e7,
        ratio=1.5, ratio_q1=2.0, ratio_q3=2.75, ratio_of_minima=3.0,
    )  # fmt: skip


def test_the_command_writes_what_it_timed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(loss_speed, 'LEAST_SECONDS', 1e-4)
    monkeypatch.setattr(loss_speed, 'seconds_per_byte', lambda *_: [1e-6, 3e-6])
    emptied = []
    monkeypatch.setattr(
        loss_speed, 'cache_eviction', lambda logits, _: lambda: emptied.append(logits[0].shape)
    )
    out = tmp_path / 'out.csv'
    arguments = ['--sizes', '5x3', '4x3+1', '2x60x3', '--seconds', '0']
    threads = str(torch.get_num_threads())
    arguments += ['--skip', 'compiled', '--threads', threads, '--out', str(out)]
    loss_speed.main(arguments)
    printed = capsys.readouterr().out
    with out.open(newline='') as file:
        rows = list(csv.DictReader(file))

    assert set(rows[0]) >= PROMISED
    assert {(row['case'], row['dtype']) for row in rows} == {
        (case, dtype) for case in ('5x3', '4x3+1', '2x60x3') for dtype in ('float32', 'bfloat16')
    }
    by_key = {(row['case'], row['dtype'], row['candidate'], row['part']): row for row in rows}
    assert len(by_key) == len(rows)
    names = {row['candidate'] for row in rows if row['case'] == '5x3' and row['part'] == 'forward'}
    assert emptied.count((5, 3)) == 2 * len(names) * loss_speed.LEAST_ROUNDS * 3
    for row in rows:
        ordered = [float(row[f'{name}_us']) for name in ('min', 'q1', 'median', 'q3', 'max')]
        assert ordered[0] > 0 and ordered == sorted(ordered)
        assert row['threads'] == threads and row['torch'] == torch.__version__
    for case, reference in (
        ('5x3', loss_cases.SMOOTHED),
        ('4x3+1', loss_cases.SMOOTHED),
        ('2x60x3', loss_cases.MMDET),
    ):
        for part in BOTH, 'forward', 'backward', f'{BOTH}, cold caches':
            row = by_key[case, 'float32', 'OLSLoss()', part]
            other = by_key[case, 'float32', reference, part]
            assert row['reference'] == reference and float(other['ratio']) == 1
            expected = float(row['median_us']) / float(other['median_us'])
            assert float(row['ratio']) == pytest.approx(expected)
        assert (case, 'float32', 'OLSLoss()', 'roll-over') in by_key
    # The gradient, PyTorch's log-softmax and its gradient; and rounding to 64 bytes.
    row = by_key['5x3', 'float32', loss_cases.SMOOTHED, BOTH]
    assert float(row['peak_mib']) * 2**20 >= 3 * 60
    # Logits and gradient of 5 x 3; rows of the classes, and twice those of the ones that are right.
    batch = make_batch(Size((5,), 3, False), torch.float32, 'cpu', 0)
    right = {y for y, row in zip(batch.label.tolist(), batch.logits.tolist()) if row[y] == max(row)}
    size = 2 * 60 + 12 * len(set(batch.label.tolist())) + 2 * 12 * len(right)
    row = by_key['5x3', 'float32', loss_speed.FLOOR, BOTH]
    assert float(row['median_us']) == pytest.approx(2 * size) and right

    loss_speed.main(['--from-csv', str(out)])
    assert capsys.readouterr().out == printed
    assert f'| {loss_cases.SMOOTHED} | 1 = ' in printed
    assert '| float32: forward + backward, times the reference | 5x3 | 4x3+1 | 2x60x3 |' in printed


def test_the_page_changes_only_between_its_marks(tmp_path):
    page = tmp_path / 'docs/speed.md'
    page.parent.mkdir()
    page.write_text('Before\n<!-- loss_speed -->\nold\n<!-- /loss_speed -->\nAfter\n')
    loss_speed.write_docs('| new |\n\n| more |\n\n*made by*\n', tmp_path)
    around = 'Before\n<!-- loss_speed -->\n{}\n<!-- /loss_speed -->\nAfter\n'.format
    assert page.read_text() == around('| new |\n\n| more |\n\n*made by*')
    page.write_text('<!-- /loss_speed --> <!-- loss_speed -->')
    with pytest.raises(SystemExit, match='speed.md has no lines <!-- loss_speed -->'):
        loss_speed.write_docs('new\n\n*made by*', tmp_path)
