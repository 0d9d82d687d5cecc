"""Ensembles of checkpoints, against an average over single images."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.runner.checkpoint import CheckpointLoader
from torch.testing import assert_close
from toy_images import (
    CLASSES,
    build_tester,
    classifier,
    everything,
    image_tensor,
    make_images,
    score_by_hand,
)

from mmdet_ols import EnsembleHook

COUNT, LENGTH = 23, 12


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """Weights that differ a lot, epoch by epoch; the file under test is another."""
    folder = tmp_path_factory.mktemp('training')
    model = build_tester(folder, []).model
    clean = {key: value.clone() for key, value in model.state_dict().items()}
    for epoch in range(1, LENGTH + 1):
        generator = torch.Generator().manual_seed(epoch)
        state = dict(clean)
        for key in ('head.fc.weight', 'head.fc.bias'):
            state[key] = clean[key] + torch.randn(clean[key].shape, generator=generator)
        torch.save(dict(state_dict=state, meta=dict()), folder / f'epoch_{epoch}.pth')
    torch.save(dict(state_dict=clean, meta=dict()), folder / 'best.pth')
    return folder


def error_by_hand(model, folder, size):
    images, labels = make_images(COUNT)
    mean = torch.zeros(COUNT, CLASSES, dtype=torch.double)
    for j in range(1, size + 1):
        model.load_state_dict(torch.load(folder / f'epoch_{LENGTH * j // size}.pth')['state_dict'])
        for index, image in enumerate(images):
            mean[index] += score_by_hand(model, image_tensor(image)).double().softmax(0) / size
    return 100 * (mean.argmax(dim=1) != torch.tensor(labels)).double().mean().item()


def test_probabilities_are_averaged_over_evenly_spaced_checkpoints(
    tmp_path, checkpoints, monkeypatch
):
    loaded = []

    def load(path, *args, **kwargs):
        loaded.append(Path(path).stem)
        return original(path, *args, **kwargs)

    original = CheckpointLoader.load_checkpoint

    hook = dict(type='EnsembleHook', sizes=(1, 3, 4), max_epochs=LENGTH)
    runner = build_tester(tmp_path, [hook], load_from=str(checkpoints / 'best.pth'))
    alone = build_tester(tmp_path / 'alone', []).test()['accuracy/top1']
    model = runner.model.eval()
    before = everything(model)['state']
    monkeypatch.setattr(CheckpointLoader, 'load_checkpoint', load)
    metrics = runner.test()
    assert loaded == ['best', *(f'epoch_{epoch}' for epoch in (3, 4, 6, 8, 9, 12))]  # 12 thrice
    assert metrics['accuracy/top1'] == alone
    assert_close(everything(model)['state'], before, rtol=0, atol=0)
    expected = {
        f'ensemble/top1_error_{size}': error_by_hand(model, checkpoints, size) for size in (1, 3, 4)
    }
    assert len(set(expected.values())) == 3
    (result,) = tmp_path.glob('2*/*.json')
    for values in (metrics, json.loads(result.read_text())):
        actual = {key: value for key, value in values.items() if key.startswith('ensemble/')}
        assert actual == pytest.approx(expected)


def test_checkpoints_may_hold_more_than_the_network_under_test_but_not_less(tmp_path, checkpoints):
    """Those of a training with soft labels or with further exits, tested with the plain config."""
    hook = dict(type='EnsembleHook', sizes=(3,), max_epochs=LENGTH)
    runner = build_tester(tmp_path, [hook], load_from=str(checkpoints / 'best.pth'))
    expected = runner.test()['ensemble/top1_error_3']
    other = tmp_path / 'other'
    shutil.copytree(checkpoints, other)
    for path in other.glob('epoch_*.pth'):
        checkpoint = torch.load(path)
        checkpoint['state_dict']['head.loss_module.state.soft_labels'] = torch.eye(CLASSES)
        torch.save(checkpoint, path)
    runner = build_tester(tmp_path / 'more', [hook], load_from=str(other / 'best.pth'))
    assert runner.test()['ensemble/top1_error_3'] == expected
    del checkpoint['state_dict']['head.fc.bias']
    torch.save(checkpoint, other / 'epoch_8.pth')
    runner = build_tester(tmp_path / 'less', [hook], load_from=str(other / 'best.pth'))
    with pytest.raises(ValueError, match=r'epoch_8\.pth lacks head\.fc\.bias: test it with'):
        runner.test()


def stub(checkpoints, tested='best.pth', length=LENGTH, **kwargs):
    cfg = dict(train_cfg=dict(max_epochs=length)) if length else dict(train_cfg=None)
    tested = tested and str(checkpoints / tested)
    return SimpleNamespace(**dict(cfg=cfg, model=None, _train_loop={}, _load_from=tested, **kwargs))


def test_where_checkpoints_are_looked_for(tmp_path, checkpoints):
    other = tmp_path / 'other'
    shutil.copytree(checkpoints, other)
    (other / 'epoch_6.pth').unlink()
    message = (
        rf'needs epoch_6.pth in {re.escape(str(other))}. Train .*interval=3, max_keep_ckpts=-1'
    )
    hook = EnsembleHook(sizes=(4, 2))
    hook.before_test(stub(checkpoints))
    hook.before_test(stub(other, work_dir=str(checkpoints), tested=None))
    trained = stub(other, work_dir=str(checkpoints))  # in this process, from other weights
    trained._train_loop = object()
    hook.before_test(trained)
    EnsembleHook(sizes=(4, 2), folder=str(checkpoints)).before_test(stub(other))
    with pytest.raises(FileNotFoundError, match=message):
        hook.before_test(stub(other))
    with pytest.raises(FileNotFoundError, match=message):
        EnsembleHook(sizes=(4, 2), folder=str(other)).before_test(stub(checkpoints))


def test_the_papers_sizes_and_epochs(tmp_path):
    folder = tmp_path
    for epoch in range(15, 301, 15):
        (folder / f'epoch_{epoch}.pth').touch()
    with pytest.raises(FileNotFoundError, match=r'epoch_20.pth, .*interval=5, '):
        EnsembleHook().before_test(stub(folder, length=300))
    for epoch in range(5, 301, 5):
        (folder / f'epoch_{epoch}.pth').touch()
    actual = EnsembleHook()._checkpoints(stub(folder, length=300))
    by_size = {
        size: [epoch for epoch, (_, sizes) in actual.items() if size in sizes]
        for size in (6, 10, 15, 20)
    }
    assert by_size == {size: list(range(300 // size, 301, 300 // size)) for size in by_size}


def test_bad_settings_are_refused(checkpoints):
    for sizes in ((), (2, 0), (2.0,)):
        with pytest.raises(ValueError, match='`sizes` must be positive integers, but got'):
            EnsembleHook(sizes)
    with pytest.raises(ValueError, match=r'`sizes` .* 12 epochs, but got \[5, 7\]'):
        EnsembleHook((5, 6, 7)).before_test(stub(checkpoints))
    with pytest.raises(ValueError, match='`max_epochs` of EnsembleHook must be given'):
        EnsembleHook((6,)).before_test(stub(checkpoints, length=None))
    EnsembleHook((6,), max_epochs=12).before_test(stub(checkpoints, length=None))


@pytest.mark.parametrize(
    ('sizes', 'saves', 'complete'),
    [
        ((4, 2), dict(interval=3), True),
        ((4, 2), dict(interval=1), True),
        ((4, 2), dict(interval=3, max_keep_ckpts=4), True),
        ((1,), dict(interval=7), True),  # the last epoch, which is saved anyway
        ((4, 2), dict(interval=2), False),
        ((4, 2), dict(interval=3, max_keep_ckpts=3), False),
        ((1,), dict(interval=7, save_last=False), False),
        ((5,), dict(interval=1), False),
        ((2,), dict(interval=1, by_epoch=False), False),
    ],
)
def test_a_training_that_will_not_leave_the_checkpoints_warns_at_its_start(sizes, saves, complete):
    said = []
    runner = SimpleNamespace(
        train_loop=SimpleNamespace(max_epochs=LENGTH),
        hooks=[CheckpointHook(**saves)],
        logger=SimpleNamespace(warning=said.append),
    )
    EnsembleHook(sizes).before_train(runner)
    assert bool(said) != complete
    EnsembleHook(sizes, folder='elsewhere').before_train(runner)
    assert len(said) == (not complete)


def test_test_time_augmentation_is_refused_before_the_test(tmp_path):
    model = dict(type='AverageClsScoreTTA', module=classifier())
    runner = build_tester(tmp_path, [dict(type='EnsembleHook')], model, head=False)
    with pytest.raises(ValueError, match='EnsembleHook .* leave --tta out, or take the hook out'):
        runner.call_hook('before_test')
