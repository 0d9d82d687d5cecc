"""The command lines, run as a user runs them: a few images, small, few epochs."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from PIL import Image

from mmdet_ols.cli import plot_soft_labels, test, train
from mmdet_ols.datasets.demo_voc import CLASSES, make_demo_voc

ROOT = Path(__file__).parents[2]
SOFT_LABELS = 'bbox_head.loss_cls.state.soft_labels'
NUM_IMAGES = {'VOC2007/trainval': 8, 'VOC2012/trainval': 6, 'VOC2007/test': 4}


def run(*command, ok=True, **environment):
    """Run a command of the project; return everything that it printed."""
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, **environment}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    output = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, output[-6000:]
    return output


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def tool(name, *arguments, **kwargs):
    return run(sys.executable, f'tools/{name}', *arguments, **kwargs)


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """A small demo set, and the options that point the demo config to it."""
    root = tmp_path_factory.mktemp('data') / "a $demo's {data}, Größe 1"
    make_demo_voc(root, num_images=NUM_IMAGES)
    return root


def options(root, **more):
    """Overrides for a run of seconds: small images, few workers; as a user would type them."""
    values = {
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'val_dataloader.num_workers': 0,
        'val_dataloader.persistent_workers': False,
        'test_dataloader.num_workers': 0,
        'test_dataloader.persistent_workers': False,
        'train_cfg.max_epochs': 2,
        'train_cfg.val_interval': 2,
        'randomness.seed': 0,
        **more,
    }
    return [
        '--data-root',
        root,
        '--cfg-options',
        *(f'{key}={value}' for key, value in values.items()),
    ]


@pytest.fixture(scope='module')
def trained(demo, tmp_path_factory):
    """The work directory of a finished run of two epochs, and what it printed."""
    work_dir = tmp_path_factory.mktemp('work')
    drawn = options(demo, **{'default_hooks.ols.draw_interval': 2})
    return work_dir, tool('train.py', 'configs/yolo_ols_demo.py', '--work-dir', work_dir, *drawn)


def checkpoint(work_dir):
    return Path((work_dir / 'last_checkpoint').read_text())


def load(path):
    return torch.load(path, map_location='cpu', weights_only=False)


def test_training_prints_the_map_of_every_class_and_leaves_a_checkpoint(trained):
    work_dir, output = trained
    # As area under the curve, and at 11 points.
    assert re.findall(r'^\| (\w+) +\| \d+', output, re.M) == [*CLASSES, *CLASSES]
    assert re.search(r'^\| mAP +\|', output, re.M)
    assert len(re.findall('rolled over at epoch', output)) == 2
    saved = load(checkpoint(work_dir))
    assert saved['meta']['dataset_meta']['classes'] == CLASSES
    soft_labels = saved['state_dict'][SOFT_LABELS]
    torch.testing.assert_close(soft_labels.sum(1), torch.ones(9))
    assert len(list(work_dir.glob('*/vis_data/vis_image/soft_labels_*_2.png'))) == 1


def test_resuming_goes_on_and_a_finished_run_is_left_alone(demo, trained, tmp_path, command):
    work_dir, _ = trained
    more = options(demo, **{'train_cfg.max_epochs': 3, 'train_cfg.val_interval': 9})
    output = command(
        train.main, 'configs/yolo_ols_demo.py', '--resume', checkpoint(work_dir),
        '--work-dir', tmp_path, *more,
    )  # fmt: skip
    assert re.findall(r'rolled over at epoch (\d+)', output) == ['3']
    again = command(
        train.main, 'configs/yolo_ols_demo.py', '--resume', '--work-dir', tmp_path, *more
    )
    assert 'Auto resumed' in again and 'rolled over' not in again
    assert 'has all 3 epochs behind it: nothing is left to train' in again


def test_testing_with_and_without_augmentation(demo, trained, tmp_path, command):
    work_dir, _ = trained
    out, images = tmp_path / 'predictions.pkl', tmp_path / 'images'
    # After two epochs of a few images no score reaches the usual thresholds.
    everything = {'model.test_cfg.conf_thr': -1, 'model.test_cfg.score_thr': 0.0}
    one_by_one = {'test_dataloader.batch_size': 1}  # a batch's padding is seen at the borders
    command(
        test.main, 'configs/yolo_ols_demo.py', checkpoint(work_dir), '--work-dir', tmp_path,
        '--out', out, '--show-dir', images, *options(demo, **everything, **one_by_one),
    )  # fmt: skip
    predicted = pickle.loads(out.read_bytes())
    assert len(predicted) == len(list(images.glob('*.jpg'))) == NUM_IMAGES['VOC2007/test']
    detector = init_detector(
        'configs/yolo_ols_demo.py', str(checkpoint(work_dir)), device='cpu', cfg_options=everything
    )
    alone = inference_detector(detector, predicted[0]['img_path']).pred_instances
    assert len(alone) > 0
    # Scores, not boxes: among near-equal scores rounding decides about the order.
    scores = predicted[0]['pred_instances']['scores']
    torch.testing.assert_close(scores, alone.scores, rtol=1e-3, atol=1e-7)
    augmented = command(
        test.main, 'configs/yolo_ols_demo.py', checkpoint(work_dir), '--work-dir', tmp_path,
        '--tta', *options(demo, **everything),
    )  # fmt: skip
    assert re.search(r'^\| mAP +\|', augmented, re.M)


@pytest.mark.parametrize('method', ['hard', 'ols'])
def test_the_voc_configs_train_on_data_in_vocs_layout(demo, tmp_path, method, command):
    """Four of the demo's classes have VOC's names; the others are counted and left out."""
    few = [f'train_dataloader.dataset.datasets.{index}.indices=2' for index in (0, 1)]
    output = command(
        train.main, f'configs/yolo_{method}_voc.py', '--work-dir', tmp_path, *options(demo),
        'model.backbone.init_cfg=None', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1', *few,
    )  # fmt: skip
    rows = re.findall(r'^\| (\w+) +\| (\d+)', output, re.M)
    assert len(rows) == 2 * 20 and rows[0][0] == rows[20][0] == 'aeroplane'
    named = {'car', 'bus', 'cat', 'dog'}
    assert {name for name, count in rows if int(count)} <= named
    unknown = re.findall(
        r'objects of (\d+) classes that `metainfo.classes` .* name: (.*)\.', output
    )
    assert len(unknown) == 3 and not named & set(re.findall(r'(\w+) \(', unknown[0][1]))
    saved = load(checkpoint(tmp_path))['state_dict']
    assert (SOFT_LABELS in saved) == (method == 'ols')


def test_plotting_names_the_classes_and_says_where_the_picture_lies(trained, tmp_path, command):
    work_dir, _ = trained
    output = command(plot_soft_labels.main, checkpoint(work_dir), '--out-dir', tmp_path, '--top', 3)
    pairs = re.findall(r'([\d.]+)%  of (\w+) +is taken for (\w+)', output)
    matrix = load(checkpoint(work_dir))['state_dict'][SOFT_LABELS]
    assert len(pairs) == 3
    for share, true, other in pairs:
        value = matrix[CLASSES.index(true), CLASSES.index(other)].item()
        assert float(share) == pytest.approx(100 * value, abs=0.005)
    assert float(pairs[0][0]) == pytest.approx(
        100 * (matrix - torch.eye(9)).max().item(), abs=0.005
    )
    picture = Image.open(re.search(r'Heat map: (.+\.png)', output)[1])
    assert np.asarray(picture).std() > 10


@pytest.mark.parametrize(
    ('main', 'arguments', 'message'),
    [
        (train.main, ['configs/yolo_ols_voc.py'], r'data/VOCdevkit/ does not exist.*--data-root'),
        (train.main, ['configs/yolo_ols_own.py'], r'expected this layout'),
        (
            train.main,
            ['configs/yolo_ols_voc.py', '--cfg-options', 'a'],
            r"KEY=VALUE, but got 'a'",
        ),
        (test.main, ['configs/yolo_hard_voc.py', 'absent.pth'], r'absent\.pth|does not exist'),
        (test.main, ['configs/yolo_hard_voc.py', ''], "CHECKPOINT must be a path, but got ''"),
        (test.main, ['a.py', 'b.pth', '--show-dir', ''], "--show-dir must be a path, but got ''"),
        (train.main, ['a.py', '--resume', ''], "--resume must be a path, but got ''"),
        (plot_soft_labels.main, ['absent.pth'], r'no checkpoint file absent\.pth'),
    ],
)
def test_bad_input_is_a_message_not_a_traceback(main, arguments, message, command):
    output = command(main, *arguments, ok=False)
    assert re.search(rf'(?s)(^|tool.py: )error: .*{message}', output, re.M)


def test_an_error_ends_the_process_without_a_traceback():
    output = tool('plot_soft_labels.py', 'absent.pth', ok=False)
    assert re.search(r'^error: ', output, re.M)  # after warnings of a host, on some releases
    assert 'Traceback' not in output


def test_a_checkpoint_of_other_classes_is_refused_for_testing_and_resuming(
    demo, trained, tmp_path, command
):
    work_dir, _ = trained
    names = [name for name in CLASSES if name != 'fox']
    config = tmp_path / 'eight.py'
    config.write_text(
        f'_base_ = {str(ROOT / "configs/yolo_ols_demo.py")!r}\n'
        f'metainfo = dict(classes={names!r})\n'
        'model = dict(bbox_head=dict(num_classes=8, loss_cls=dict(num_classes=8)))\n'
        'train_dataloader = _base_.train_dataloader\n'
        'train_dataloader.dataset.datasets[0].metainfo = metainfo\n'
        'train_dataloader.dataset.datasets[1].metainfo = metainfo\n'
        'val_dataloader = dict(dataset=dict(metainfo=metainfo))\n'
        'test_dataloader = dict(dataset=dict(metainfo=metainfo))\n'
    )
    more = options(demo)
    output = command(test.main, config, checkpoint(work_dir), *more, ok=False)
    assert re.search(r'error: To test with .* 9 classes: apple, peach', output)
    resume = (train.main, config, '--resume', checkpoint(work_dir), '--work-dir', tmp_path, *more)
    assert re.search(r'error: To resume with .* 9 classes: apple', command(*resume, ok=False))


CLASSIFIER = """
_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['mmdet_ols'])
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=2, mean=[0, 0, 0], std=[255, 255, 255]),
    backbone=dict(type='ResNet_CIFAR', depth=18, num_stages=4, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=2, in_channels=512,
        loss=dict(type='OLSLoss', num_classes=2), topk=(1,),
    ),
)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
loader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={root!r}, pipeline=pipeline),
)
train_dataloader = val_dataloader = test_dataloader = loader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
val_cfg = test_cfg = dict()
default_hooks = dict(ols=dict(type='OLSHook'))
"""


def test_classification_configs_are_served_alike(tmp_path, command):
    rng = np.random.default_rng(0)
    for name, level in (('dark', 60), ('light', 190)):
        (tmp_path / 'data' / name).mkdir(parents=True)
        for index in range(8):
            pixels = rng.normal(level, 20, (16, 16, 3)).clip(0, 255).astype('uint8')
            Image.fromarray(pixels).save(tmp_path / 'data' / name / f'{index}.png')
    config = tmp_path / 'classifier.py'
    config.write_text(CLASSIFIER.replace('{root!r}', repr(str(tmp_path / 'data'))))
    output = command(train.main, config, '--work-dir', tmp_path / 'work')
    assert len(re.findall('rolled over at epoch', output)) == 2
    path = checkpoint(tmp_path / 'work')
    out, images = tmp_path / 'predictions.pkl', tmp_path / 'images'
    tested = command(
        test.main, config, path, '--work-dir', tmp_path / 'work', '--out', out,
        '--show-dir', images,
    )  # fmt: skip
    assert len(list(images.iterdir())) == 8  # MMPretrain names them like the images of any class
    accuracy = [re.findall(r'accuracy/top1: ([\d.]+)', text)[-1] for text in (output, tested)]
    assert accuracy[0] == accuracy[1]
    assert len(pickle.loads(out.read_bytes())) == 16
    command(test.main, config, path, '--work-dir', tmp_path / 'work', '--tta')
    full = command(test.main, config, path, '--out', config / 'predictions.pkl', ok=False)
    assert 'error: The folder of the predictions must be a folder that' in full
    plot = command(plot_soft_labels.main, path)
    assert 'is taken for' in plot and re.search(r'of dark +is taken for light', plot)
