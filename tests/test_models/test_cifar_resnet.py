"""The narrow residual networks: their layers, against a loop over the same weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import nn
from torch.testing import assert_close

from mmdet_ols import CIFARResNet, CIFARResNeXt


@pytest.fixture(params=['bottleneck', 'basic', 'resnext'])
def network(request):
    """Two blocks a stage, with batch norms that do something even in evaluation."""
    network = {
        'bottleneck': lambda: CIFARResNet(20, out_indices=(0, 1, 2)),
        'basic': lambda: CIFARResNet(14, block='basic', base_channels=8, out_indices=(0, 1, 2)),
        'resnext': lambda: CIFARResNeXt(20, 4, 2, out_indices=(0, 1, 2)),
    }[request.param]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean):
                values.normal_(0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    network.kind = request.param
    return network


def expected_maps(network, x):
    """The network as its paper tells it; the weights come in the order of the state dict."""
    state = iter(value for name, value in network.state_dict().items() if 'tracked' not in name)

    def conv_bn(x, stride=1):
        weight, gamma, beta, mean, var = (next(state) for _ in range(5))
        padding, groups = weight.shape[-1] // 2, x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, stride=stride, padding=padding, groups=groups)
        shape = (1, -1, 1, 1)
        x = (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
        return x * gamma.view(shape) + beta.view(shape)

    x, maps = conv_bn(x).relu(), []
    channels = {'bottleneck': 64, 'basic': 8, 'resnext': 16}[network.kind]
    for stage in range(3):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            changes = stride == 2 or x.shape[1] != channels
            shortcut = conv_bn(x, stride) if changes else x
            if network.kind == 'basic':
                x = conv_bn(conv_bn(x, stride).relu())
            else:
                x = conv_bn(conv_bn(conv_bn(x).relu(), stride).relu())
            x = (x + shortcut).relu()
        maps.append(x)
        channels *= 2
    assert next(state, None) is None
    return tuple(maps)


def test_the_layers_are_those_of_the_paper(network):
    images = torch.randn(2, 3, 32, 32)
    maps = network.eval()(images)
    assert [x.shape[-1] for x in maps] == [32, 16, 8]
    assert_close(maps, expected_maps(network, images))


def test_grouped_convolutions_have_the_groups_and_widths_of_their_name():
    convs = [
        module for module in CIFARResNeXt(29, 32, 4).modules() if isinstance(module, nn.Conv2d)
    ]
    assert convs[0].kernel_size == (1, 1) and convs[0].out_channels == 64
    grouped = [conv for conv in convs if conv.kernel_size == (3, 3)]
    assert [(conv.groups, conv.out_channels) for conv in grouped] == [
        (32, width) for width in (128, 256, 512) for _ in range(3)
    ]


def test_only_the_asked_stages_are_returned():
    images = torch.randn(1, 3, 32, 32)
    network = CIFARResNet(11, out_indices=(0, 1, 2)).eval()
    every = network(images)
    network.out_indices = CIFARResNet(11, out_indices=[1]).out_indices
    assert_close(network(images), (every[1],))
    network.out_indices = CIFARResNet(11).out_indices
    assert_close(network(images), (every[2],))


def test_convolutions_start_as_he_et_al_draw_them():
    for name, module in CIFARResNet(29).named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert_close(module.weight, torch.ones_like(module.weight))
            assert_close(module.bias, torch.zeros_like(module.bias))
        if isinstance(module, nn.Conv2d):
            expected = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
            # Five standard deviations of the estimate
            margin = 5 / math.sqrt(2 * module.weight.numel())
            assert module.weight.std().item() == pytest.approx(expected, rel=margin), name


def test_compiles_to_one_graph_in_bf16_and_channels_last():
    torch._dynamo.reset()
    network = CIFARResNet(11).to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    compiled = torch.compile(network, fullgraph=True, backend='eager')
    grads = []
    for model in (network, compiled):
        with torch.autocast('cpu', torch.bfloat16):
            (last,) = model(images)
        assert last.is_contiguous(memory_format=torch.channels_last)
        network.zero_grad()
        last.float().square().mean().backward()
        grads.append([parameter.grad for parameter in network.parameters()])
    assert_close(grads[1], grads[0], rtol=0.1, atol=0.02)


def test_initial_weights_may_come_from_a_checkpoint(tmp_path):
    trained = CIFARResNet(11)
    torch.save(trained.state_dict(), tmp_path / 'trained.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'trained.pth'))
    network = MODELS.build(dict(type='CIFARResNet', depth=11, init_cfg=init_cfg))
    network.init_weights()
    assert_close(network.state_dict(), trained.state_dict())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(depth=30), r'`depth` must be 9n \+ 2.* nearest: \[29, 38\], but got 30'),
        (dict(depth=29, block='basic'), r'6n \+ 2, .*blocks of 2 .*\[26, 32\], but got 29'),
        (dict(depth=2), r'nearest: \[11\], but got 2'),
        (
            dict(depth=29, block='wide'),
            r"`block` must be one of \('bottleneck', 'basic'\), but got 'wide'",
        ),
        (dict(depth=29, out_indices=(3,)), r'`out_indices` .*\[0, 1, 2\], but got \(3,\)'),
        (dict(depth=29, out_indices=()), '`out_indices`'),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        CIFARResNet(**arguments)
