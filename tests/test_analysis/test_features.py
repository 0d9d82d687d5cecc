"""Features of a classifier, and their t-SNE."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import nn

from mmdet_ols.analysis import features
from mmdet_ols.analysis.features import embed, read_features
from mmdet_ols.cli import plot_features

CONFIG = """
custom_imports = dict(imports=['mmdet_ols'])
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=3, mean=[100.0], std=[50.0], to_rgb=False),
    backbone=dict(type='LeNet5', num_classes=-1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=120,
              loss=dict(type='CrossEntropyLoss')),
)
images = dict(type='CustomDataset', data_root={root!r})
load = [dict(type='LoadImageFromFile', color_type='grayscale')]
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(
    type='InMemoryDataset',
    batch_transforms=[dict(type='BatchRandomFlip', prob=1.0)],
    dataset=dict(type='BalancedSubset', samples_per_class=2,
                 dataset=dict(pipeline=[*load, dict(type='PackInputs')], **images)),
))
test_dataloader = dict(batch_size=3, num_workers=0, dataset=dict(
    pipeline=[*load, dict(type='PackInputs')], **images))
"""


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    """A config, the checkpoint of a network with random weights, and its pixels by class."""
    folder = tmp_path_factory.mktemp('features')
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    for label, images in enumerate(pixels):
        (folder / 'data' / f'class{label}').mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / 'data' / f'class{label}' / f'{number}.png')
    config = folder / 'config.py'
    config.write_text(CONFIG.replace('{root!r}', repr(str(folder / 'data'))))
    # Imported here: it takes seconds.
    from mmpretrain.models import LeNet5
    from mmpretrain.utils import register_all_modules

    register_all_modules()
    torch.manual_seed(0)
    backbone, fc = LeNet5(num_classes=-1), nn.Linear(120, 3)
    state = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    state.update({f'head.fc.{key}': value for key, value in fc.state_dict().items()})
    torch.save(dict(state_dict=state), folder / 'network.pth')
    return config, folder / 'network.pth', pixels, backbone


@pytest.mark.parametrize(
    ('split', 'max_samples', 'chosen'),
    [
        # The subset stays, the flip of every image does not.
        ('train', 0, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]),
        ('test', 3, [(0, 0), (1, 1), (2, 2)]),
    ],
)
def test_features_are_those_of_the_test_images_pixel_by_pixel(network, split, max_samples, chosen):
    config, checkpoint, pixels, backbone = network
    actual = read_features(Config.fromfile(config), checkpoint, split, max_samples)
    assert actual.labels.tolist() == [label for label, _ in chosen]
    assert list(actual.classes) == ['class0', 'class1', 'class2']
    images = np.stack([pixels[place] for place in chosen])[:, None]
    inputs = (torch.from_numpy(images).double() - 100) / 50
    layers = backbone.double().features  # the network's own layers, one after the other
    expected = layers(inputs).mean((2, 3)).detach().numpy()
    np.testing.assert_allclose(actual.values, expected, rtol=1e-4, atol=1e-5)


def test_features_of_images_that_are_repeated_are_read_once(network):
    cfg = Config.fromfile(network[0])
    once = read_features(cfg, network[1], 'train')
    twice = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset = twice
    again = read_features(cfg, network[1], 'train')
    np.testing.assert_array_equal(again.values, once.values)
    assert list(again.classes) == list(once.classes)


def test_the_weights_of_a_network_that_was_saved_with_its_wrapper_are_taken(network, tmp_path):
    config, checkpoint, *_ = network
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    wrapped = tmp_path / 'wrapped.pth'
    torch.save(dict(state_dict={f'module.{key}': value for key, value in state.items()}), wrapped)
    plain, same = (read_features(Config.fromfile(config), path) for path in (checkpoint, wrapped))
    np.testing.assert_array_equal(plain.values, same.values)


def test_what_is_no_classifier_and_what_has_no_data_is_said(network, monkeypatch):
    config, checkpoint, *_ = network
    cfg = Config.fromfile(config)
    with pytest.raises(ValueError, match='no data set for val'):
        read_features(cfg, checkpoint, 'val')
    with pytest.raises(ValueError, match='`max_samples` must be 0 or a positive .* but got -5'):
        read_features(cfg, checkpoint, max_samples=-5)
    monkeypatch.setattr(features, 'load_model', lambda *_: nn.Identity())
    with pytest.raises(ValueError, match='from a classifier .* builds Identity'):
        read_features(cfg, checkpoint)


def test_the_embedding_keeps_groups_together(monkeypatch):
    centres = np.repeat(np.eye(3) * 50, 8, axis=0)
    values = (centres + np.random.default_rng(0).normal(size=centres.shape)).astype(np.float32)
    points = embed(values, perplexity=5, seed=1)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    alike = np.equal.outer(np.arange(24) // 8, np.arange(24) // 8)
    assert distance[alike].max() < distance[~alike].min()
    with pytest.raises(ValueError, match=r'below the number of samples \(24\), but got 24'):
        embed(values, perplexity=24)
    monkeypatch.setitem(sys.modules, 'sklearn.manifold', None)
    with pytest.raises(ImportError, match='pip install scikit-learn'):
        embed(values)


def test_the_tool_writes_the_picture_and_the_points(network, tmp_path, monkeypatch):
    pair = [str(network[0]), str(network[1])]
    out = tmp_path / 'new' / 'both.png'
    words = ['tool', *pair, *pair, '--perplexity', '2', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', words)
    plot_features.main()
    assert np.asarray(Image.open(out)).std() > 10
    kept = [np.load(out.with_name(f'both_{number}.npz')) for number in (1, 2)]
    assert kept[0]['labels'].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert kept[0]['points'].shape == (9, 2) and kept[0]['features'].shape == (9, 120)
    np.testing.assert_array_equal(kept[0]['points'], kept[1]['points'])
    monkeypatch.setattr(sys, 'argv', words[:4])
    with pytest.raises(SystemExit):
        plot_features.main()
