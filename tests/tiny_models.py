"""Detectors of MMDetection's own configs, small enough to train a step on a CPU in a moment."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import mmdet
import mmpretrain
import numpy as np
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

HOSTS = dict(mmdet=mmdet, mmpretrain=mmpretrain)
NUM_CLASSES = 3
#: The most that a number may be in the config of a small head.
AT_MOST = dict(
    stacked_convs=1,
    fc_out_channels=32,
    conv_out_channels=32,
    feedforward_channels=32,
    num_queries=12,
    num_proposals=12,
    num_blocks=1,
    num_convs=1,
    num_cls_fcs=1,
    num_fcs=2,
    cls_out_channels=32,
)
#: Channels of a ResNet-50's stages, and those of the small ResNet.
CHANNELS = {256: 8, 512: 16, 1024: 32, 2048: 64}


def read_host(path: str, host: str = 'mmdet') -> Config:
    """A config that a host ships."""
    return Config.fromfile(Path(HOSTS[host].__file__).parent / '.mim/configs' / path)


def shrink(cfg: Config) -> Config:
    """A detector with three classes, a small backbone, and narrow heads of few layers."""
    cfg = deepcopy(cfg)
    model = cfg.model
    model.data_preprocessor.pop('batch_augments', None)
    model.backbone.init_cfg = None
    if model.backbone.type == 'ResNet':
        _shrink_resnet(model)
    for key in ('neck', 'encoder', 'decoder', 'bbox_head', 'roi_head', 'mask_head'):
        _shrink_part(model.get(key))
    _shrink_part(model.get('panoptic_head'))
    if 'num_queries' in model:
        model.num_queries = AT_MOST['num_queries']
    if 'roi_head' in model:
        _shrink_stages(model)
    return cfg


def build(cfg: Config) -> nn.Module:
    """The model of a config with random weights, the same ones whatever its losses are."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(deepcopy(cfg.model))
    model.train()
    for name, value in model.named_parameters():
        if re.search(r'(cls|conv_logits|convs_pred)[^.]*(\.\d)*\.weight$', name):
            # Scores as far apart as after some training, where losses differ.
            nn.init.normal_(value, std=0.3)
        elif name.endswith('level_embed'):  # otherwise left to init_weights()
            nn.init.normal_(value)
    for module in model.modules():
        if hasattr(module, 'init_proposal_bboxes'):
            with torch.no_grad():
                module.init_proposal_bboxes.weight.copy_(torch.tensor([0.5, 0.5, 1, 1]))
    return model


def train_step(model: nn.Module, side: int = 64) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The losses of a step on made-up images, and the gradients of all parameters."""
    torch.manual_seed(1)
    np.random.seed(1)
    head = type(getattr(model, 'bbox_head', None)).__name__
    with_mask = head != 'RTMDetSepBNHead'  # whose assigner takes masks for an instance head's
    batch = demo_mm_inputs(
        2, (3, side, side), num_items=[3, 2], num_classes=NUM_CLASSES, with_mask=with_mask
    )
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    losses = {
        key: sum(value) if isinstance(value, list) else value
        for key, value in losses.items()
        if 'loss' in key
    }
    sum(value.sum() for value in losses.values()).backward()
    return losses, {name: value.grad for name, value in model.named_parameters()}


def _shrink_resnet(model: Any) -> None:
    model.backbone.update(depth=18, base_channels=8, style='pytorch')
    for key in ('dcn', 'stage_with_dcn', 'plugins'):
        model.backbone.pop(key, None)
    neck = model.get('neck') or []
    parts = neck if isinstance(neck, list) else [neck]
    readers = [part for part in parts if part.type in ('FPN', 'ChannelMapper', 'DilatedEncoder')]
    if not parts:
        readers = [model.panoptic_head]
    for part in readers:
        channels = part.in_channels
        if isinstance(channels, list):
            part.in_channels = [CHANNELS[channel] for channel in channels]
        else:
            part.in_channels = CHANNELS[channels]


def _shrink_part(node: Any) -> None:
    if isinstance(node, (list, tuple)):
        for child in node:
            _shrink_part(child)
    elif isinstance(node, dict):
        for key, value in list(node.items()):
            if key == 'num_classes' and value > 1:
                node[key] = NUM_CLASSES
            elif key == 'num_layers' and value > 3:
                node[key] = 2
            elif key == 'dynamic_conv_cfg':
                value.feat_channels = 8
            elif key in AT_MOST and isinstance(value, int):
                node[key] = min(value, AT_MOST[key])
            else:
                _shrink_part(value)


def _shrink_stages(model: Any) -> None:
    """Few samples a stage, and two stages of six."""
    head, rcnn = model.roi_head, model.train_cfg.rcnn
    for stage in rcnn if isinstance(rcnn, list) else [rcnn]:
        if 'sampler' in stage:
            stage.sampler.num = 16
    if head.get('num_stages', 0) > 3:
        head.update(num_stages=2, stage_loss_weights=head.stage_loss_weights[:2])
        model.train_cfg.rcnn = rcnn[:2]
        for key in ('bbox_head', 'mask_head'):
            if key in head:
                head[key] = head[key][:2]
