"""What is drawn and recorded of the soft labels, and when."""

from __future__ import annotations

import mmengine.dist
import numpy as np
import pytest
import torch
from toy_runner import NUM_CLASSES, OLS, ToyClassifier, exactly, make_batches, train

from mmdet_ols.engine.hooks import soft_label_history


@pytest.mark.parametrize(
    ('arguments', 'steps'),
    [
        (dict(epochs=4, ols=dict(draw_interval=2)), {2, 4}),
        (dict(epochs=4, ols=dict(interval=2, draw_interval=2)), {4}),
        (dict(epochs=1, ols=dict(by_epoch=False, interval=2, draw_interval=1)), {2, 4}),
        (dict(epochs=1, ols=dict()), set()),
    ],
)
def test_drawing_interval(tmp_path, arguments, steps):
    train(tmp_path, make_batches(), **arguments)
    drawn = {path.name for path in tmp_path.rglob('*.png')}
    assert drawn == {f'soft_labels_losses.head_{step}.png' for step in steps}


def records(work_dir, name='head'):
    """{'epoch_3': matrix} of a loss; no other files lie there."""
    folder = work_dir / 'soft_labels' / f'losses.{name}'
    return {path.stem: torch.from_numpy(np.load(path)) for path in folder.glob('*.npy')}


def test_history_of_every_loss(tmp_path):
    run = train(tmp_path, make_batches(), epochs=3, names=('head', 'other'))
    assert len(list((tmp_path / 'soft_labels').iterdir())) == 2
    for name in ('head', 'other'):
        start = ToyClassifier(OLS, (name,)).losses[name].soft_labels
        expected = {'epoch_0': start}
        for epoch, states in run['epochs'].items():
            expected[f'epoch_{epoch}'] = states[name]['soft_labels']
        exactly(records(tmp_path, name), expected)


@pytest.mark.parametrize(
    ('arguments', 'steps'),
    [
        (dict(epochs=4, ols=dict(record_interval=2)), {'epoch_0', 'epoch_2', 'epoch_4'}),
        (dict(epochs=4, ols=dict(interval=2, record_interval=2)), {'epoch_0', 'epoch_4'}),
        (dict(epochs=1, ols=dict(by_epoch=False, interval=2)), {'iter_0', 'iter_2', 'iter_4'}),
        (dict(iters=4, ols=dict(by_epoch=False, interval=3)), {'iter_0', 'iter_3'}),
        (dict(epochs=2, ols=dict(record_interval=0)), set()),
    ],
)
def test_recording_interval(tmp_path, arguments, steps):
    train(tmp_path, make_batches(), **arguments)
    assert set(records(tmp_path)) == steps


def test_a_record_that_breaks_off_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    def full_disk(file, matrix):
        with file if hasattr(file, 'write') else file.open('wb') as opened:
            opened.write(b'\x93NUMPY')
        raise OSError('no space left')

    monkeypatch.setattr(np, 'save', full_disk)
    with pytest.raises(OSError, match='no space left'):
        train(tmp_path, make_batches(), epochs=1)
    assert not list(tmp_path.rglob('*.npy'))


def test_large_matrices_are_recorded_on_request_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(
        soft_label_history, 'MAX_RECORDED', NUM_CLASSES
    )  # one less, with the background
    train(tmp_path / 'default', make_batches(), epochs=1)
    assert not records(tmp_path / 'default')
    train(tmp_path / 'asked', make_batches(), epochs=1, ols=dict(record_interval=1))
    assert set(records(tmp_path / 'asked')) == {'epoch_0', 'epoch_1'}


def test_resumed_run_leaves_the_history_of_an_uninterrupted_one(tmp_path):
    whole = tmp_path / 'whole'
    train(whole, make_batches(), epochs=3, save=dict(interval=1))
    expected = records(whole)
    # A run that went elsewhere after epoch 1, and further; then one that goes on from epoch 1.
    folder = tmp_path / 'resumed'
    train(folder, make_batches(seed=5), epochs=5, resume_from=whole / 'epoch_1.pth')
    assert set(records(folder)) == {f'epoch_{epoch}' for epoch in (2, 3, 4, 5)}
    (folder / 'soft_labels/losses.head/mine.npy').write_bytes(b'not ours')
    train(folder, make_batches(), epochs=3, resume_from=whole / 'epoch_1.pth')
    (folder / 'soft_labels/losses.head/mine.npy').unlink()
    exactly(records(folder), {step: expected[step] for step in ('epoch_2', 'epoch_3')})

    train(folder, make_batches(), epochs=1)  # a new file
    exactly(records(folder), {step: expected[step] for step in ('epoch_0', 'epoch_1')})


def test_only_the_first_process_records(tmp_path, monkeypatch):
    monkeypatch.setattr(mmengine.dist, 'is_main_process', lambda: False)
    train(tmp_path, make_batches(), epochs=1)
    assert not (tmp_path / 'soft_labels').exists()


def test_a_picture_that_cannot_be_drawn_is_said_once_and_ends_nothing(tmp_path, monkeypatch):
    import mmdet_ols.visualization

    def broken(*args, **kwargs):
        raise RuntimeError('no such glyph')

    monkeypatch.setattr(mmdet_ols.visualization, 'draw_soft_labels', broken)
    train(tmp_path, make_batches(), epochs=3, ols=dict(draw_interval=1), save=dict(interval=1))
    assert (tmp_path / 'epoch_3.pth').exists() and not list(tmp_path.rglob('*.png'))
    (log,) = tmp_path.rglob('*.log')
    text = log.read_text()
    assert text.count('cannot be drawn') == 1
    assert 'RuntimeError: no such glyph' in text and 'draw_interval' in text


def test_names_that_look_like_mathematics_are_drawn(tmp_path):
    # The title of the picture is the name of the loss.
    train(tmp_path, make_batches(), epochs=1, ols=dict(draw_interval=1), names=('$5_$',))
    assert len(list(tmp_path.rglob('soft_labels_*.png'))) == 1


def test_what_fonts_lack_is_in_the_log(tmp_path, monkeypatch):
    import warnings

    import mmdet_ols.visualization

    def draw(*args, **kwargs):
        warnings.warn('No installed font has it', stacklevel=1)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(mmdet_ols.visualization, 'draw_soft_labels', draw)
    train(tmp_path, make_batches(), epochs=3, ols=dict(draw_interval=1))
    (log,) = tmp_path.rglob('*.log')
    assert log.read_text().count('No installed font has it') == 1
    assert len(list(tmp_path.rglob('soft_labels_*.png'))) == 3
