"""From what a user asks for to runs: settings, keys, and what is comparable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmdet_ols.engine import run_config
from mmdet_ols.experiments import specification
from mmdet_ols.experiments.comparability import check_comparable
from mmdet_ols.experiments.specification import Request, read_variants

DEMO = str(Path(__file__).parents[2] / 'configs/yolo_ols_demo.py')
CONFIG = """
model = dict(
    type='ImageClassifier',
    head=dict(type='LinearClsHead', num_classes=6, in_channels=8, loss=dict(type={loss!r})),
)
default_scope = 'mmpretrain'
train_dataloader = dict(batch_size=4)
train_cfg = dict(by_epoch=True, max_epochs=3)
"""


@pytest.fixture
def config(tmp_path):
    """A config with hard labels; `ols.py` next to it is the same with OLS."""
    (tmp_path / 'ols.py').write_text(
        "_base_ = 'ce.py'\n"
        "model = dict(head=dict(loss=dict(_delete_=True, type='OLSLoss', num_classes=6)))\n"
        "default_hooks = dict(ols=dict(type='OLSHook'))\n"
    )
    path = tmp_path / 'ce.py'
    path.write_text(CONFIG.format(loss='CrossEntropyLoss'))
    return path


def compared(*requests):
    return check_comparable({row.name: row.forms for row in read_variants(requests)})


def test_methods_of_one_config_are_comparable(config):
    path = str(config)
    differing = compared(
        Request('hard', path, 'hard'), Request('ls', path, 'ls'), Request('ols', path, 'ols')
    )
    before, after = differing['ls']['model.head.loss.type']
    assert before.endswith('CrossEntropyLoss') and after == 'LSLoss'
    assert differing['ols']['default_hooks.ols.type'] == ('(absent)', 'OLSHook')


def test_configs_that_differ_in_their_method_are_comparable_and_others_are_not(config):
    ce, ols = str(config), str(config.with_name('ols.py'))
    differing = compared(Request('ce', ce), Request('ols', ols))
    assert differing['ols']['model.head.loss.type'] == ('CrossEntropyLoss', 'OLSLoss')
    assert compared(Request('ls', ols, 'ls'), Request('ols', ols))  # one of them by the config
    with pytest.raises(ValueError, match=r'batch_size: 4 \(ce\), 8 \(ols\)'):
        compared(Request('ce', ce), Request('ols', ols, 'ols', ('train_dataloader.batch_size=8',)))


def test_a_model_that_no_method_knows_is_compared_as_it_is(config):
    text = config.read_text().replace('LinearClsHead', 'UnknownHead')
    config.write_text(text)
    a = Request('a', str(config))
    b = replace(a, name='b', options=('model.head.loss.loss_weight=2.0',))
    assert compared(a, replace(a, name='b')) == {'b': {}}
    with pytest.raises(ValueError, match=r'loss_weight: \(absent\) \(a\), 2\.0 \(b\)'):
        compared(a, b)


def test_the_key_of_a_run_is_that_of_what_it_does(config):
    path = str(config)
    one, same, other = read_variants(
        [
            Request('one', path, 'ols'),
            Request('same', path, 'ols', ('work_dir=elsewhere',)),
            Request('other', path, 'ols', ('train_dataloader.batch_size=8',)),
        ]
    )
    assert one.run(0).key == same.run(0).key != other.run(0).key
    assert one.run(0).key != one.run(1).key
    spec = one.run(1)
    assert (spec.config, spec.method, spec.seed, spec.amp) == (path, 'ols', 1, False)


def test_a_run_in_mixed_precision_is_comparable_with_others_of_its_kind_only(config, monkeypatch):
    monkeypatch.setattr(run_config, 'get_device', lambda: 'cuda')
    config.write_text(f'{config.read_text()}optim_wrapper = dict(optimizer=dict(type="SGD"))\n')
    for method in ('ols', None):
        request = Request('row', str(config), method)
        (plain,), (amp,) = read_variants([request]), read_variants([request], amp=True)
        (hard,) = read_variants([Request('hard', str(config), 'hard')], amp=True)
        assert len({plain.portable_key, amp.portable_key}) == 2
        assert plain.portable_base != amp.portable_base == hard.portable_base
    config.write_text(config.read_text().replace('LinearClsHead', 'UnknownHead'))
    request = Request('row', str(config))
    (plain,), (amp,) = read_variants([request]), read_variants([request], amp=True)
    assert plain.portable_base != amp.portable_base


@pytest.mark.parametrize(
    ('method', 'options', 'shown'),
    [
        (None, (), ['own']),
        ('ols', (), ['cell']),
        ('ols', ('train_dataloader.num_workers=0',), ['cell']),
        ('ols', ('train_cfg.max_epochs=9',), []),
    ],
)
def test_the_papers_figures_are_those_of_the_cell_and_the_method(
    config, monkeypatch, method, options, shown
):
    asked = []

    def figures(cell, method):
        asked.append((dict(cell), method))
        return [dict(table='cell', metric='top1_error', value=20.0)]

    monkeypatch.setattr(specification, 'figures', figures)
    config.write_text(
        config.read_text()
        + "paper_cell = dict(data='cifar10', network='resnet29')\n"
        + "paper_result = dict(table='own', metric='top1_error', value=21.0)\n"
    )
    (row,) = read_variants([Request('row', str(config), method, options)])
    assert [figure['table'] for figure in row.paper_figures] == shown
    cell = dict(data='cifar10', network='resnet29')
    assert asked == ([(cell, method)] if shown == ['cell'] else [])
