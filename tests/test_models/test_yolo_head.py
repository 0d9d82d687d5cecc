"""BatchMeanYOLOV3Head: MMDetection's head with losses that follow the size of the batch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from mmdet.models.dense_heads import YOLOV3Head
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.structures import InstanceData

import mmdet_ols


def head_of(config, *, host=False, batch_size=1):
    """The head of a VOC config; or the host's, with every weight divided by the batch size."""
    register_all_modules(init_default_scope=True)
    model = Config.fromfile(mmdet_ols.config_path(config)).model
    if host:
        model.bbox_head.type = 'YOLOV3Head'
        for name in ('loss_cls', 'loss_conf', 'loss_xy', 'loss_wh'):
            model.bbox_head[name].loss_weight /= batch_size
    return MODELS.build(dict(model.bbox_head, train_cfg=model.train_cfg)).train()


def batch(images, num_classes=20):
    """Predictions at three scales for images of 64 pixels, with two objects each."""
    draws = torch.Generator().manual_seed(images)
    maps = [
        torch.randn(images, 3 * (5 + num_classes), side, side, generator=draws).requires_grad_()
        for side in (2, 4, 8)
    ]
    objects = []
    for _ in range(images):
        corner = 30 * torch.rand(2, 2, generator=draws)
        extent = 10 + 20 * torch.rand(2, 2, generator=draws)
        labels = torch.randint(num_classes, (2,), generator=draws)
        objects.append(InstanceData(bboxes=torch.cat([corner, corner + extent], 1), labels=labels))
    return maps, objects


def losses_and_gradients(head, images):
    maps, objects = batch(images)
    losses = head.loss_by_feat(maps, objects, [{}] * images)
    total = torch.stack([loss for scales in losses.values() for loss in scales]).sum()
    return losses, torch.autograd.grad(total, maps)


@pytest.mark.parametrize('config', ['yolo_hard_voc.py', 'yolo_ls_voc.py', 'yolo_ols_voc.py'])
def test_losses_are_the_hosts_divided_by_the_number_of_images(config):
    ours = head_of(config)
    assert isinstance(ours, YOLOV3Head) and type(ours) is not YOLOV3Head
    for images in (1, 3, 8):
        host = head_of(config, host=True, batch_size=images)
        ours = head_of(config)
        actual, expected = (losses_and_gradients(head, images) for head in (ours, host))
        torch.testing.assert_close(actual, expected)
        assert all(gradient.any() for gradient in actual[1])
        if config == 'yolo_ols_voc.py':
            states = [head.loss_cls for head in (ours, host)]
            assert states[0].sample_count.sum() > 0
            for name in ('prob_sum', 'correct_count', 'sample_count', 'soft_labels'):
                torch.testing.assert_close(*(getattr(state, name) for state in states))


def test_a_loss_that_is_no_sum_is_refused():
    register_all_modules(init_default_scope=True)
    model = Config.fromfile(mmdet_ols.config_path('yolo_hard_voc.py')).model
    model.bbox_head.loss_xy.reduction = 'mean'
    with pytest.raises(ValueError, match=r"`loss_xy`.* reduction='sum'.* but got 'mean'.*YOLOV3H"):
        MODELS.build(model.bbox_head)


def test_the_package_does_not_import_mmdetection():
    code = "import sys, mmdet_ols; assert not {'mmdet', 'mmcv'} & set(sys.modules)"
    subprocess.run([sys.executable, '-c', code], check=True)
