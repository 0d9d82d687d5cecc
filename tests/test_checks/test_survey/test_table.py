"""What is printed before every run."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from toy_survey import run_config, voc_set

from mmdet_ols.checks.data import check_datasets, describe_datasets
from mmdet_ols.checks.survey.records import DatasetSurvey, FileContents, Loaded, SplitSurvey
from mmdet_ols.checks.survey.table import print_survey


def rows(text):
    """The cells of the rows of a printed table."""
    lines = [line.strip('│┃ ') for line in text.splitlines() if line.startswith(('│', '┃'))]
    return [[cell.strip() for cell in line.replace('┃', '│').split('│')] for line in lines]


def test_splits_side_by_side_with_what_is_left_out(root, capsys):
    (root / 'ImageSets/Main/val.txt').write_text('a\n')
    filters = dict(filter_cfg=dict(filter_empty_gt=True))
    train = dict(type='RepeatDataset', times=3, dataset=voc_set(root, ('cat', 'dog'), **filters))
    val = voc_set(root, ('cat', 'dog'), 'val')
    check_datasets(run_config(train=train, val=val, test=val))
    out = capsys.readouterr().out
    assert rows(out) == [
        ['data', 'train', 'val, test'],
        ['images', '2', '1'],
        ['in an epoch', '6', '1'],
        ['not: no object', '1', '-'],
        ['objects', '3', '2'],
        ['not: unknown class', '1', '-'],
        ['cat', '2', '1'],
        ['dog', '1', '1'],
    ]
    assert 'train: RepeatDataset repeats its images 3 times an epoch.' in ' '.join(out.split())


def test_what_is_left_out_of_a_part_is_counted_in_the_whole(root, capsys):
    whole = voc_set(root, ('cat', 'dog'))
    part = dict(type='mmpretrain.KFoldDataset', num_splits=3, fold=0, dataset=whole)
    check_datasets(run_config(train=part))
    out = capsys.readouterr().out
    assert ['not: unknown class', '1'] in rows(out)
    said = 'train: 2 of 3 images are taken; what is left out is counted in all of them.'
    assert said in ' '.join(out.split())


def test_of_many_classes_the_fewest_are_shown():
    names = [f'[class {number}]' for number in range(100)]
    loaded = Loaded(5050, 5050, Counter({n: n + 1 for n in range(100)}), classes=names)
    loaded.labelled = True
    console = Console(record=True, width=60)
    print_survey([SplitSurvey(['train'], [DatasetSurvey('X', FileContents(), loaded)], loaded)],
                 console)  # fmt: skip
    table = rows(console.export_text())
    assert table[2:6] == [[f'[class {n}]', str(n + 1)] for n in (99, 98, 97, 96)]
    assert table[6] == ['... 88 more classes ...']
    assert table[7:] == [[f'[class {n}]', str(n + 1)] for n in range(7, -1, -1)]


def test_what_is_not_known_is_said(capsys):
    cifar = dict(type='mmpretrain.CIFAR10', data_root='/nowhere')
    describe_datasets(run_config(scope='mmpretrain', train=cifar))
    out = capsys.readouterr().out
    assert rows(out) == [['data', 'train'], ['images', '?']]
    assert 'CIFAR10 fetches its own files' in ' '.join(out.split())


def test_the_data_of_an_old_run_may_be_gone_or_wrong(root, tmp_path, said):
    describe_datasets(run_config(train=voc_set(tmp_path / 'gone', ('cat',))))
    assert len(said) == 1 and 'The data cannot be described' in said[0]
    describe_datasets(run_config(1, train=voc_set(root, ('cat', 'dog', 'fox'))))
    assert len(said) == 2 and 'has 3 classes' in said[1]
