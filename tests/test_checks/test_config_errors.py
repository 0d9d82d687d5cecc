"""What is wrong in a config file is said with file, line and text."""

import re

import pytest

from mmdet_ols.checks import entries
from mmdet_ols.engine.run_config import read_config

OTHERS = {
    'good.py': "a = 1\nmodel = dict(type='A')\n",
    'again.py': 'a = 2\n',
    'bad.py': 'x = 1\ny = undefined + 1\n',
    'broken_module.py': 'import torch\nimport nosuchthing\n',
    'failing_module.py': "import torch\nraise RuntimeError('no luck')\n",
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes the config of a test, next to some others."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in OTHERS.items():
        (tmp_path / name).write_text(text)

    def write(text):
        path = tmp_path / 'config.py'
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a = 1\nb = = 1\nd = 2\n', r'config\.py, line 2, is not Python: .*: b = = 1'),
        ('a = 1\nb = undefined + 1\n', r"config\.py, line 2: b = undefined \+ 1: NameError: name"),
        ("_base_ = ['bad.py']\n", r"bad\.py, line 2: y = undefined \+ 1: NameError"),
        ("_base_ = 'good.py'\nb = _base_.model.neck\n", r'config\.py, line 2: b = .*Attribut'),
        ('def f():\n    return 1 / 0\nx = f()\n', r'line 2: return 1 / 0: ZeroDivisionError'),
        ("_base_ = 'good.py'\nb = {{_base_.nothing}}\n", r"names 'nothing', which no config in"),
        ("_base_ = ['good.py', 'again.py']\n", r"config\.py cannot be read: .*Duplicate keys.*'a'"),
        ("_base_ = 'good.py'\na = dict(b=1)\n", r'config\.py cannot be read: .*_delete_=True'),
        ("_base_ = 'nopackage::sub/x.py'\n", r'config\.py cannot be read: .*nopackage'),
        (b'a = "\xe9"\n', r'config\.py must be saved as UTF-8'),
        (
            "custom_imports = dict(imports=['nosuchmodule'], allow_failed_imports=False)\n",
            r"config\.py: .*No module named 'nosuchmodule'.*PYTHONPATH=FOLDER",
        ),
        (
            "custom_imports = dict(imports=['broken_module'], allow_failed_imports=False)\n",
            r"No module named 'nosuchthing' \(.*broken_module\.py, line 2\)",
        ),
        (
            "custom_imports = dict(imports=['failing_module'], allow_failed_imports=False)\n",
            r'RuntimeError: no luck \(.*failing_module\.py, line 2\)',
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_config(text, message, config):
    with pytest.raises(ValueError, match=f'(?s){message}') as caught:
        read_config(config(text))
    assert 'sys.path' not in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ("_base_ = './god.py'\n", r'god\.py does not exist: .*good\.py.*`_base_` of .*config\.py'),
        ("_base_ = 'mmdet::yolo/absent.py'\n", r'config\.py: .*yolo/absent\.py'),
        ("x = open('/nosuch/file')\n", r"config\.py, line 1: x = open.*'/nosuch/file'"),
    ],
)
def test_files_that_are_not_there(text, message, config):
    with pytest.raises(FileNotFoundError, match=f'(?s){message}'):
        read_config(config(text))


def test_what_is_no_config(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=f'{re.escape(str(tmp_path))} is a folder: name'):
        read_config(tmp_path)
    (tmp_path / 'a.txt').touch()
    with pytest.raises(ValueError, match=r'a\.txt cannot be read: .*py/yml/yaml/json'):
        read_config(tmp_path / 'a.txt')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model = [1]', r'`model` of the config must be a dict, but got list \[1\]'),
        ("custom_hooks = dict(type='EMAHook')", '`custom_hooks` .* must be a list of dicts'),
        (
            "custom_hooks = ['EMAHook']",
            r"`custom_hooks\.0` .* a dict, but got str 'EMAHook'",
        ),
        ('default_hooks = dict(ols=[1])', r'`default_hooks\.ols` of the config must be a dict'),
        ('default_hooks = dict(ols=None)', r'`default_hooks\.ols` .* got None, .* only its own'),
        (
            "train_dataloader = dict(dataset='VOC')",
            r'`train_dataloader\.dataset` .* be a dict, but',
        ),
        (
            "train_dataloader = dict(dataset=[dict(type='VOCDataset'), dict(type='CocoDataset')])",
            r"`train_dataloader\.dataset` .* one data set, .* list of 2.*type='ConcatDataset'",
        ),
        ("val_evaluator = 'VOCMetric'", '`val_evaluator` .* must be a dict or a list of dicts'),
        ('load_from = 5', '`load_from` of the config must be a string, but got int 5'),
        ("train_cfg = dict(max_epochs='ten')", r"`train_cfg\.max_epochs` .* at least 0, .*'ten'"),
        ('train_cfg = dict(max_epochs=1.5)', r'`train_cfg\.max_epochs` .* whole number .*1\.5'),
        ('train_cfg = dict(val_interval=0)', r'`train_cfg\.val_interval` .* at least 1, but got 0'),
        ('val_dataloader = dict(batch_size=0)', r'`val_dataloader\.batch_size` .* at least 1'),
        ("test_dataloader = dict(num_workers='two')", r"`test_dataloader\.num_workers` .*'two'"),
        ('randomness = dict(seed="abc")', r"`randomness\.seed` .* whole number .*'abc'"),
        (
            "default_hooks = dict(checkpoint=dict(type='CheckpointHook', intervall=2))",
            r'CheckpointHook has no argument `intervall` \(did you mean `interval`\?\)',
        ),
    ],
)
def test_entries_of_the_wrong_kind(text, message, config):
    with pytest.raises(ValueError, match=message):
        read_config(config(text))


def test_what_a_checkpoint_hook_hands_on_may_stay(config):
    hook = dict(type='CheckpointHook', save_optimizer=False, priority='LOW', meta=None)
    read_config(config(f'default_hooks = dict(checkpoint={hook!r})'))


VARIABLES = """
max_epochs = 9
data_root = 'data'
train_cfg = dict(max_epochs=max_epochs)
"""


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (
            'max_epochs=2',
            r'max_epochs=\.\.\. has no effect.* variable .*train_cfg\.max_epochs\.',
        ),
        ('data_root=elsewhere', r'variable .*name the folder with --data-root'),
        ('load_form=x.pth', r'no entry that something reads \(did you mean `load_from`\?\)'),
    ],
)
def test_options_without_an_effect_are_said(option, message, config, monkeypatch):
    said = []
    monkeypatch.setattr(entries, 'warn', said.append)
    read_config(config(VARIABLES), options=[option, 'train_cfg.val_interval=1', 'resume=True'])
    assert len(said) == 1 and re.search(message, said[0])


def test_a_runner_of_ones_own_may_read_any_option(config, monkeypatch):
    said = []
    monkeypatch.setattr(entries, 'warn', said.append)
    read_config(config(f"{VARIABLES}runner_type = 'MyRunner'\n"), options=['max_epochs=2'])
    assert said == []


@pytest.mark.parametrize(
    ('text', 'use', 'message'),
    [
        ('', 'train', 'To train, the config must have train_dataloader, .* none of them: add them'),
        ('val_dataloader = dict()', 'test', 'test_dataloader = val_dataloader and so on'),
    ],
)
def test_a_config_that_does_not_say_what_to_do(text, use, message, config):
    cfg = read_config(config(f"model = dict(type='A')\n{text}\n"))
    with pytest.raises(ValueError, match=message):
        entries.check_parts(cfg, use)


def test_a_config_of_the_earlier_generation_is_none_for_a_method_either(config):
    head = dict(type='RetinaHead', num_classes=3, in_channels=8)
    text = f"model = dict(type='RetinaNet', bbox_head={head})\ndata = dict(train=dict())\n"
    path = config(f'{text}runner = dict(max_epochs=12)\noptimizer = dict(lr=0.1)\n')
    message = (
        'has data, runner, optimizer, as MMDetection 2 .* start from a config of MMDetection 3'
    )
    for method in (None, 'ols'):
        with pytest.raises(ValueError, match=message):
            read_config(path, method=method)


def test_what_is_there_in_part_is_left_to_the_host(config):
    entries.check_parts(read_config(config('train_cfg = dict(max_epochs=1)')), 'train')
