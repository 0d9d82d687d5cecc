"""`--data-root` moves all data of a config, and nothing else."""

import pytest
from mmengine.config import Config

from mmdet_ols.engine.data_root import replace_data_root

OLD = '/data/old'


def config(root='data/coco/', **more):
    train, val = (
        dict(type='CocoDataset', data_root=root, ann_file=f'annotations/{split}.json')
        for split in ('train', 'val')
    )
    mixed = dict(type='MultiImageMixDataset', dataset=dict(type='Repeat', times=2, dataset=train))
    evaluator = [dict(type='CocoMetric', ann_file=root + 'annotations/val.json', metric='bbox')]
    val_loader = dict(dataset=val)
    return Config(
        dict(
            data_root=root,
            train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[mixed, val])),
            val_dataloader=val_loader,
            test_dataloader=val_loader,
            val_evaluator=evaluator,
            test_evaluator=evaluator,
            **more,
        )
    )


@pytest.mark.parametrize(
    'root',
    ['new', '/a b/c', 'data/coco/inside', 'it\'s "$HOME" {x} [y] (z), %s', 'Bäume/数据\\n', '/'],
)
def test_every_data_set_and_evaluator_moves_whatever_the_characters(root, tmp_path):
    cfg = config()
    replace_data_root(cfg, root)
    cfg.dump(tmp_path / 'dumped.py')  # and reads the same again
    for moved in (cfg, Config.fromfile(tmp_path / 'dumped.py')):
        with_slash = root if root == '/' else root + '/'
        mixed, val = moved.train_dataloader.dataset.datasets
        for dataset in (
            mixed.dataset.dataset,
            val,
            moved.val_dataloader.dataset,
            moved.test_dataloader.dataset,
        ):
            assert dataset.data_root == with_slash
            assert dataset.ann_file in ('annotations/train.json', 'annotations/val.json')
        for evaluator in (moved.val_evaluator, moved.test_evaluator):
            expected = f'{with_slash}annotations/val.json'
            assert evaluator == [dict(type='CocoMetric', ann_file=expected, metric='bbox')]
        assert moved.data_root == with_slash


def moved(dataset, root='new', **more):
    cfg = Config(dict(train_dataloader=dict(dataset=dataset), **more))
    replace_data_root(cfg, root)
    return cfg


def test_absolute_paths_below_the_root_move_and_relative_ones_are_joined_to_it():
    dataset = dict(
        type='A',
        data_root=OLD,
        ann_file=f'{OLD}/x/../list.txt',
        data_prefix=dict(img=f'{OLD}/images/', mask='data/old/masks'),
        pipeline=[dict(type='Paste', files=(f'{OLD}/a', '/data/older/b', OLD), scale=(1, 2))],
    )
    expected = dict(
        type='A',
        data_root='new',
        ann_file='new/list.txt',
        data_prefix=dict(img='new/images/', mask='data/old/masks'),
        pipeline=[dict(type='Paste', files=('new/a', '/data/older/b', 'new'), scale=(1, 2))],
    )
    assert moved(dataset).train_dataloader.dataset == expected


def test_a_relative_root_and_absolute_paths_below_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = dict(type='A', data_root='data', ann_file=str(tmp_path / 'data/a.json'))
    hooks = [dict(type='Hook', path='data/b'), dict(type='data', path='database/b', part='data')]
    cfg = moved(dataset, '/x', custom_hooks=hooks)
    assert cfg.train_dataloader.dataset.ann_file == '/x/a.json'
    assert cfg.custom_hooks[0].path == '/x/b'
    assert cfg.custom_hooks[1] == hooks[1]


def test_a_data_set_without_a_root_beside_one_that_has_it():
    parts = [dict(type='A', data_root='old/'), dict(type='B', ann_file='old/b', img='other/b')]
    datasets = moved(dict(type='ConcatDataset', datasets=parts)).train_dataloader.dataset.datasets
    assert datasets[0].data_root == 'new/'
    assert datasets[1] == dict(type='B', ann_file='new/b', img='other/b')


def test_remote_roots_can_be_replaced():
    dataset = dict(type='A', data_root='s3://bucket/coco/', ann_file='a.json')
    cfg = moved(dataset, val_evaluator=dict(ann_file='s3://bucket/coco/a.json'))
    assert cfg.train_dataloader.dataset.data_root == 'new/'
    assert cfg.val_evaluator.ann_file == 'new/a.json'


def test_the_home_directory(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    dataset = moved(dict(type='A', data_root='old'), '~/data').train_dataloader.dataset
    assert dataset.data_root == '/home/me/data'


def test_several_roots_are_refused_and_listed():
    cfg = config()
    cfg.val_dataloader.dataset.data_root = 'data/coco'  # the same
    replace_data_root(cfg, 'new')
    cfg.val_dataloader.dataset.data_root = 'data/voc'
    before = cfg.to_dict()
    expected = (
        r'(?s)have 2 roots:\n  train_dataloader, CocoDataset \(new/\)\n'
        r'  val_dataloader, CocoDataset \(data/voc\)\n.*--cfg-options'
    )
    with pytest.raises(ValueError, match=expected):
        replace_data_root(cfg, 'other')
    assert cfg.to_dict() == before


def test_nothing_to_replace_is_an_error():
    with pytest.raises(ValueError, match='no data set of this config has one: write data_root'):
        moved(dict(type='A', ann_file='data/a.json'))


def test_what_a_config_would_read_as_a_variable_is_refused():
    with pytest.raises(ValueError, match='must not contain .* through a link'):
        moved(dict(type='A', data_root='old'), '/a/{{ fileDirname }}')


def test_an_empty_root_is_refused():
    with pytest.raises(ValueError, match="must be a path, but got ''"):
        moved(dict(type='A', data_root='old/'), '')
