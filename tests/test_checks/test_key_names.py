"""The names of a file's keys tell which library and network they are of."""

import functools

import mmdet.models
import mmpretrain.models
import pytest
import torchvision

from mmdet_ols.checks.key_names import better_prefix, explain, recognise

MAKERS = {
    ('MMDetection', 'MobileNetV2'): mmdet.models.MobileNetV2,
    ('MMPretrain', 'MobileNetV2'): mmpretrain.models.MobileNetV2,
    ('torchvision', 'MobileNetV2'): torchvision.models.mobilenet_v2,
    ('MMPretrain', 'VisionTransformer'): lambda: mmpretrain.models.VisionTransformer('deit-t'),
    ('MMDetection and MMPretrain', 'SwinTransformer'): lambda: mmdet.models.SwinTransformer(
        depths=(1, 1, 1, 1)
    ),
}
RESNET = 'MMDetection, MMPretrain and torchvision'


@functools.cache
def keys(maker):
    """The keys of a network as its library builds it."""
    return list(maker().state_dict())


@pytest.mark.parametrize('expected', list(MAKERS))
def test_networks_as_the_libraries_build_them_are_recognised(expected):
    own = keys(MAKERS[expected])
    for given in (own, [f'backbone.{key}' for key in own]):
        assert recognise(given)[:2] == expected


def test_resnets_have_the_same_names_in_all_libraries():
    for maker in (
        torchvision.models.resnet18,
        lambda: mmdet.models.ResNet(18),
        lambda: mmpretrain.models.ResNet(18),
    ):
        assert recognise(keys(maker))[:2] == (RESNET, 'ResNet')


def test_names_of_releases_that_are_not_installed_here():
    for key, expected in {
        'blocks.3.1.conv_pwl.weight': ('timm', 'MobileNetV2'),
        'blocks.3.attn.qkv.weight': ('timm', 'VisionTransformer'),
        'layers.2.blocks.5.attn.qkv.weight': ("the authors' release", 'SwinTransformer'),
        'vit.encoder.layer.3.attention.attention.key.weight': ('Transformers', 'VisionTransformer'),
        'backbone.bottom_up.res2.0.conv1.weight': ('Detectron2', 'ResNet'),
        'res2_0_branch2a_w': ('Caffe2', 'ResNet'),
    }.items():
        assert recognise([key])[:2] == expected
    assert recognise(['head.fc.weight']) is None


def test_the_prefix_that_makes_most_keys_known():
    model = [f'layer.{index}.weight' for index in range(4)]
    assert better_prefix(model, model) == ''
    assert better_prefix(model, ['fc.bias', *(f'backbone.{key}' for key in model)]) == 'backbone.'
    assert better_prefix(model, [f'student.net.{key}' for key in model]) == 'student.net.'
    assert better_prefix(model, ['other.weight']) is None


def test_the_explanation_gives_two_examples_of_each_side_and_the_remedy():
    ours, theirs = (
        keys(MAKERS[library, 'MobileNetV2']) for library in ('MMDetection', 'MMPretrain')
    )
    text = explain(ours, [f'backbone.{key}' for key in theirs], 'backbone.', str)
    assert 'layer4.2.conv.2.conv.weight' in text and 'layer4.2.linear_conv.conv.weight' in text
    assert 'named as MMPretrain names its MobileNetV2' in text
    assert 'Take the file of MMDetection' in text and "type='mmpretrain.MobileNetV2'" in text
    text = explain(ours, ['layer1.0.conv1.weight'], None, str)
    assert text.endswith('Take weights of a MobileNetV2.')
    text = explain(['a.weight'], ['net.a.weight'], None, lambda prefix: f'Take {prefix} off.')
    assert text == 'The file has net.a.weight, where the network has a.weight. Take net. off.'
