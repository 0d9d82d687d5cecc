"""The error on the training images, against each of them classified by hand after each epoch."""

from __future__ import annotations

import json

import pytest
import torch
from mmengine.hooks import Hook
from torch.testing import assert_close
from toy_images import build_runner, image_tensor, loader, make_images, score_by_hand

from mmdet_ols import TrainErrorHook

COUNT, EPOCHS = 23, 3
TRAINING = dict(
    train_cfg=dict(by_epoch=True, max_epochs=EPOCHS, val_interval=EPOCHS),
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
)
FLIP = dict(type='RandomFlip', prob=0.5, direction='horizontal')


def noisy(dataset):
    return dict(type='NoisyLabelDataset', dataset=dataset, rate=0.4)


def in_memory(dataset):
    flip = dict(type='BatchRandomFlip', prob=0.5)
    return dict(type='InMemoryDataset', dataset=noisy(dataset), batch_transforms=[flip])


class ClassifyByHand(Hook):
    """Classifies each image by hand after each epoch, when all other hooks are done."""

    priority = 'LOWEST'

    def __init__(self):
        self.predicted = {}

    def after_train_epoch(self, runner):
        images, _ = make_images(COUNT)
        with torch.no_grad():
            self.predicted[runner.epoch + 1] = [
                int(score_by_hand(runner.model, image_tensor(image)).argmax()) for image in images
            ]


def train(folder, data, hooks, val=True, **kwargs):
    by_hand = ClassifyByHand()
    if val:
        kwargs.update(
            val_dataloader=loader(),
            val_evaluator=dict(type='mmpretrain.Accuracy'),
            val_cfg=dict(),
        )
    runner = build_runner(
        folder,
        hooks=[*hooks, by_hand],
        train_dataloader=data,
        **TRAINING,
        **kwargs,
    )
    runner.train()
    (path,) = folder.glob('*/vis_data/scalars.json')
    lines = map(json.loads, path.read_text().splitlines())
    logged = {line['step']: line for line in lines if 'train/top1_error' in line}
    return runner, by_hand.predicted, logged


def share(flags):
    flags = list(flags)
    return 100 * sum(flags) / len(flags)


@pytest.mark.parametrize('wrap', [noisy, in_memory])
def test_errors_are_those_of_single_images(tmp_path, wrap):
    pipeline = [FLIP] if wrap is noisy else []
    data = loader(shuffle=True, wrap=wrap, pipeline=pipeline)
    hook = dict(type='TrainErrorHook', batch_size=5)
    runner, predicted, logged = train(tmp_path / 'a', data, [hook])
    dataset = runner.train_dataloader.dataset
    _, true = make_images(COUNT)
    learned = dataset.noisy_labels.tolist()
    flipped = [index for index in range(COUNT) if learned[index] != true[index]]
    assert len(flipped) == 9 and sorted(logged) == [1, 2, 3]
    for epoch, line in logged.items():
        seen = predicted[epoch]
        expected = {
            'train/top1_error': share(p != y for p, y in zip(seen, learned)),
            'train/clean_error': share(p != y for p, y in zip(seen, true)),
            'train/wrong_label_error': share(seen[n] != learned[n] for n in flipped),
        }
        assert {key: line[key] for key in expected} == pytest.approx(expected)
    assert len({tuple(p) for p in predicted.values()}) > 1
    assert len((tmp_path / 'a' / 'noisy_labels.csv').read_text().splitlines()) == 1 + 9
    # The training is what it is without the hook, random flips and shuffling included.
    plain, without, none = train(tmp_path / 'b', data, [])
    assert without == predicted and not none
    assert_close(plain.model.state_dict(), runner.model.state_dict(), rtol=0, atol=0)


def test_without_noise_there_is_one_error(tmp_path):
    """And at every second epoch; nothing says how to load, so the config does."""
    hook = dict(type='TrainErrorHook', interval=2, pipeline=[dict(type='PackInputs')])
    data = loader(pipeline=[FLIP])
    _, predicted, logged = train(tmp_path, data, [hook], val=False)
    _, true = make_images(COUNT)
    assert list(logged) == [2]
    expected = share(p != y for p, y in zip(predicted[2], true))
    assert logged[2]['train/top1_error'] == pytest.approx(expected)
    assert not [key for key in logged[2] if key in ('train/clean_error', 'train/wrong_label_error')]


def test_nothing_to_load_images_with_is_refused(tmp_path):
    with pytest.raises(ValueError, match='needs a `pipeline` that loads a training image'):
        train(tmp_path, loader(pipeline=[FLIP]), [dict(type='TrainErrorHook')], val=False)


def test_images_in_memory_need_no_pipeline_even_in_several_parts(tmp_path):
    def parts(dataset):
        both = dict(type='ConcatDataset', datasets=[dataset, dict(dataset, seed=1)])
        flip = dict(type='BatchRandomFlip', prob=0.5)
        return dict(type='InMemoryDataset', dataset=both, batch_transforms=[flip])

    runner = build_runner(tmp_path, train_dataloader=loader(wrap=parts), **TRAINING)
    hook = TrainErrorHook()
    hook.before_train(runner)
    images = [image for seed in (0, 1) for image in make_images(COUNT, seed)[0]]
    assert len(hook._loader.dataset) == len(images)
    for index, image in enumerate(images):
        assert_close(hook._loader.dataset[index]['inputs'], image_tensor(image))


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match='`interval` must be a positive integer, but got 0'):
        TrainErrorHook(interval=0)
    with pytest.raises(ValueError, match='`batch_size` must be None or a positive .* got -2'):
        TrainErrorHook(batch_size=-2)
