"""The networks of the paper, built by MMPretrain from the shipped configs."""

from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from mmpretrain.utils import register_all_modules
from torch import nn
from torch.testing import assert_close

import mmdet_ols

FOLDER = Path(mmdet_ols.config_path('_base_/models/resnet50.py')).parent
CLASSIFIERS = {
    # Classes: parameters, of the networks that the authors released or torchvision documents
    'resnet8_cifar': {10: 78_042},
    'resnet18_narrow': {10: 2_801_450},  # ResNet-18 with 32 to 256 channels, summed up by hand
    'resnet29_cifar': {10: 313_114, 100: 336_244},
    'resnet56_cifar': {10: 591_322, 100: 614_452},
    'resnet74_cifar': {10: 776_794, 100: 799_924},
    'resnet110_cifar': {10: 1_147_738, 100: 1_170_868},
    'resnet34_cifar': {100: 21_328_292},
    'resnet50_cifar': {100: 23_705_252},
    'resnet101_cifar': {100: 42_697_380},
    'resnext29_2x64d_cifar': {100: 9_221_028},
    'resnext29_32x4d_cifar': {100: 4_866_468},
    'resnet50': {1000: torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta['num_params']},
    'resnet101': {1000: torchvision.models.ResNet101_Weights.IMAGENET1K_V1.meta['num_params']},
    'resnet50_pretrained': {
        1000: torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta['num_params']
    },
    'mobilenetv2_pretrained': {
        1000: torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.meta['num_params']
    },
    'efficientnet_b7_pretrained': {
        1000: torchvision.models.EfficientNet_B7_Weights.IMAGENET1K_V1.meta['num_params']
    },
    'san15_pretrained': {1000: 14_065_436},
}


@pytest.fixture(autouse=True)
def _scope():
    register_all_modules()


@pytest.fixture
def _undrawn(monkeypatch):
    """Leaves weights as they lie in memory: drawing those of the large networks takes seconds."""
    monkeypatch.setattr(nn.init, 'kaiming_uniform_', lambda tensor, **_: tensor)


def read(name, num_classes, **backbone):
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    cfg.model.head.num_classes = num_classes
    cfg.model.backbone.update(backbone)
    return cfg


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_config_is_counted():
    assert {path.stem for path in FOLDER.glob('*.py')} == set(CLASSIFIERS)


@pytest.mark.parametrize(
    ('name', 'classes', 'count'),
    [(name, *counts) for name in CLASSIFIERS for counts in CLASSIFIERS[name].items()],
)
@pytest.mark.usefixtures('_undrawn')
def test_number_of_parameters(name, classes, count):
    cfg = read(name, classes)
    # Bases that share a key cannot be combined.
    assert set(cfg.keys()) - {'channels_last'} == {'model'}
    assert parameters(MODELS.build(cfg.model)) == count
    # The loss is the plain one, and the only place that a method changes.
    assert cfg.model.head.loss == dict(type='CrossEntropyLoss', loss_weight=1.0)


@pytest.mark.parametrize(('depth', 'count'), [(56, 861_620), (74, 1_153_268), (110, 1_736_564)])
def test_number_of_parameters_of_basic_blocks(depth, count):
    cfg = read(f'resnet{depth}_cifar', 100, block='basic')
    cfg.model.head.in_channels = 64
    assert parameters(MODELS.build(cfg.model)) == count


@pytest.mark.usefixtures('_undrawn')
def test_torchvisions_weights_fit_the_pretrained_resnet():
    model = MODELS.build(read('resnet50_pretrained', 200).model)
    with torch.device('meta'):
        source = torchvision.models.resnet50()
    shapes = [
        {name: value.shape for name, value in network.state_dict().items()}
        for network in (model.backbone, source)
    ]
    assert shapes[0] == {k: v for k, v in shapes[1].items() if not k.startswith('fc.')}


def test_a_classifier_trains_and_predicts():
    cfg = read('resnet29_cifar', 10, depth=11)
    cfg.model.data_preprocessor = dict(mean=[127] * 3, std=[64] * 3)
    model = MODELS.build(cfg.model)
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    model.init_weights()  # MMEngine has nothing to add to how they were drawn
    assert_close(dict(model.backbone.state_dict()), before)
    batch = dict(
        inputs=torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8),
        data_samples=[DataSample().set_gt_label(label) for label in (1, 5, 9, 5)],
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(6):
        loss, _ = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    with torch.no_grad():
        predictions = model.eval()(**model.data_preprocessor(batch), mode='predict')
    assert [len(prediction.pred_score) for prediction in predictions] == [10] * 4


@pytest.mark.parametrize('name', ['resnet34_cifar', 'resnet50'])
def test_the_hosts_residual_branches_start_switched_on(name):
    one_stage = dict(num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,))
    backbone = MODELS.build(read(name, 10, **one_stage).model.backbone)
    backbone.init_weights()
    for norm in (module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)):
        assert_close(norm.weight, torch.ones_like(norm.weight))


def test_mobilenet_drops_a_fifth_of_the_channels_before_the_classifier_in_training():
    cfg = read('mobilenetv2_pretrained', 200)
    neck = MODELS.build(cfg.model.neck)
    maps = torch.rand(20, 1280, 3, 4) + 1
    (dropped,) = neck.train()((maps,))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)
    mean = maps.sum((2, 3)) / 12
    assert_close(neck.eval()((maps,)), (mean,))
    assert_close(dropped, torch.where(dropped == 0, 0, mean / 0.8))
