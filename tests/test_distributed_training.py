"""Two processes of the command lines do what one does with the same batches: real steps of YOLO.

Everything that makes parts of a batch differ from the whole is switched off: BatchNorm's
statistics stand still, the parts are equal, nothing is random, all images have one size.
"""

from __future__ import annotations

import os
import pickle
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hosts_tools import forget_last_run
from mmengine.config import Config
from torch.testing import assert_close
from torch_releases import NAMED_THREADS

from mmdet_ols.cli import test, train
from mmdet_ols.datasets.demo_voc import CLASSES, make_demo_voc
from mmdet_ols.engine import launch
from mmdet_ols.engine.launch import build_runner

ROOT = Path(__file__).parents[1]
NUM_IMAGES = {'VOC2007/trainval': 16, 'VOC2012/trainval': 1, 'VOC2007/test': 4}
SOFT_LABELS = 'bbox_head.loss_cls.state.soft_labels'
FLEXIBLE = ('runner_type=FlexibleRunner', 'strategy.type=DDPStrategy')

CONFIG = """
_base_ = 'mmdet::yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py'
custom_imports = dict(imports=['mmdet_ols', 'frozen_statistics'])
metainfo = dict(classes={classes!r})
model = dict(
    backbone=dict(init_cfg=None),
    bbox_head=dict(num_classes=9, loss_cls=dict(type='OLSLoss', num_classes=9)),
    test_cfg=dict(conf_thr=-1, score_thr=0.0),
)
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
resize = dict(type='Resize', scale=(96, 96), keep_ratio=False)
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
pack = dict(type='PackDetInputs', meta_keys=meta_keys)
train_dataloader = dict(
    _delete_=True,
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='XMLDataset',
        data_root={data!r},
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        metainfo=metainfo,
        pipeline=[*load, resize, pack],
    ),
)
val_dataloader = dict(
    _delete_=True,
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='XMLDataset',
        data_root={data!r},
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        metainfo=metainfo,
        test_mode=True,
        pipeline=[load[0], resize, load[1], pack],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='VOCMetric', metric='mAP')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1, val_interval=9)
param_scheduler = []
# Neither clipping nor weight decay: both would have to be scaled with the learning rate.
optim_wrapper = dict(
    clip_grad=None, optimizer=dict(_delete_=True, type='SGD', lr=1e-4, momentum=0.9)
)
default_hooks = dict(ols=dict(type='OLSHook'))
custom_hooks = [dict(type='FrozenStatistics')]
randomness = dict(seed=0)
"""


def run(*command, cwd=ROOT, **environment):
    env = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PYTHON': sys.executable,
        # For the hook; and the package of this checkout, whichever one is installed.
        'PYTHONPATH': os.pathsep.join([str(Path(__file__).parent), str(ROOT)]),
        **environment,
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=500,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    return output


def run_here(main, *words):
    """Run a command line in this process, since one of its own would first import everything."""
    forget_last_run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['tool.py', *map(str, words)])
        main()


def train_alone(config, work_dir, *options):
    options = ('--cfg-options', *options) if options else ()
    run_here(train.main, config, '--work-dir', work_dir, *options)


def train_in_two(config, work_dir, *options, resume=(), cwd=ROOT):
    """Half of each batch a process. DDP averages the two gradients of a loss that is summed over
    the batch, so the learning rate is twice that of one process."""
    return run(
        ROOT / 'tools/dist_train.sh', config, 2, '--work-dir', work_dir, *resume, '--cfg-options',
        'train_dataloader.batch_size=2', 'optim_wrapper.optimizer.lr=2e-4', *options, cwd=cwd,
    )  # fmt: skip


def load(path):
    checkpoint = torch.load(path, map_location='cpu', weights_only=False)
    # FlexibleRunner saves the names that weights have inside DDP; MMEngine strips them on loading.
    state = {key.removeprefix('module.'): value for key, value in checkpoint['state_dict'].items()}
    assert len(state) == len(checkpoint['state_dict'])  # no name comes twice, with and without
    assert not state['bbox_head.loss_cls.state.prob_sum'].any()
    return state


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('two')
    make_demo_voc(folder / 'demo', num_images=NUM_IMAGES)
    path = folder / 'yolo.py'
    path.write_text(CONFIG.format(classes=CLASSES, data=str(folder / 'demo')))
    return path


@pytest.fixture(scope='module')
def start(config, tmp_path_factory):
    """Weights and statistics that a short training with live BatchNorm has left."""
    work_dir = tmp_path_factory.mktemp('start')
    own = work_dir / 'start.py'
    own.write_text(
        f'_base_ = {str(config)!r}\ncustom_hooks = []\ntrain_cfg = dict(max_epochs=6)\n'
        "optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-3))\n"
    )
    train_alone(own, work_dir)
    return work_dir / 'epoch_6.pth'


@pytest.fixture(scope='module')
def alone(config, start, tmp_path_factory):
    """The two epochs of one process."""
    work_dir = tmp_path_factory.mktemp('alone')
    train_alone(config, work_dir, f'load_from={start}', 'train_cfg.max_epochs=2')
    return work_dir


@pytest.fixture(scope='module')
def in_two(config, start, tmp_path_factory):
    """The first epoch of two processes, started from another folder."""
    work_dir = tmp_path_factory.mktemp('in_two')
    with socket.socket() as taken, suppress(OSError):
        taken.bind(('127.0.0.1', 29500))  # the port that torch takes by default
        taken.listen()
        train_in_two(config, work_dir, f'load_from={start}', cwd=config.parent)
    return work_dir


def movement(path, start):
    """What the training since `start` has changed of the weights, as one vector."""
    before, after = load(start), load(path)
    return torch.cat(
        [
            (after[name] - before[name]).flatten()
            for name in sorted(before)
            if name.endswith(('.weight', '.bias'))
        ]
    )


def agree(path, expected, start):
    """The soft labels are those of one process, and so is every step behind them."""
    one, two = movement(expected, start), movement(path, start)
    assert one.norm() > 1e-3  # there were steps
    # Sums of float32 in another order give 1e-6; half the learning rate gives 0.5.
    assert (two - one).norm() < 1e-4 * one.norm()
    labels = load(expected)[SOFT_LABELS]
    assert (labels - 1 / 9).abs().max() > 1e-2  # something was learned from
    assert (labels - load(start)[SOFT_LABELS]).abs().max() > 1e-3
    assert_close(load(path)[SOFT_LABELS], labels, rtol=1e-4, atol=1e-6)


def test_runner(in_two, alone, start):
    agree(in_two / 'epoch_1.pth', alone / 'epoch_1.pth', start)


def with_strategy(config, folder, strategy):
    """The strategy of the shipped config, on the model and the data of this file."""
    shipped = (ROOT / f'configs/strategies/yolo_ols_voc_{strategy}.py').read_text()
    path = folder / f'{strategy}.py'
    path.write_text(shipped.replace("'../yolo_ols_voc.py'", repr(str(config))))
    return path


def test_flexible_runner(config, alone, start, tmp_path):
    mixed = with_strategy(config, tmp_path, 'ddp')
    output = train_in_two(mixed, tmp_path, f'load_from={start}')
    # A thread that outlives Python's own end may abort the process.
    if NAMED_THREADS and not torch.cuda.is_available():  # with a GPU it is nccl
        assert re.findall(r'gloo threads in training: (\d+)\.', output) == ['2', '2']
    assert re.findall(r'gloo threads at exit: (\d+)\.', output) == ['0', '0']
    assert len(re.findall('rolled over at epoch', output)) == 1
    agree(tmp_path / 'epoch_1.pth', alone / 'epoch_1.pth', start)


def test_resuming_in_the_other_runner(config, in_two, alone, start, tmp_path):
    resume = ('--resume', in_two / 'epoch_1.pth')
    output = train_in_two(config, tmp_path, 'train_cfg.max_epochs=2', *FLEXIBLE, resume=resume)
    assert re.findall(r'rolled over at epoch (\d+)', output) == ['2']
    agree(tmp_path / 'epoch_2.pth', alone / 'epoch_2.pth', start)


def test_testing_gives_the_same_in_every_way(config, start, tmp_path, capsys):
    def here(*words):
        run_here(test.main, config, start, *words)
        return ''.join(capsys.readouterr())

    ways = {
        'one': here,
        'two': lambda *words: run('tools/dist_test.sh', config, start, 2, *words),
        'flexible': lambda *words: here(*words, '--cfg-options', 'runner_type=FlexibleRunner'),
    }
    results, scores = [], set()
    for name, way in ways.items():
        out = tmp_path / f'{name}.pkl'
        output = way('--work-dir', tmp_path, '--out', out)
        printed = re.findall(r'pascal_voc/mAP: ([\d.]+)', output)
        assert printed
        scores.update(printed)
        results.append({item['img_path']: item for item in pickle.loads(out.read_bytes())})
    assert len(scores) == 1
    one = results[0]
    assert len(one) == NUM_IMAGES['VOC2007/test']
    for other in results[1:]:
        assert [*other] == [*one]
        for path, item in one.items():
            assert len(item['pred_instances']['scores']) > 0
            assert_close(other[path]['pred_instances'], item['pred_instances'])


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
@pytest.mark.parametrize('strategy', ['FSDPStrategy', 'DeepSpeedStrategy'])
def test_strategies_that_need_a_gpu_say_so(monkeypatch, strategy):
    monkeypatch.setenv('RANK', '0')  # as torchrun does
    cfg = Config(
        dict(launcher='pytorch', runner_type='FlexibleRunner', strategy=dict(type=strategy))
    )
    with pytest.raises(ValueError, match=f'{strategy} needs a GPU'):
        build_runner(cfg)


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_launchers_that_need_a_gpu_say_so(monkeypatch, launcher):
    monkeypatch.setenv(launch.STARTED_BY[launcher][0], '0')
    with pytest.raises(ValueError, match=rf'{launcher} gives each .* GPU.*pass --launcher pyt'):
        build_runner(Config(dict(launcher=launcher)))


@pytest.mark.parametrize('unused', [True, False])
def test_flexible_runner_hears_of_unused_parameters(monkeypatch, unused):
    """MobileNetV2 has some, and DDP stops at its second step where it was not told."""
    built = []
    monkeypatch.setenv('RANK', '0')  # as torchrun does
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(launch.RUNNERS, 'build', lambda cfg: built.append(cfg))
    for more in (dict(strategy=dict(type='DDPStrategy')), {}):  # the latter is MMEngine's own
        cfg = dict(runner_type='FlexibleRunner', launcher='pytorch', **more)
        build_runner(Config(dict(cfg, find_unused_parameters=unused)))
        wrapper = built.pop().get('strategy', {}).get('model_wrapper', {})
        assert wrapper.get('find_unused_parameters', False) == unused
        assert not wrapper or wrapper['broadcast_buffers'] is False  # as without unused ones


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('strategy', ['ddp', 'fsdp', 'deepspeed'])
def test_strategies_on_gpus(config, alone, start, tmp_path, strategy):
    """One process a GPU, up to two; the soft labels after an epoch are those of one process."""
    if strategy == 'deepspeed':
        pytest.importorskip('deepspeed')
    processes = min(2, torch.cuda.device_count())
    mixed = with_strategy(config, tmp_path, strategy)
    run(
        ROOT / 'tools/dist_train.sh', mixed, processes, '--work-dir', tmp_path / 'work',
        # Not load_from, where DeepSpeed expects a folder of its own.
        '--cfg-options', 'model.init_cfg.type=Pretrained', f'model.init_cfg.checkpoint={start}',
        f'train_dataloader.batch_size={4 // processes}',
        f'optim_wrapper.optimizer.lr={1e-4 * processes}',
    )  # fmt: skip
    saved = tmp_path / 'work/epoch_1.pth'
    if strategy == 'deepspeed':  # a folder, with the model in the file of the first rank
        model = torch.load(saved / 'mp_rank_00_model_states.pt', weights_only=False)['module']
        labels = model[SOFT_LABELS].cpu()
    else:
        labels = load(saved)[SOFT_LABELS]
    # Other kernels on a GPU than on a CPU, in one process too.
    assert_close(labels, load(alone / 'epoch_1.pth')[SOFT_LABELS], rtol=1e-2, atol=1e-3)
