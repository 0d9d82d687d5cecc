"""What the command lines make of their options."""

import argparse

import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import Compose
from PIL import Image

from mmdet_ols import config_path
from mmdet_ols.cli.options import pickle_file
from mmdet_ols.engine import run_config
from mmdet_ols.engine.cpu_amp import CPUAmpOptimWrapper


def test_default_augmentation_leaves_the_ground_truth_as_it_is(tmp_path):
    """Metrics compare with the annotations of the first view, which is the mirrored one."""
    register_all_modules()
    Image.new('RGB', (200, 100)).save(tmp_path / 'image.png')
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs', meta_keys=('img_id',)),
    ]
    dataset = dict(type='Repeat', dataset=dict(pipeline=pipeline))
    cfg = Config(
        dict(default_scope='mmdet', model=dict(type='A'), test_dataloader=dict(dataset=dataset))
    )
    run_config.use_tta(cfg)
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module.type == 'A'
    steps = Compose(
        [TRANSFORMS.build(step) for step in cfg.test_dataloader.dataset.dataset.pipeline]
    )
    box = [10.0, 10.0, 30.0, 30.0]
    views = steps(
        dict(
            img_path=str(tmp_path / 'image.png'),
            img_id=1,
            instances=[dict(bbox=box, bbox_label=0, ignore_flag=0)],
        )
    )
    assert [sample.flip for sample in views['data_samples']] == [True, False]
    for sample in views['data_samples']:
        torch.testing.assert_close(sample.gt_instances.bboxes.tensor, torch.tensor([box]))


def test_augmented_tests_of_a_config_without_its_own_take_three_sizes(tmp_path):
    Image.new('RGB', (200, 100)).save(tmp_path / 'image.png')
    cfg = Config.fromfile(config_path('heads/fcos_ols.py'))
    assert 'tta_pipeline' not in cfg
    run_config.use_tta(cfg)
    steps = Compose([TRANSFORMS.build(step) for step in cfg.test_dataloader.dataset.pipeline])
    box = [10.0, 10.0, 30.0, 30.0]
    views = steps(
        dict(
            img_path=str(tmp_path / 'image.png'),
            img_id=1,
            instances=[dict(bbox=box, bbox_label=0, ignore_flag=0)],
        )
    )['data_samples']
    # 1333 x 800 pixels at most: a factor of 6.665, and three and five quarters of it.
    widths = sorted((sample.img_shape[1], sample.flip) for sample in views)
    expected = [
        (1000, False),
        (1000, True),
        (1333, False),
        (1333, True),
        (1666, False),
        (1666, True),
    ]
    assert widths == expected
    for sample in views:
        torch.testing.assert_close(sample.gt_instances.bboxes.tensor, torch.tensor([box]))


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
    assert used('cuda') == dict(type='AmpOptimWrapper', loss_scale=512.0)
    assert used('cpu') == dict(type=CPUAmpOptimWrapper.__name__)
    with pytest.raises(ValueError, match='bfloat16 instructions'):
        used('cpu', bfloat16=False)


def test_options_that_the_config_cannot_serve():
    with pytest.raises(ValueError, match='base_batch_size=N'):
        run_config.use_auto_scale_lr(Config(dict(auto_scale_lr=None)))
    with pytest.raises(ValueError, match='DetVisualizationHook'):
        run_config.use_visualization(Config(dict(default_hooks={})), True, None, 1.0)
    with pytest.raises(argparse.ArgumentTypeError, match=r'\.pkl.*got out\.json'):
        pickle_file('out.json')
