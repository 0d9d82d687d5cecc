"""A host that cannot be imported: which one, why, and what to do."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, Registry

from mmdet_ols import host_imports
from mmdet_ols.checks.building import building_errors
from mmdet_ols.checks.config_errors import config_errors
from mmdet_ols.cli.main import run_tool
from mmdet_ols.config_tree import registered_class

WHY = r'toy_host cannot be imported: TypeError: .*toy_host\.py, line 2\)\.'


@pytest.fixture
def toy_host(tmp_path, monkeypatch):
    """A host whose import fails as that of MMPretrain does next to transformers 5."""
    (tmp_path / 'toy_host.py').write_text('Base = None\nclass Model(Base): pass\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(host_imports, 'HOSTS', ('toy_host',))
    yield tmp_path
    sys.modules.pop('toy_host', None)


def test_looking_up_a_class_says_why_its_host_is_not_there(toy_host):
    toy_models = Registry('toy', parent=MODELS, scope='toy', locations=['toy_host'])
    with pytest.raises(ImportError, match=WHY):
        registered_class(toy_models, dict(type='Model'), scope='toy')


def test_reading_a_config_says_why_a_host_that_it_imports_is_not_there(toy_host):
    path = toy_host / 'config.py'
    path.write_text("custom_imports = dict(imports=['toy_host'])\n")
    with pytest.raises(ValueError, match=rf'config\.py: {WHY}'), config_errors(path):
        Config.fromfile(path)


def test_building_says_why_a_host_is_not_there(toy_host):
    with pytest.raises(ValueError, match=WHY), building_errors(Config()):
        import toy_host  # noqa: F401


def test_building_says_so_of_an_error_that_hides_it(toy_host):
    with pytest.raises(ValueError, match=WHY), building_errors(Config()):
        try:
            import toy_host  # noqa: F401
        except TypeError as error:
            raise TypeError('no model here') from error


def test_an_error_that_was_dealt_with_is_not_blamed(toy_host):
    with pytest.raises(ValueError, match='no model here') as caught, building_errors(Config()):
        try:
            import toy_host  # noqa: F401
        except TypeError:
            raise TypeError('no model here') from None
    assert not re.search(WHY, str(caught.value))


def test_errors_of_other_modules_are_left_alone(tmp_path, monkeypatch):
    (tmp_path / 'toy_module.py').write_text('class Model(None): pass\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match='NoneType'), host_imports.host_import_errors():
        import toy_module  # noqa: F401


@pytest.mark.parametrize('installed, is_too_new', [('4.57.6', False), ('5.0.0', True)])
def test_a_transformers_that_is_too_new_is_named(monkeypatch, installed, is_too_new):
    monkeypatch.setattr(host_imports, 'version', {'transformers': installed}.__getitem__)
    named = f'does not work with transformers {installed}, which is installed: pip install'
    assert (named in host_imports._remedy('mmpretrain', 'an error')) == is_too_new
    assert host_imports._remedy('mmdet', 'an error') == ''


def test_a_host_that_two_distributions_have_written_is_named(monkeypatch, capsys):
    installed = {'mmengine': '0.10.7', 'onedl-mmdetection': '3.5.1'}

    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(host_imports, 'version', version)
    assert host_imports.hosts_installed_twice() is None
    installed['mmdet'] = '3.3.0'
    monkeypatch.setattr(sys, 'argv', ['make_demo_data.py', '--help'])
    with pytest.raises(SystemExit):
        run_tool('make_demo_data')
    assert (
        'warning: mmdet 3.3.0 and onedl-mmdetection 3.5.1 are both installed and write the same '
        'files, so that mmdet may be a mixture of them: pip uninstall mmdet onedl-mmdetection, '
        'then install one of them again.'
    ) in capsys.readouterr().err


@pytest.mark.parametrize(
    'error, remedy',
    [
        # As pip installs mmcv where it builds it without torch in sight, and as mmcv-lite is.
        ("No module named 'mmcv._ext'", '--no-build-isolation onedl-mmcv'),
        ('mmcv/_ext.cpython-311.so: undefined symbol: _ZN3c10', '--no-build-isolation onedl-mmcv'),
        ('libGL.so.1: cannot open shared object file', 'opencv-python-headless'),
    ],
)
def test_a_config_that_imports_a_broken_mmcv_says_what_to_do(error, remedy, tmp_path, monkeypatch):
    """MMEngine raises an error of its own, and wraps that of the host."""
    (tmp_path / 'mmcv.py').write_text(f'raise ImportError({error!r})\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'mmcv', raising=False)
    path = tmp_path / 'config.py'
    path.write_text("custom_imports = dict(imports=['mmcv'])\n")
    with pytest.raises(ValueError) as raised, config_errors(path):
        Config.fromfile(path)
    assert f'mmcv cannot be imported: ImportError: {error}' in str(raised.value)
    assert remedy in str(raised.value)
