"""What is wrong in a config file is said with file, line and text."""

import re

import pytest

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
        ('a = 1\nb = dict(c=1\nd = 2\n', r"config\.py, line 2, is not Python: .*: b = dict\(c=1"),
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
        ("train_dataloader = dict(dataset='VOC')", r'`train_dataloader\.dataset` .* or a list of'),
        ("val_evaluator = 'VOCMetric'", '`val_evaluator` .* must be a dict or a list of dicts'),
        ('load_from = 5', '`load_from` of the config must be a string, but got int 5'),
    ],
)
def test_entries_of_the_wrong_kind(text, message, config):
    with pytest.raises(ValueError, match=message):
        read_config(config(text))
