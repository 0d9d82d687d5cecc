"""How long runs take by the time of their steps, and which runs share the kind of a step."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from toy_plan import CONFIG, cell, finish

from mmdet_ols import config_path
from mmdet_ols.experiments.specification import Request, read_variants
from mmdet_ols.reproduction.image_sides import training_side
from mmdet_ols.reproduction.plan import Plan
from mmdet_ols.reproduction.request import PaperRequest
from mmdet_ols.reproduction.step_times import (
    StepRow,
    StepTimes,
    phases,
    read_step_times,
    training_images,
)
from mmdet_ols.reproduction.times import RunTimes

#: Measured on one core.
KEPT = Path(__file__).parents[2] / 'benchmarks' / 'step_times_cpu.csv'
#: Measured on a GPU.
KEPT_OF_GPU = KEPT.with_name('step_times_gpu.csv')


def variants(config, *methods, options=()):
    """A config with each of some methods."""
    requests = [
        Request(str(number), config_path(config), method, tuple(options))
        for number, method in enumerate(methods)
    ]
    return dict(zip(methods, read_variants(requests)))


def row(step='a', seconds=0.5, machine='AMD EPYC', threads=1, device='cpu'):
    return StepRow(step, device, machine, threads, 3, seconds)


def step_kind(variant):
    """The kind of the steps of a training whose epochs are all alike."""
    (phase,) = phases(variant)
    return phase.kind


def grouped(config, *methods):
    """The methods that share a kind of step, in the order of the first of each."""
    groups = {}
    for method, variant in variants(config, *methods).items():
        groups.setdefault(tuple(part.kind for part in phases(variant)), []).append(method)
    return groups


def test_methods_that_change_only_the_loss_share_a_step():
    of_table_2 = grouped(
        'cifar100/resnet34_cifar100.py',
        *('hard', 'bootsoft', 'boothard', 'disturblabel', 'sce', 'ls', 'pairwise_confusion'),
        *('ols', 'ddgsd', 'byot', 'byot+ols'),
    )
    assert list(of_table_2.values()) == [
        ['hard', 'bootsoft', 'boothard', 'disturblabel', 'sce', 'ls', 'pairwise_confusion', 'ols'],
        ['ddgsd'],
        ['byot', 'byot+ols'],
    ]
    of_table_7 = grouped(
        'cifar100/resnet56_noise40_cifar100.py',
        *('hard', 'bootsoft', 'boothard', 'sce', 'ls', 'ols', 'l2rw', 'meta_weight_net'),
        *('m_correction', 'pencil', 'deep_self_learning'),
    )
    assert list(of_table_7.values()) == [
        ['hard', 'bootsoft', 'boothard', 'sce', 'ls', 'ols'],
        ['l2rw'],
        ['meta_weight_net'],
        ['m_correction'],
        ['pencil'],
        ['deep_self_learning'],
    ]
    # Steps before and after the first correction, and passes over all images.
    assert [len(kinds) for kinds in of_table_7] == [1, 1, 1, 3, 1, 3]
    kinds = [kind for groups in (of_table_2, of_table_7) for kinds in groups for kind in kinds]
    assert len(set(kinds)) == len(kinds) == 13  # also since the tables have different networks


def test_data_and_numbers_of_the_optimizer_do_not_make_a_step():
    noisy = variants('cifar100/resnet56_noise40_cifar100.py', 'hard')['hard']
    clean = variants(
        'cifar100/resnet56_cifar100.py', 'hard', options=['optim_wrapper.optimizer.lr=1.0']
    )['hard']
    assert step_kind(noisy) == step_kind(clean)
    for option in (
        'model.backbone.depth=65',
        'optim_wrapper.type=AmpOptimWrapper',
        'train_dataloader.dataset.batch_transforms.0.crop_size=28',
    ):
        other = variants('cifar100/resnet56_cifar100.py', 'hard', options=[option])['hard']
        assert step_kind(other) != step_kind(clean), option
    # The loop of Meta-Weight-Net has an optimizer of its own.
    weighting = variants(
        'cifar100/resnet56_cifar100.py', 'meta_weight_net', 'meta_weight_net:weight_lr=1e-3'
    ).values()
    assert len({step_kind(variant) for variant in weighting}) == 1
    cub, cars = (
        variants(f'fine_grained/resnet50_{data}.py', 'ols')['ols'] for data in ('cub', 'cars')
    )
    assert step_kind(cub) == step_kind(cars)  # though they have 200 and 196 classes


@pytest.mark.parametrize(
    ('config', 'method', 'data', 'side', 'images'),
    [
        ('cifar100/resnet56_cifar100.py', 'hard', 'cifar100', 32, 50_000),
        # 10 clean images of each of 100 classes are held out.
        ('cifar100/resnet56_noise20_cifar100.py', 'l2rw', 'cifar100', 32, 49_000),
        ('imagenet/resnet50_imagenet.py', 'cutout', 'imagenet', 224, 1_281_167),
        ('fine_grained/san15_flowers.py', 'hard', 'flowers', 224, 2_040),
        ('fine_grained/resnet50_flowers_1020.py', 'hard', 'flowers', 224, 1_020),
        # The mean area of 320, 352, ..., 608 squared is 223,744, the square of 473.
        ('yolo_hard_voc.py', 'ols', 'voc', 480, 16_551),
    ],
)
def test_sides_and_epochs_are_those_of_the_config(config, method, data, side, images):
    variant = variants(config, method)[method]
    assert training_side(variant.cfg) == side
    assert training_images(variant, data) == images
    assert training_images(variant, 'other') is None


def test_steps_tell_only_of_what_has_not_begun(tmp_path):
    deep, flat = tmp_path / 'deep.py', tmp_path / 'flat.py'
    deep.write_text(CONFIG.replace('depth=8', 'depth=14'))
    flat.write_text(CONFIG)
    asked = [
        cell(deep, 'hard', data='cub'),
        cell(deep, 'ols', data='cub'),
        cell(flat, 'hard', data='cars'),
        cell(flat, 'hard', data='six', options=('train_dataloader.batch_size=2',)),
    ]
    plan = Plan(asked, [0, 1], tmp_path / 'runs')
    kinds = [step_kind(plan.variant(plan.folders_of(c)[0])) for c in asked]
    assert kinds[0] == kinds[1] != kinds[2] == kinds[3]
    steps = StepTimes([row(kinds[0], 0.5), row(kinds[2], 0.25)])
    hard, ols, cars, six = (plan.folders_of(c)[0] for c in asked)
    times = RunTimes(plan, steps)
    # Two epochs: 2 x 5,994 x 0.5 s, and 2 x 8,144 x 0.25 s.
    assert [times.left(folder) for folder in (hard, ols, cars, six)] == [5994, 5994, 4072, None]
    assert times.total_by_steps() == (4 * 5994 + 2 * 4072, 6)
    assert RunTimes(plan).left(hard) is None

    finish(hard, 50.0, 60.0, minutes=4)  # tells of all others of this config
    finish(cars, 50.0, minutes=6)  # one of two epochs
    times = RunTimes(plan, steps)
    assert [times.left(folder) for folder in (hard, ols, cars)] == [0, 240, 360]
    assert times.total_by_steps() == (4072, 1)


def test_runs_tell_only_of_methods_that_have_the_same_steps(tmp_path):
    """PENCIL learns labels next to the network, which hard labels say nothing of."""
    config = tmp_path / 'six.py'
    config.write_text(CONFIG.replace('max_epochs=2', 'max_epochs=10'))
    asked = [cell(config, method, data='cub') for method in ('hard', 'ols', 'pencil')]
    plan = Plan(asked, [0], tmp_path / 'runs')
    hard, ols, pencil = (plan.folders_of(c)[0] for c in asked)
    steps = StepTimes([row(step_kind(plan.variant(pencil)), 0.5)])
    finish(hard, *range(50, 60), minutes=4)
    times = RunTimes(plan, steps)
    assert [times.left(folder) for folder in (hard, ols, pencil)] == [0, 240, 10 * 5994 * 0.5]
    assert RunTimes(plan).left(pencil) is None


def test_methods_have_other_steps_whatever_the_size_of_the_images(tmp_path):
    config = tmp_path / 'as_they_are.py'
    text = CONFIG.replace("dict(type='Resize', scale=8), ", '')
    config.write_text(text.replace('max_epochs=2', 'max_epochs=10'))
    plan = Plan([cell(config, method) for method in ('hard', 'pencil')], [0], tmp_path / 'runs')
    hard, pencil = (plan.folders_of(c)[0] for c in plan.cells)
    assert training_side(plan.variant(hard).cfg) is None
    finish(hard, *range(50, 60), minutes=4)
    assert RunTimes(plan).left(pencil) is None


@pytest.mark.parametrize(
    ('option', 'before', 'after'), [('start=1', 1, 2), ('start=2', 2, 1), ('', 1, 2)]
)
def test_passes_between_epochs_take_time_as_well(tmp_path, option, before, after):
    config = tmp_path / 'three_epochs.py'
    config.write_text(CONFIG + 'train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1)\n')
    method = f'm_correction:{option}'.rstrip(':')
    variant = variants(config, method)[method]
    parts = phases(variant)
    assert [part.epochs for part in parts] == [before, after, after + 1]
    steps = [row(part.kind, seconds) for part, seconds in zip(parts, (0.5, 0.75, 0.125))]
    expected = 5_994 * (0.5 * before + 0.75 * after + 0.125 * (after + 1))
    assert StepTimes(steps).whole(variant, 'cub') == expected
    assert StepTimes(steps[:2]).whole(variant, 'cub') is None  # without the passes


@pytest.mark.parametrize(
    ('kwargs', 'place'),
    [
        (dict(), 'one AMD EPYC core'),
        (dict(threads=4), '4 AMD EPYC cores'),
        (dict(device='cuda', machine='NVIDIA H100'), 'one NVIDIA H100'),
    ],
)
def test_a_file_is_of_one_device(kwargs, place):
    assert StepTimes([row(**kwargs)]).place == place
    with pytest.raises(ValueError, match='steps.csv must hold the step times of one device, but'):
        StepTimes([row(**kwargs), row(machine='Z80')], 'steps.csv')
    with pytest.raises(ValueError, match='has those of none'):
        StepTimes([])


def test_other_files_are_errors(tmp_path):
    path = tmp_path / 'steps.csv'
    path.write_text('config,method\na,hard\n')
    with pytest.raises(ValueError, match='steps.csv must be a CSV .* columns step, device, '):
        read_step_times(path)
    with path.open('w', newline='') as file:
        csv.writer(file).writerows(
            [('step', 'device', 'machine', 'threads', 'n', 'median_s'), ('a', 'cpu', 'b', 1, 3)]
        )
    with pytest.raises(ValueError, match='steps.csv .* a value is no number .* measure it again'):
        read_step_times(path)
    with pytest.raises(ValueError, match='how long the scale paper takes, not small'):
        PaperRequest(scale='small', step_times=str(path)).read_step_times()
    assert PaperRequest().read_step_times() is None


def test_what_was_measured_here_tells_of_every_network():
    """The rows that are kept with the project are those of the configs as they stand."""
    steps = read_step_times(KEPT)
    for config, data in (
        ('cifar100/resnet56_noise40_cifar100.py', 'cifar100'),
        ('fine_grained/efficientnet_b7_cars.py', 'cars'),
        ('imagenet/resnet101_imagenet.py', 'imagenet'),
        ('yolo_hard_voc.py', 'voc'),
    ):
        assert steps.whole(variants(config, 'ols')['ols'], data) > 3600, config


@pytest.mark.parametrize(
    ('path', 'unknown'), [(KEPT, set()), (KEPT_OF_GPU, {'m_correction', 'deep_self_learning'})]
)
def test_what_was_measured_here_tells_of_every_method_for_wrong_labels(path, unknown):
    """A step that was measured must not get another kind by a new default of its method."""
    steps = read_step_times(path)
    methods = ('l2rw', 'meta_weight_net', 'm_correction', 'pencil', 'deep_self_learning')
    of = variants('cifar100/resnet56_noise40_cifar100.py', *methods)
    assert {m for m in methods if steps.whole(of[m], 'cifar100') is None} == unknown
