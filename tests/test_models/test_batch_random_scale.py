"""Multi-scale training: what happens to images and boxes, and which sizes come when."""

from collections import Counter
from uuid import uuid4

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

from mmdet_ols import BatchRandomScale

SIZES = tuple(range(320, 609, 32))


@pytest.fixture
def progress(monkeypatch):
    """Tells the augmentation where the runner is: `progress(iter=..., seed=...)`."""
    hub = MessageHub.get_instance(f'progress_{uuid4()}')
    monkeypatch.setattr(MessageHub, 'get_current_instance', classmethod(lambda cls: hub))
    hub.update_info_dict(dict(iter=0, seed=0))
    return lambda **where: hub.update_info_dict(where)


def sample(shape, *boxes):
    """An image's record; the last of its boxes is of an ignored object."""
    boxes = torch.tensor(boxes).reshape(-1, 4)
    data_sample = DetDataSample(
        metainfo=dict(img_shape=shape, pad_shape=shape, scale_factor=(1.2, 1.25))
    )
    data_sample.gt_instances = InstanceData(bboxes=boxes[:-1])
    data_sample.ignored_instances = InstanceData(bboxes=boxes[-1:])
    return data_sample


def paint(shape, boxes, value):
    image = torch.zeros(3, *shape)
    for channel, (x1, y1, x2, y2) in enumerate(boxes):
        image[channel, int(y1) : int(y2), int(x1) : int(x2)] = value
    return image


def edges(channel, value):
    """The box around what is at least half as bright as `value`."""
    rows, columns = torch.where(channel > value / 2)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize('size', [*SIZES, 700])
@pytest.mark.parametrize('shape', [(608, 480), (416, 608), (320, 320)])
def test_boxes_follow_pixels_and_the_aspect_is_kept(size, shape, progress):
    boxes = [[[10.0, 40, 90, 300], [200, 100, 240, 130], [100, 250, 300, 310]]]
    boxes.append([[0.0, 0, 320, 320], [50, 51, 52, 300], [40, 30, 200, 301]])
    inputs = torch.stack([paint(shape, boxes[0], 1.0), paint(shape, boxes[1], 2.0)])
    content = (shape[0] - 20, shape[1] - 7)  # smaller than the padded batch
    outputs, samples = BatchRandomScale([size])(
        inputs, [sample(content, *boxes[0]), sample(shape, *boxes[1])]
    )
    factor = size / max(shape)
    height, width = outputs.shape[-2:]
    assert 0 <= height - shape[0] * factor < 32 and 0 <= width - shape[1] * factor < 32
    assert height % 32 == width % 32 == 0
    for image, record, before, value in zip(outputs, samples, boxes, (1, 2)):
        after = torch.cat([record.gt_instances.bboxes, record.ignored_instances.bboxes])
        torch.testing.assert_close(after, torch.tensor(before) * factor)
        for channel, box in zip(image, after):
            if min(box[2] - box[0], box[3] - box[1]) > 3:  # the thin one fades away
                actual = torch.tensor(edges(channel, value)).float()
                torch.testing.assert_close(actual, box, atol=0.51, rtol=0)
        assert record.batch_input_shape == (height, width)
        assert record.scale_factor == pytest.approx((1.2 * factor, 1.25 * factor))
    assert samples[0].img_shape == tuple(round(side * factor) for side in content)
    assert all(
        0 <= pad - side < 32 for pad, side in zip(samples[0].pad_shape, samples[0].img_shape)
    )
    assert all(side % 32 == 0 for side in samples[0].pad_shape)


def test_the_border_is_filled_with_the_pad_value(progress):
    augment = BatchRandomScale([320], pad_value=-3)
    outputs, _ = augment(torch.ones(1, 3, 608, 475), [sample((608, 475), [0.0, 0, 9, 9])])
    assert outputs.shape[-2:] == (320, 256)
    inside = round(475 * 320 / 608)  # and a pixel on either side where the two meet
    image = outputs[..., :-1, : inside - 1]
    torch.testing.assert_close(image, torch.ones_like(image))
    beyond = outputs[..., inside + 1 :]
    torch.testing.assert_close(beyond, torch.full_like(beyond, -3))


def test_fine_patterns_fade_instead_of_turning_into_others(progress):
    stripes = torch.arange(608) % 2 * torch.ones(1, 3, 608, 1)
    outputs, _ = BatchRandomScale([320])(stripes, [sample((608, 608), [0.0, 0, 9, 9])])
    assert (outputs[..., 2:-2] - 0.5).abs().max() < 0.1


def test_one_size_for_ten_iterations_whoever_asks(progress):
    def sequence(seed, iterations):
        augment, drawn = BatchRandomScale(SIZES), []
        for iteration in iterations:
            torch.manual_seed(iteration * len(iterations))
            progress(iter=iteration, seed=seed)
            drawn.append(augment.current_size())
        return drawn

    drawn = sequence(7, range(400))
    assert all(len(set(drawn[start : start + 10])) == 1 for start in range(0, 400, 10))
    assert len(set(drawn)) == len(SIZES)
    assert sequence(7, range(400)) == drawn  # another process
    assert sequence(7, range(155, 400)) == drawn[155:]  # a resumed run
    assert sequence(8, range(400)) != drawn


def test_every_size_is_as_likely(progress):
    augment, drawn = BatchRandomScale(SIZES, interval=1), []
    for iteration in range(10_000):
        progress(iter=iteration)
        drawn.append(augment.current_size())
    counts = Counter(drawn)
    # 1000 each, with a standard deviation of 30.
    assert set(counts) == set(SIZES)
    assert min(counts.values()) > 850 and max(counts.values()) < 1150
    repeated = sum(a == b for a, b in zip(drawn, drawn[1:]))
    assert 850 < repeated < 1150  # and independent of the one before


def test_only_training_batches_are_scaled(progress):
    augment = dict(type='BatchRandomScale', sizes=[320])
    with_it = DetDataPreprocessor(pad_size_divisor=32, batch_augments=[augment])
    without = DetDataPreprocessor(pad_size_divisor=32)

    def batch():
        image = torch.arange(3 * 608 * 400, dtype=torch.float).reshape(3, 608, 400)
        return dict(
            inputs=[image], data_samples=[sample((608, 400), [5.0, 5, 50, 50], [0, 0, 9, 9])]
        )

    tested, expected = with_it(batch(), training=False), without(batch(), training=False)
    torch.testing.assert_close(tested['inputs'], expected['inputs'])
    assert tested['data_samples'][0].img_shape == (608, 400)
    assert with_it(batch(), training=True)['inputs'].shape[-2:] == (320, 224)


class Net(BaseModel):
    """Writes down the size of every iteration."""

    def __init__(self):
        super().__init__()
        self.augment = BatchRandomScale(SIZES, interval=2)
        self.weight = nn.Parameter(torch.ones(1))
        self.drawn = []

    def forward(self, inputs, mode):
        self.drawn.append(self.augment.current_size())
        return dict(loss=self.weight.sum())


def train(work_dir, epochs, resume=False):
    """The sizes of a run without a seed of its own, and the seed that MMEngine gave it."""
    runner = Runner(
        Net(),
        str(work_dir),
        train_dataloader=dict(
            dataset=[0.0] * 6, batch_size=1, sampler=dict(type='DefaultSampler', shuffle=True)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        resume=resume,
        experiment_name=str(uuid4()),
        default_scope='mmengine',
        log_level='ERROR',
    )
    runner.train()
    return runner.model.drawn, runner.seed


def test_a_resumed_run_goes_on_with_the_sizes_of_the_interrupted_one(tmp_path):
    before, seed = train(tmp_path, 2)
    after, _ = train(tmp_path, 4, resume=True)
    hub = MessageHub.get_current_instance()
    expected = []
    for iteration in range(24):
        hub.update_info_dict(dict(iter=iteration, seed=seed))
        expected.append(BatchRandomScale(SIZES, interval=2).current_size())
    assert before + after == expected


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(sizes=[]), r'`sizes` must be one or more positive lengths, but got \[\]'),
        (dict(sizes=[320, 0]), '`sizes`'),
        (dict(interval=0), '`interval` must be a positive integer, but got 0'),
        (dict(size_divisor=0), '`size_divisor`'),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        BatchRandomScale(**{'sizes': [320], **change})


def test_masks_are_refused(progress):
    record = sample((64, 64), [0.0, 0, 9, 9])
    record.gt_instances.masks = []
    with pytest.raises(ValueError, match='only images and boxes'):
        BatchRandomScale([64])(torch.zeros(1, 3, 64, 64), [record])
