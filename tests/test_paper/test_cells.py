"""Every cell of the paper's tables has a config and a method, so that none gets lost."""

from __future__ import annotations

import argparse
from copy import deepcopy
from functools import lru_cache

import pytest
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import HOOKS, MODELS, DefaultScope

from mmdet_ols import apply_method, config_path
from mmdet_ols.paper import all_figures, cells, paper_results

#: The loss of each method; of the others, that of the config.
LOSSES = {
    'ls': 'LSLoss',
    'ols': 'OLSLoss',
    'ols_single': 'OLSSingleLoss',
    'bootsoft': 'BootstrapLoss',
    'boothard': 'BootstrapLoss',
    'disturblabel': 'DisturbLabelLoss',
    'sce': 'SCELoss',
    'tfkd_reg': 'TfKDRegLoss',
    'l2rw': 'SampleWeightLoss',
    'meta_weight_net': 'SampleWeightLoss',
    'm_correction': 'MCorrectionLoss',
    'pencil': 'PencilLoss',
    'deep_self_learning': 'DeepSelfLearningLoss',
}


@lru_cache
def _read(config):
    return Config.fromfile(config_path(config))


def read(config):
    return deepcopy(_read(config))


FIGURES = {'Fig. 3', 'Fig. 4', 'Fig. 5', 'Fig. 7a', 'Fig. 7b'}


def test_every_table_has_cells():
    tables = {'II', 'III', 'IV', 'VI', 'VII', 'VIII', 'IX', 'X', 'XI', 'XII', 'V-E'}
    assert {cell.table for cell in cells()} == tables | FIGURES
    assert len(set(cells())) == len(cells())
    assert [cell.method for cell in cells('III')] == ['hard', 'ls', 'ols']
    with pytest.raises(ValueError, match=r"`table` must be one of \('II', .* but got 'I'"):
        cells('I')


def test_every_figure_belongs_to_a_cell():
    made = set()
    for cell in cells():
        place = read(cell.config).paper_cell
        setting = place.data, place.network, place.get('noise_rate', 0)
        made.add((cell.table, cell.method, *setting))
        if not cell.table.startswith('Fig.'):
            results = paper_results(cell.method, *setting)
            assert cell.table in {result['table'] for result in results}
    for figure in all_figures():
        key = (figure.table, figure.method, figure.data, figure.network, figure.noise_rate)
        if not figure.source:
            assert key in made


@pytest.mark.parametrize('config', sorted({cell.config for cell in cells()}))
def test_the_metrics_of_a_cell_are_measured(config):
    """Whatever the paper reports for it, its config logs."""
    cfg = read(config)
    parts = [*cfg.get('custom_hooks', [])]
    parts += cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    measured = {
        'Accuracy': ['top1_error', 'top5_error'],
        'CalibrationError': ['calibration/ece'],
        'CIFAR10HDivergence': ['cifar10h/kl'],
        'VOCAPMetric': ['pascal_voc/mAP'],
        'EnsembleHook': [f'ensemble/top1_error_{size}' for size in (1, 6, 10, 15, 20)],
        'AdversarialErrorHook': [
            f'{attack}/top{k}_error' for attack in ('fgsm', 'pgd') for k in (1, 5)
        ],
        'TrainErrorHook': [],
    }
    logged = {metric for part in parts for metric in measured[part['type']]}
    place = cfg.paper_cell
    tables = {cell.table for cell in cells() if cell.config == config}
    reported = {
        figure.metric
        for figure in all_figures()
        if (figure.data, figure.network) == (place.data, place.network) and figure.table in tables
    }
    assert reported <= logged
    assert reported or place.noise_rate


@pytest.mark.parametrize(
    ('config', 'method', 'options'),
    sorted({cell[1:] for cell in cells()}),
    ids=lambda value: ' '.join(value) if isinstance(value, tuple) else value,
)
def test_a_cell_can_be_built(config, method, options, monkeypatch):
    """The head with the method's loss, and its hooks; networks are built elsewhere."""
    monkeypatch.setattr(torch.nn.init, 'kaiming_uniform_', lambda tensor, *args, **kwargs: tensor)
    cfg = read(config)
    entries = [option for option in options if option != '--tta']
    cfg.merge_from_dict(parse_options(entries))
    cfg = apply_method(cfg, method)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        if 'head' in cfg.model:
            head = MODELS.build(cfg.model.head)
            losses = [head.loss_module]
        else:
            head = MODELS.build(dict(cfg.model.bbox_head, train_cfg=cfg.model.train_cfg))
            losses = [head.loss_cls]
        hooks = [
            HOOKS.build(hook)
            for name, hook in cfg.default_hooks.items()
            if hook and name not in ('visualization', 'checkpoint', 'logger', 'timer')
        ]
    last = method.split('+')[-1].partition(':')[0]
    assert {type(loss).__name__ for loss in losses} == {LOSSES.get(last, 'CrossEntropyLoss')}
    by_name = {type(hook).__name__: hook for hook in hooks}
    assert ('OLSHook' in by_name) == last.startswith('ols')
    assert ('LateLossHook' in by_name) == (last == 'pairwise_confusion')
    if method.startswith('cutout'):
        steps = cfg.train_dataloader.dataset.pipeline
        assert [step.size for step in steps if step.type == 'CutOutSquare'] == [112]
    if entries:  # Fig. 7b
        hook = by_name['OLSHook']
        assert not hook.by_epoch and hook.interval == int(entries[-1].partition('=')[2])


def parse_options(entries):
    """As the tools do."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='*', action=DictAction, default={})
    return parser.parse_args(['--cfg-options', *entries]).cfg_options
