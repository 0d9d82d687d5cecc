"""Self-attention networks: the operator against a loop over pixels, and the size of the whole."""

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close

from mmdet_ols import SAN
from mmdet_ols.models.san import SelfAttention

FORMS = pytest.mark.parametrize('form', ['pairwise', 'patchwise'])


def attention(form, size):
    """16 to 8 channels, four of which share a weight; norms that do something in evaluation."""
    module = SelfAttention(16, 3, 8, size, form, share=4).double().eval()
    for norm in (module.conv_w[0], module.conv_w[3]):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean):
            values.normal_(0.3, 0.5)
        norm.running_var.uniform_(0.5, 2)
    return module


def linear(conv, x):
    return conv.weight.flatten(1) @ x + (0 if conv.bias is None else conv.bias)


def weights_of(module, x):
    """The small network that makes weights, of one vector."""
    first, _, inner, second, _, outer = module.conv_w
    for norm, conv in ((first, inner), (second, outer)):
        x = (x - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
        x = linear(conv, x.relu())
    return x


def by_pixels(module, image):
    """The attention of one image of shape (C, H, W), pixel by pixel."""
    _, height, width = image.shape
    reach = module.size // 2

    def reflect(i, side):
        return abs(i) if i < side else 2 * (side - 1) - i

    def place(row, column):
        return torch.tensor(
            [2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1], dtype=torch.double
        )

    out = image.new_zeros(8, height, width)
    for row in range(height):
        for column in range(width):
            around = [
                (reflect(row + dy, height), reflect(column + dx, width))
                for dy in range(-reach, reach + 1)
                for dx in range(-reach, reach + 1)
            ]
            pixel = linear(module.conv1, image[:, row, column])
            others = [linear(module.conv2, image[:, y, x]) for y, x in around]
            if module.form == 'pairwise':
                here = linear(module.conv_p, place(row, column))
                scores = torch.stack(
                    [
                        weights_of(
                            module,
                            torch.cat([pixel - other, here - linear(module.conv_p, place(y, x))]),
                        )
                        for other, (y, x) in zip(others, around)
                    ]
                )
                weights = (scores - scores.logsumexp(0)).exp()
            else:
                # Channel by channel, and within a channel pixel by pixel
                patch = torch.stack(others, 1).flatten()
                weights = weights_of(module, torch.cat([pixel, patch])).view(2, -1).T
            values = torch.stack([linear(module.conv3, image[:, y, x]) for y, x in around])
            for channel in range(8):
                out[channel, row, column] = (weights[:, channel % 2] * values[:, channel]).sum()
    return out


@FORMS
@pytest.mark.parametrize('size', [3, 5])
def test_attention_equals_a_loop_over_pixels(form, size):
    module = attention(form, size)
    images = torch.randn(2, 16, 4, 5, dtype=torch.double, requires_grad=True)
    inputs = [images, *module.parameters()]
    weight = torch.randn(2, 8, 4, 5, dtype=torch.double)
    expected = torch.stack([by_pixels(module, image) for image in images])
    got = module(images)
    assert_close(got, expected)
    assert_close(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
    )


@pytest.mark.parametrize(
    ('depth', 'form', 'millions'),
    [
        (10, 'pairwise', 10.5),
        (10, 'patchwise', 11.8),
        (15, 'pairwise', 14.1),
        (15, 'patchwise', 16.2),
        (19, 'pairwise', 17.6),
        (19, 'patchwise', 20.5),
    ],
)
def test_size_with_imagenets_classes_is_the_published_one(depth, form, millions):
    with torch.device('meta'):
        network = SAN(depth, form)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert round((parameters + 2048 * 1000 + 1000) / 1e6, 1) == millions


def test_stages_halve_the_map_and_widen_it():
    network = SAN(10, 'patchwise', out_indices=range(5)).eval()
    shapes = [tuple(x.shape[1:]) for x in network(torch.randn(1, 3, 128, 160))]
    assert shapes == [
        (channels, 128 // 2**n, 160 // 2**n)
        for n, channels in enumerate((64, 256, 512, 1024, 2048), 1)
    ]


def test_blocks_come_in_the_order_of_the_paper():
    network = SAN(10, out_indices=(0, 1)).eval()
    image = torch.randn(1, 3, 128, 128)
    x = network.bn_in(network.conv_in(image)).relu()
    for stage, expected in enumerate(network(image)):
        x = getattr(network, f'conv{stage}')(torch.nn.functional.max_pool2d(x, 2))
        for block in getattr(network, f'layer{stage}'):
            attended = block.bn2(block.sam(block.bn1(x).relu())).relu()
            x = x + block.conv(attended)
        x = getattr(network, f'bn{stage}')(x).relu()
        assert_close(x, expected)
        assert block.sam.size == (7 if stage else 3)


@FORMS
def test_an_authors_checkpoint_fits(form, tmp_path):
    """Names and shapes as in the released program, saved from several processes."""
    state = {'fc.weight': torch.zeros(1000, 2048), 'fc.bias': torch.zeros(1000)}

    def conv(name, inputs, outputs, bias=True):
        state[f'{name}.weight'] = torch.randn(outputs, inputs, 1, 1)
        if bias:
            state[f'{name}.bias'] = torch.randn(outputs)

    def norm(name, channels):
        for part in ('weight', 'bias', 'running_mean', 'running_var'):
            state[f'{name}.{part}'] = torch.rand(channels)
        state[f'{name}.num_batches_tracked'] = torch.tensor(7)

    conv('conv_in', 3, 64, bias=False)
    norm('bn_in', 64)
    before = 64
    for stage, (channels, blocks) in enumerate(zip((64, 256, 512, 1024, 2048), (2, 1, 2, 4, 1))):
        conv(f'conv{stage}', before, channels, bias=False)
        norm(f'bn{stage}', channels)
        relation, middle, pixels = channels // 16, channels // 4, 49 if stage else 9
        for block in range(blocks):
            name = f'layer{stage}.{block}'
            norm(f'{name}.bn1', channels)
            norm(f'{name}.bn2', middle)
            conv(f'{name}.conv', middle, channels)
            conv(f'{name}.sam.conv1', channels, relation)
            conv(f'{name}.sam.conv2', channels, relation)
            conv(f'{name}.sam.conv3', channels, middle)
            if form == 'pairwise':
                conv(f'{name}.sam.conv_p', 2, 2)
                widths = relation + 2, relation, middle // 8
            else:
                widths = relation * (pixels + 1), middle // 8, middle // 8 * pixels
            norm(f'{name}.sam.conv_w.0', widths[0])
            conv(f'{name}.sam.conv_w.2', widths[0], widths[1], bias=False)
            norm(f'{name}.sam.conv_w.3', widths[1])
            conv(f'{name}.sam.conv_w.5', widths[1], widths[2])
        before = channels
    saved = {f'module.{name}': value for name, value in state.items()}
    torch.save(dict(epoch=100, state_dict=saved), tmp_path / 'san.pth')

    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'san.pth'))
    network = MODELS.build(dict(type='SAN', depth=10, form=form, init_cfg=init_cfg))
    network.init_weights()
    del state['fc.weight'], state['fc.bias']
    assert_close(dict(sorted(network.state_dict().items())), dict(sorted(state.items())))


@FORMS
def test_compiles_to_one_graph_in_bf16_and_channels_last(form):
    torch._dynamo.reset()
    module = attention(form, 3).float().train()
    x = torch.randn(4, 16, 9, 8).to(memory_format=torch.channels_last)
    compiled = torch.compile(module, fullgraph=True, backend='aot_eager')
    outputs, grads = [], []
    for model in (module, compiled):
        with torch.autocast('cpu', torch.bfloat16):
            outputs.append(model(x))
        module.zero_grad()
        outputs[-1].float().square().mean().backward()
        grads.append([parameter.grad for parameter in module.parameters()])
    assert_close(outputs[1], outputs[0], rtol=0.02, atol=0.02)
    assert_close(grads[1], grads[0], rtol=0.1, atol=0.02)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(depth=50), r'`depth` must be one of \(10, 15, 19\), but got 50'),
        (dict(form='both'), r"`form` must be one of \('pairwise', 'patchwise'\), but got 'both'"),
        (dict(out_indices=(5,)), r'`out_indices` .*but got \(5,\)'),
        (dict(out_indices=()), '`out_indices`'),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SAN(**arguments)


def test_small_images_are_refused():
    with pytest.raises(ValueError, match=r'at least 128 x 128 pixels.*but got \(127, 200\)'):
        SAN(10)(torch.zeros(1, 3, 127, 200))
