"""A run starts only from a checkpoint that it can go on from."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import BaseLoop
from torch import nn

from mmdet_ols.checks import start
from mmdet_ols.checks.start import (
    check_checkpoint_exists,
    check_same_method,
    check_start,
    check_work_dir,
    checkpoint_to_resume,
    warn_of_earlier_run,
)


def config(method, **more):
    return Config(dict(resume=True, **more, **(dict(applied_method=method) if method else {})))


def run(folder, method, day=1, dumped='vis_data/config.py'):
    """What a training leaves behind."""
    start = folder / f'2024010{day}_120000'
    (start / 'vis_data').mkdir(parents=True)
    line = dict(iter=1, loss=1.0, step=1)
    (start / 'vis_data' / f'{start.name}.json').write_text(json.dumps(line) + '\n')
    config(method).dump(start / dumped)
    return folder


@pytest.mark.parametrize(
    ('before', 'asked', 'message'),
    [
        (
            'ols',
            'ls',
            'with --method ols and cannot .* with --method ls: pass --method ols',
        ),
        (
            'ols',
            None,
            'with --method ols and cannot .* without --method: pass --method ols',
        ),
        (
            None,
            'ols',
            'without --method and cannot be resumed with --method ols: leave --method out',
        ),
        ('ols', 'ols:alpha=0.3', 'with --method ols and .* with --method ols:alpha=0.3'),
        ('ols', 'ols', None),
        (None, None, None),
    ],
)
def test_another_method_is_refused(before, asked, message, tmp_path):
    run(tmp_path / 'other', asked if message else 'none')
    folder = run(run(tmp_path / 'run', 'an older start'), before, day=2)
    config('of a later test').dump(folder / 'config.py')
    (folder / 'epoch_1.pth').touch()
    automatic = config(asked, work_dir=str(folder))
    from_file = config(
        asked, work_dir=str(tmp_path / 'other'), load_from=str(folder / 'epoch_1.pth')
    )
    for cfg in (automatic, from_file):
        if message is None:
            check_same_method(cfg)
        else:
            with pytest.raises(ValueError, match=f'{re.escape(str(folder))} was made {message}'):
                check_same_method(cfg)


def test_what_is_not_resumed_may_have_any_method(tmp_path):
    folder = str(run(tmp_path / 'run', 'ols'))
    cfg = config('ls', work_dir=folder)
    cfg.resume = False
    check_same_method(cfg)
    check_same_method(config('ls', work_dir=str(tmp_path / 'empty')))


def test_the_first_process_checks_for_all(tmp_path, monkeypatch):
    """It overwrites the dumped config while the others may still be starting."""
    folder = str(run(tmp_path / 'run', 'ols'))
    monkeypatch.setenv('RANK', '1')
    check_same_method(config('ls', work_dir=folder))


def test_a_run_without_a_config_of_each_start(tmp_path):
    folder = run(tmp_path / 'run', 'ols', dumped='../yolo.py')
    with pytest.raises(ValueError, match='with --method ols'):
        check_same_method(config('ls', work_dir=str(folder)))


def test_scripts_next_to_a_checkpoint_are_not_executed(tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    (tmp_path / 'setup.py').write_text('import sys\nsys.exit("setup.py was executed")\n')
    (tmp_path / 'unfinished.py').write_text('model = (')
    (tmp_path / '__init__.py').touch()
    check_same_method(config('ols', load_from=str(tmp_path / 'epoch_1.pth')))
    config('ls').dump(tmp_path / 'a.py')
    with (tmp_path / 'a.py').open('a') as file:
        file.write('max_norm = inf\n')  # as earlier runs dumped it
    with pytest.raises(ValueError, match='was made with --method ls'):
        check_same_method(config('ols', load_from=str(tmp_path / 'epoch_1.pth')))


def test_a_checkpoint_that_is_not_there_is_said_before_the_data_are_looked_at(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no checkpoint file .*absent\.pth'):
        check_checkpoint_exists(Config(dict(load_from=str(tmp_path / 'absent.pth'))))
    (tmp_path / 'there.pth').touch()
    for there in (None, str(tmp_path / 'there.pth'), 'https://example.org/a.pth', str(tmp_path)):
        check_checkpoint_exists(Config(dict(load_from=there)))


def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(tmp_path):
    (tmp_path / 'epoch_2.pth').touch()
    with pytest.raises(FileNotFoundError, match=r'epoch_3\.pth\. .* holds epoch_2\.pth\.'):
        check_checkpoint_exists(Config(dict(load_from=str(tmp_path / 'epoch_3.pth'))))


def test_a_run_whose_folder_has_moved_goes_on(tmp_path):
    assert checkpoint_to_resume(str(tmp_path)) is None
    (tmp_path / 'last_checkpoint').write_text('/an/old/place/epoch_3.pth')
    (tmp_path / 'epoch_2.pth').touch()
    with pytest.raises(FileNotFoundError, match=r'/an/old/place/epoch_3\.pth .*holds epoch_2\.pth'):
        checkpoint_to_resume(str(tmp_path))
    (tmp_path / 'epoch_3.pth').touch()
    assert checkpoint_to_resume(str(tmp_path)) == str(tmp_path / 'epoch_3.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    assert checkpoint_to_resume(str(tmp_path)) is None  # which MMEngine finds


def test_a_copied_folder_goes_on_from_its_own_checkpoint(tmp_path):
    old, new = tmp_path / 'old', tmp_path / 'new'
    for folder in (old, new):
        folder.mkdir()
        (folder / 'epoch_3.pth').touch()
        (folder / 'last_checkpoint').write_text(str(old / 'epoch_3.pth'))
    (tmp_path / 'link').symlink_to(old)
    assert checkpoint_to_resume(str(new)) == str(new / 'epoch_3.pth')
    assert checkpoint_to_resume(str(tmp_path / 'link')) is None
    (new / 'epoch_3.pth').unlink()
    assert checkpoint_to_resume(str(new)) is None  # as MMEngine does


def test_the_folder_in_which_a_hook_saves_goes_before_what_an_earlier_run_left(tmp_path):
    saved = tmp_path / 'out_dir' / 'epoch_3.pth'
    saved.parent.mkdir()
    for path in (saved, tmp_path / 'epoch_3.pth'):
        path.touch()
    (tmp_path / 'last_checkpoint').write_text(str(saved))
    assert checkpoint_to_resume(str(tmp_path)) is None


def test_a_work_directory_must_be_a_folder(tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    for name in ('file', 'file/deeper'):
        with pytest.raises(ValueError, match=r'/file is a file: name another one with --work-dir'):
            check_work_dir(Config(dict(work_dir=str(tmp_path / name))))
    check_work_dir(Config(dict(work_dir=str(tmp_path / 'new/run'))))
    monkeypatch.setattr('os.access', lambda *args: False)
    with pytest.raises(ValueError, match='nothing may be written in'):
        check_work_dir(Config(dict(work_dir=str(tmp_path / 'new/run'))))


def test_a_new_training_over_an_earlier_one_is_a_warning(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(start, 'warn', said.append)
    cfg = Config(dict(work_dir=str(tmp_path)))
    warn_of_earlier_run(cfg)
    (tmp_path / 'epoch_2.pth').touch()
    warn_of_earlier_run(Config(dict(work_dir=str(tmp_path), resume=True)))
    assert said == []
    warn_of_earlier_run(cfg)
    assert len(said) == 1 and 'epoch_2.pth' in said[0] and '--resume' in said[0]


class Loop(BaseLoop):
    """A loop over data of these classes."""

    def __init__(self, classes):
        self.dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=classes)))

    def run(self):
        raise AssertionError('nothing is run before the start')


def runner_of(path, classes, use, **cfg):
    loop = Loop(classes)
    return SimpleNamespace(
        model=nn.Linear(2, 2),
        cfg=Config(cfg),
        work_dir=str(path.parent),
        _load_from=str(path),
        _resume=use == 'resume',
        _train_loop=loop if use != 'test' else None,
        _test_loop=loop if use == 'test' else None,
    )


@pytest.mark.parametrize('use', ['test', 'resume', 'start'])
def test_the_classes_of_a_checkpoint_are_compared_with_those_of_the_data(use, tmp_path):
    path = tmp_path / 'a.pth'
    meta = dict(epoch=1, iter=2, dataset_meta=dict(classes=('cat', 'dog')))
    weights = nn.Linear(2, 2).state_dict()
    torch.save(dict(state_dict=weights, meta=meta, message_hub={}), path)
    check_start(runner_of(path, ('cat', 'dog'), use), trained=use == 'test')
    swapped = runner_of(path, ('dog', 'cat'), use)
    if use == 'start':
        check_start(swapped)
        with pytest.raises(ValueError, match='another order'):
            check_start(swapped, strict=True)
    else:
        with pytest.raises(ValueError, match=r"another order.*label 0 is 'cat' there and 'dog'"):
            check_start(swapped, trained=use == 'test')
    renamed = runner_of(path, ('kitty', 'puppy'), use, classes_renamed=True)
    check_start(renamed, trained=use == 'test')


PROGRESS = dict(meta=dict(epoch=3, iter=9))  # of MMDetection 2


@pytest.mark.parametrize('meta', [{}, dict(meta=None), dict(meta=dict(epoch=3)), PROGRESS])
def test_weights_alone_cannot_be_resumed(meta, tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=nn.Linear(2, 2).state_dict(), **meta), path)
    with pytest.raises(ValueError, match=r'a\.pth has none .* --cfg-options load_from='):
        check_start(runner_of(path, (), 'resume'))
    for use in ('start', 'test'):
        check_start(runner_of(path, (), use), trained=use == 'test')


def test_a_checkpoint_without_tensors_is_said(tmp_path):
    torch.save(dict(state_dict=None), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match="'state_dict' of a checkpoint must hold .* a NoneType"):
        check_start(runner_of(tmp_path / 'a.pth', (), 'test'), trained=True)


def test_a_pointer_that_names_nothing_is_said(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('')
    (tmp_path / 'epoch_2.pth').touch()
    with pytest.raises(FileNotFoundError, match=r'is empty.* holds epoch_2\.pth.*--resume'):
        checkpoint_to_resume(str(tmp_path))


def test_a_remote_checkpoint_is_left_to_mmengine(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('s3://bucket/run/epoch_3.pth')
    assert checkpoint_to_resume(str(tmp_path)) is None


def test_a_teacher_may_have_moved_with_its_folder_but_be_no_other(tmp_path):
    run(tmp_path, 'tfkd_self:teacher=/old/place/hard/seed_0/epoch_3.pth')
    for place in ('new/hard/seed_0', '/old/place/hard/seed_0'):
        method = f'tfkd_self:teacher={place}/epoch_3.pth'
        check_same_method(config(method, work_dir=str(tmp_path)))
    for other in ('teacher=/old/place/hard/seed_0/epoch_9.pth', 'teacher=epoch_3.pth,form=fair'):
        with pytest.raises(ValueError, match='cannot be resumed with --method tfkd_self'):
            check_same_method(config(f'tfkd_self:{other}', work_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ('train_cfg', 'said'),
    [
        (dict(by_epoch=True, max_epochs=3), 'all 3 epochs'),
        (dict(by_epoch=True, max_epochs=4), None),
        (dict(by_epoch=False, max_iters=90), 'all 90 iterations'),
        (dict(by_epoch=False, max_iters=91), None),
    ],
)
def test_a_checkpoint_of_the_end_leaves_nothing_to_train(train_cfg, said, tmp_path, monkeypatch):
    texts = []
    monkeypatch.setattr(start, 'warn', texts.append)
    weights = nn.Linear(2, 2).state_dict()
    content = dict(state_dict=weights, meta=dict(epoch=3, iter=90), message_hub={}, optimizer={})
    torch.save(content, tmp_path / 'a.pth')
    check_start(runner_of(tmp_path / 'a.pth', (), 'resume', train_cfg=train_cfg))
    left = [text for text in texts if 'nothing is left to train' in text]
    assert len(left) == bool(said) and all(f'{said} behind it' in text for text in left)
