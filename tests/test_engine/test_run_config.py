"""From a config file and the options of a command line to the config that is run."""

import argparse
import os
import re
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import allowed_globals
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmdet_ols.cli.options import pickle_file
from mmdet_ols.engine import cpu_amp, run_config
from mmdet_ols.engine.cpu_amp import CPUAmpOptimWrapper
from mmdet_ols.engine.run_config import parse_options, read_config
from mmdet_ols.engine.tta import use_tta

CONFIG = """
model = dict(type='A', head=dict(loss=dict(type='CE')))
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='RepeatDataset', dataset=dict(data_root='old'))
)
test_dataloader = val_dataloader = None
"""


@pytest.fixture
def config(tmp_path):
    """A config file, and more lines for it."""

    def write(*lines, name='detector.py'):
        path = tmp_path / name
        path.write_text('\n'.join([CONFIG, *lines]))
        return path

    return write


@pytest.fixture
def methods(monkeypatch):
    """Replace all methods by one that records what it was applied to."""

    def apply_method(cfg, text):
        cfg = Config(cfg.to_dict(), filename=cfg.filename)
        cfg.model.head.loss.update(type='OLS', seen=cfg.train_dataloader.dataset.dataset.data_root)
        cfg.applied_method = text
        return cfg

    def parse_method(text):
        return SimpleNamespace(text=text, slug=text.replace(':', '_').replace('=', ''))

    stub = SimpleNamespace(apply_method=apply_method, parse_method=parse_method)
    monkeypatch.setitem(sys.modules, 'mmdet_ols.methods', stub)


def test_reading_changes_nothing_but_its_result(config, methods, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = config()

    def state():
        allowed = allowed_globals.allowed_ids()
        return dict(os.environ), allowed, torch.initial_seed(), sorted(tmp_path.rglob('*'))

    before = state()
    read_config(path, options=['a=1'], method='ols', data_root='new', launcher='pytorch')
    assert state() == before


def test_entries_come_first_then_the_data_root_and_the_method(config, methods):
    options = {'model.head.loss.type': 'Mine', 'train_dataloader.dataset.dataset.data_root': 'b'}
    cfg = read_config(config(), options=options, method='ols', data_root='c', launcher='slurm')
    assert cfg.model.head.loss == dict(type='OLS', seen='c')
    assert cfg.train_dataloader.dataset.dataset.data_root == 'c'
    assert cfg.launcher == 'slurm' and cfg.applied_method == 'ols'
    assert cfg.filename.endswith('detector.py')  # by whose name the run dumps it


@pytest.mark.parametrize(
    ('own', 'arguments', 'expected'),
    [
        ('', {}, 'work_dirs/detector'),
        ('', dict(method='ols'), 'work_dirs/detector_ols'),
        ('', dict(method='ols:alpha=0.3'), 'work_dirs/detector_ols_alpha0.3'),
        ('work_dir = "runs/mine"', {}, 'runs/mine'),
        ('work_dir = "runs/mine/"', dict(method='ols'), 'runs/mine_ols'),
        ('work_dir = "."', dict(method='ols'), 'ols'),
        ('work_dir = "runs/.."', dict(method='ols'), 'runs/../ols'),
        ('work_dir = "runs/mine"', dict(method='ols', work_dir='here'), 'here'),
        ('', dict(method='ols', options=['work_dir=there']), 'there'),
        # A config that a run with a method has dumped.
        ('work_dir = "a_ls"; applied_method = "ls"', {}, 'a_ls'),
        ('work_dir = "a_ls"; applied_method = "ls"', dict(method='ls'), 'a_ls'),
        ('work_dir = "a_ls"; applied_method = "ls"', dict(method='ols'), 'a_ols'),
    ],
)
def test_the_work_directory_names_the_method(own, arguments, expected, config, methods):
    assert read_config(config(own), **arguments).work_dir == expected


def test_what_the_hosts_tools_would_fill_in_is_written_out(config):
    cfg = read_config(config('val_dataloader = dict(num_workers=2, persistent_workers=True)'))
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.val_dataloader.persistent_workers is True
    assert cfg.test_dataloader is None
    loader = cfg.train_dataloader
    assert (loader.pin_memory, loader.collate_fn) == (False, dict(type='pseudo_collate'))

    # They are MMEngine's own.
    def build(**more):
        data = dict(dataset=[1, 2], batch_size=2, num_workers=0, sampler=torch.arange(2))
        return Runner.build_dataloader(dict(data, **more))

    plain = build()
    written = build(**{key: loader[key] for key in run_config.LOADER_DEFAULTS})
    assert plain.collate_fn.func is written.collate_fn.func
    for name in ('pin_memory', 'persistent_workers'):
        assert getattr(plain, name) == getattr(written, name)


def test_several_loaders_of_a_users_own_loop_stay_as_they_are(config):
    loaders = dict(a=dict(batch_size=1), b=dict(batch_size=2))
    cfg = read_config(config(f'train_dataloader = {loaders}'))
    assert cfg.train_dataloader == loaders


def test_classes_of_new_style_configs_become_names(tmp_path):
    (tmp_path / 'base.py').write_text(
        'from mmdet.evaluation import CocoMetric\n'
        'val_evaluator = dict(type=CocoMetric, ann_file="a/b.json")\n'
        'train_dataloader = dict(num_workers=0)\n'
    )
    (tmp_path / 'new.py').write_text(
        'from mmengine.config import read_base\nwith read_base():\n    from .base import *\n'
    )
    cfg = read_config(tmp_path / 'new.py')
    assert cfg.val_evaluator.type == 'mmdet.evaluation.CocoMetric'
    cfg.dump(tmp_path / 'dumped.py')
    dumped = Config.fromfile(tmp_path / 'dumped.py')
    assert dumped.to_dict() == cfg.to_dict()


def test_a_config_that_does_not_exist(config):
    path = config().with_name('detektor.py')
    with pytest.raises(FileNotFoundError, match=r'detektor\.py does not exist: .*detector\.py'):
        read_config(path)
    path = config('_base_ = "absent.py"')
    with pytest.raises(FileNotFoundError, match=r'absent\.py does not exist: .*detector\.py'):
        read_config(path)


def test_entries_are_parsed_as_mmengine_parses_them():
    words = ['a.b=1e-3', 'c=[1,2]', 'd=x=y', 'e=None', 'f=text', 'g=1,2', 'a.b=2']
    expected = {'a.b': 2, 'c': [1, 2], 'd': 'x=y', 'e': None, 'f': 'text', 'g': [1, 2]}
    assert parse_options(words) == expected
    assert parse_options([]) == {}
    for word in ('alone', '=1'):
        with pytest.raises(ValueError, match=f"must be KEY=VALUE, but got '{word}'"):
            parse_options(['a=1', word])


OURS = 'custom_imports = dict(imports=["mmdet_ols"])'


def test_an_entry_below_none_makes_a_dict_of_it(config):
    path = config('optim_wrapper = dict(clip_grad=None)')
    options = ['optim_wrapper.clip_grad.max_norm=35', 'optim_wrapper.clip_grad.norm_type=2']
    cfg = read_config(path, options=options)
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=35, norm_type=2)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['model.head=[1,2'], 'Imbalanced brackets'),
        (["model.head={'CLASSES': ('a', 'b')}"], r'one by one, as in KEY\.ENTRY=VALUE'),
        (['train_dataloader.batch_size.x=1'], r'batch_size\.x=1.* is of type .*int'),
        (['a=1', 'a.b=2'], 'a=1 a.b=2'),
    ],
)
def test_entries_that_have_no_place(options, message, config):
    with pytest.raises(ValueError, match=message):
        read_config(config(), options=options)


def test_variables_that_are_no_longer_read_are_a_warning(config, monkeypatch):
    monkeypatch.setenv('NOISE_RATE', '0.4')
    with pytest.warns(UserWarning, match='NOISE_RATE is set, but no longer read: use .*noise'):
        read_config(config(OURS))


@pytest.mark.parametrize('lines', ['', f'{OURS}\nnoise_rate = "{{{{$NOISE_RATE:0}}}}"'])
def test_no_warning_where_the_variable_is_not_ours(lines, config, monkeypatch, recwarn):
    monkeypatch.setenv('NOISE_RATE', '0.4')
    read_config(config(lines))
    assert not [item for item in recwarn if 'NOISE_RATE' in str(item.message)]


def test_mixed_precision_suits_the_machine(monkeypatch):
    def used(device, bfloat16=True):
        monkeypatch.setattr(run_config, 'get_device', lambda: device)
        monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: bfloat16)
        cfg = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper', loss_scale=512.0)))
        run_config.use_amp(cfg)
        return cfg.optim_wrapper.to_dict()

    deepspeed = Config(dict(optim_wrapper=dict(type='DeepSpeedOptimWrapper')))
    with pytest.raises(ValueError, match='DeepSpeed, which casts by itself.*strategy.bf16'):
        run_config.use_amp(deepspeed)
    own = Config(dict(optim_wrapper=dict(type='my_wrappers.Accumulating')))
    with pytest.raises(ValueError, match='is of type Accumulating: leave --amp out'):
        run_config.use_amp(own)
    run_config.use_amp(Config(dict(optim_wrapper=None)))  # MMEngine says what is missing
    assert used('cuda') == dict(type='AmpOptimWrapper', loss_scale=512.0)
    assert used('cpu') == dict(type=CPUAmpOptimWrapper.__name__)
    with pytest.raises(ValueError, match='bfloat16 instructions'):
        used('cpu', bfloat16=False)


@pytest.mark.parametrize(
    ('flags', 'torch_says', 'device', 'chosen'),
    [
        ('flags : fpu avx512f avx512_bf16 amx_tile', True, 'cpu', 'bfloat16'),
        ('flags : fpu avx512f amx_tile amx_bf16', True, 'cpu', 'bfloat16'),
        ('Features : fp asimd bf16', True, 'cpu', 'bfloat16'),
        ('flags : fpu avx512f avx512_bf16', False, 'cpu', 'float32'),  # a torch without mkldnn
        ('flags : fpu avx512f', True, 'cpu', 'float32'),  # torch would emulate it
        ('flags : fpu avx2', False, 'cpu', 'float32'),
        ('flags : fpu avx512f avx512_bf16', True, 'cuda', 'float32'),
    ],
)
def test_a_run_takes_the_precision_that_the_processor_has_instructions_for(
    flags, torch_says, device, chosen, tmp_path, monkeypatch
):
    (tmp_path / 'cpuinfo').write_text(f'processor : 0\n{flags}\nbugs : some\n')
    asked = partial(cpu_amp.has_bfloat16_instructions, tmp_path / 'cpuinfo')
    monkeypatch.setattr(run_config, 'has_bfloat16_instructions', asked)
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: torch_says)
    monkeypatch.setattr(run_config, 'get_device', lambda: device)
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    assert run_config.use_quicker_precision(cfg).startswith(chosen)
    expected = CPUAmpOptimWrapper.__name__ if chosen == 'bfloat16' else 'OptimWrapper'
    assert cfg.optim_wrapper.type == expected


def test_a_processor_that_tells_nothing_has_no_such_instructions(tmp_path):
    assert not cpu_amp.has_bfloat16_instructions(tmp_path / 'absent')


def test_options_that_the_config_cannot_serve():
    with pytest.raises(ValueError, match='base_batch_size=N'):
        run_config.use_auto_scale_lr(Config(dict(auto_scale_lr=None)))
    with pytest.raises(ValueError, match='DetVisualizationHook'):
        run_config.use_visualization(Config(dict(default_hooks={})), True, None, 1.0)
    with pytest.raises(argparse.ArgumentTypeError, match=r'\.pkl.*got out\.json'):
        pickle_file('out.json')


WORKERS = dict(
    persistent_workers=True, prefetch_factor=4, timeout=5, multiprocessing_context='spawn'
)


@pytest.mark.parametrize('count', [dict(num_workers=0), dict(), dict(num_workers=1)])
def test_a_loader_without_workers_is_built_whatever_is_said_about_them(config, count):
    sampler = dict(type='DefaultSampler', shuffle=False)
    written = dict(batch_size=1, dataset=[1, 2], sampler=sampler, **count)
    read = read_config(
        config(), options={'train_dataloader': {'_delete_': True, **written, **WORKERS}}
    )
    loader = read.train_dataloader
    built = Runner.build_dataloader(loader, seed=0)
    if count.get('num_workers'):
        assert built.persistent_workers and built.prefetch_factor == 4 and built.timeout == 5
    else:
        assert not built.persistent_workers and list(built) == [[1], [2]]


def test_workers_may_be_switched_off_by_an_option(config):
    path = config(f'train_dataloader.update(dict(num_workers=2, **{WORKERS}))')
    loader = read_config(path, options=['train_dataloader.num_workers=0']).train_dataloader
    assert not loader.persistent_workers and 'prefetch_factor' not in loader
    assert read_config(path).train_dataloader.persistent_workers


PURE_PYTHON = """
from mmdet.datasets import XMLDataset
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Resize
from {module} import {name}

default_scope = None
model = dict(type={name})
load = [dict(type=LoadAnnotations, with_bbox=True), dict(type=Resize, scale=(8, 8))]
dataset = dict(type=XMLDataset, pipeline=[*load, dict(type=PackDetInputs)])
test_dataloader = dict(dataset=dataset)
"""


@pytest.mark.parametrize(('module', 'name'), [('mmdet.models', 'RetinaNet'), ('my_models', 'Mine')])
def test_a_config_in_pure_python_says_whose_it_is(config, tmp_path, monkeypatch, module, name):
    """The hosts' own have `default_scope = None`, since they hold classes."""
    own = 'from mmdet.models import RetinaNet\nclass Mine(RetinaNet):\n    pass\n'
    (tmp_path / 'my_models.py').write_text(own)
    monkeypatch.syspath_prepend(str(tmp_path))
    lines = PURE_PYTHON.format(name=name, module=module)
    path = tmp_path / 'pure.py'
    path.write_text(lines)
    cfg = read_config(path)
    assert cfg.default_scope == 'mmdet' and cfg.model.type.endswith(f'.{name}')
    use_tta(cfg)
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module.type.endswith(f'.{name}')
    # Others are left as they are.
    assert read_config(config('default_scope = None'))['default_scope'] is None
    assert 'default_scope' not in read_config(config())


ODD = "my data 100% {x} {0} $HOME [1] #2 'a' (b|c);&~ \u00fc \u6570\u636e \\n"


def test_a_path_may_hold_any_character(tmp_path, monkeypatch):
    """Of the config, its base, the data and the run: what is dumped says the same when read."""
    folder = tmp_path / ODD
    folder.mkdir()
    (folder / f'{ODD}.py').write_text(CONFIG + f'data_root = {str(folder)!r}\n')
    path = folder / 'my config.py'
    path.write_text(f'_base_ = {f"./{ODD}.py"!r}\n')
    cfg = read_config(path, data_root=str(folder), work_dir=folder / ODD)
    cfg.dump(folder / 'dumped.py')
    for read in (cfg, read_config(folder / 'dumped.py')):
        assert read.train_dataloader.dataset.dataset.data_root == str(folder)
        assert read.work_dir == str(folder / ODD)
    monkeypatch.chdir(folder)
    assert read_config('my config.py').work_dir == str(Path('work_dirs/my config'))
    monkeypatch.setenv('HOME', str(tmp_path))
    assert read_config('my config.py', work_dir='~/runs').work_dir == str(tmp_path / 'runs')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(work_dir=''), "--work-dir must be a path, but got ''"),
        (dict(options=['work_dir=']), "--work-dir must be a path, but got ''"),
        (dict(data_root=''), "--data-root must be a path, but got ''"),
        (dict(work_dir='a/{{b'), "--work-dir must not contain '{{'"),
        (dict(work_dir='a\udcff'), r'--work-dir must be a path in UTF-8, but got .*rename'),
        (dict(data_root='a\udcff'), r'--data-root must be a path in UTF-8'),
    ],
)
def test_a_path_that_no_config_can_hold_is_refused(config, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message) if '{{' in message else message):
        read_config(config(), **arguments)
