"""How runs were made is said once for all that were made alike, with commands that make them."""

from __future__ import annotations

from toy_plan import CONFIG, cell
from toy_results import RECORD, made_result, result, the_cell

from mmdet_ols.experiments.states import State
from mmdet_ols.reproduction.making import commands_to_compare, made_table
from mmdet_ols.reproduction.plan import Plan
from mmdet_ols.reproduction.results import cell_results


def test_runs_that_were_made_alike_share_a_row():
    later = dict(RECORD, date='2026-11-27', command='`python tools/compare.py`')
    hard = result('II', 'resnet34_', 'hard', [20.0, 21.0, 22.0])
    hard.made[2] = [RECORD, later]  # interrupted, and continued on the next day
    ols = result('II', 'resnet34_', 'ols', [20.0, 21.0])
    other = result('II', 'resnet50_', 'ols', [20.0])
    header, rows = made_table([hard, ols, other, result('II', 'resnet50_', 'hard', [])])
    assert header == ['runs', 'machine', 'versions', 'date', 'command']
    assert [row[0] for row in rows] == [
        'resnet34_cifar100: Hard labels (seeds 0, 1; median 1 min 00 s a run), '
        'OLS (seeds 0, 1; median 1 min 00 s a run). '
        'resnet50_cifar100: OLS (seed 0; median 1 min 00 s a run)',
        'resnet34_cifar100: Hard labels (seed 2; median 1 min 00 s a run)',
    ]
    assert rows[0][3:] == ['2026-11-26', 'mmdet-ols reproduce run']
    assert rows[1][3:] == [
        '2026-11-26; 2026-11-27',
        'mmdet-ols reproduce run; python tools/compare.py',
    ]
    assert made_table([]) == (['runs'], [])


def test_options_are_named_by_the_last_part_of_their_keys():
    """Values may have points as well."""
    options = ('optim_wrapper.optimizer.lr=0.1', 'load_from=data/weights.pth')
    made = result('II', 'resnet34_', 'hard', [20.0], options=options)
    _, [(runs, *_)] = made_table([made])
    assert runs.startswith('resnet34_cifar100 lr=0.1 load_from=data/weights.pth: Hard labels')


def test_commands_name_methods_seeds_and_options():
    detector, hard = (the_cell('X', 'yolo', method) for method in ('ols', 'hard'))
    made = [
        made_result(hard, {0: 0.8, 1: 0.8}, 'pascal_voc/mAP', options=()),
        made_result(
            detector,
            {0: 0.8},
            'pascal_voc/mAP',
            options=(),
            states=dict.fromkeys((0, 1), State('finished')),
        ),
        made_result(hard, {0: 0.8}, config='yolo_hard_voc07_small.py', options=('a.b=1', 'c=2')),
    ]
    assert commands_to_compare(made) == [
        'python tools/compare.py configs/yolo_hard_voc.py --methods hard ols --seeds 0 1 --tta',
        'python tools/compare.py configs/yolo_hard_voc07_small.py --methods hard --seeds 0 '
        '--cfg-options a.b=1 c=2',
    ]
    elsewhere = made_result(hard, {0: 0.8}, config='/tmp/mine.py', options=())
    assert commands_to_compare([elsewhere])[0].startswith('python tools/compare.py /tmp/mine.py')


def test_commands_have_the_data_and_entries_that_a_user_named(tmp_path):
    config = tmp_path / 'six.py'
    config.write_text(CONFIG)
    plan = Plan(
        [cell(config, 'hard', options=('a.b=1',)), cell(config, 'ols', options=('a.b=1',))],
        [0],
        tmp_path / 'runs',
        data={'six': '/my data'},
        entries={'resnet56': ['load_from=mine.pth']},
    )
    results = cell_results(plan)
    assert [made.options for made in results] == [('a.b=1', 'load_from=mine.pth')] * 2
    assert commands_to_compare(results) == [
        f"python tools/compare.py {config} --methods hard ols --seeds 0 --data-root '/my data' "
        '--cfg-options a.b=1 load_from=mine.pth'
    ]
