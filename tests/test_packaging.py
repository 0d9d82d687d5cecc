"""What a user gets who installs a built package: all files, one requirement, and no host needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from toy_lenet import write_lenet

import mmdet_ols

ROOT = Path(__file__).resolve().parent.parent
#: Compiled on the user's machine.
FUSED = 'mmdet_ols/core/fused/cross_entropy.cpp'
FIGURES = {'mmdet_ols/paper/results.csv', 'mmdet_ols/paper/cells.csv'}
PIP = (sys.executable, '-m', 'pip', '--disable-pip-version-check')


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone would hold, so that no build product of the checkout gets in."""
    if not (ROOT / '.git').exists():
        pytest.skip('needs a git checkout: the list of files is asked of git')
    target = tmp_path_factory.mktemp('source')
    listed = run('git', 'ls-files', '--cached', '--others', '--exclude-standard', cwd=ROOT)
    for name in listed.splitlines():
        # A file that was removed and not yet committed is still listed.
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture(scope='module')
def shipped(source: Path) -> set[str]:
    """The files of `configs` and `tools`."""
    files = {
        path.relative_to(source).as_posix()
        for folder in ('configs', 'tools')
        for path in (source / folder).rglob('*')
        if path.is_file()
    }
    assert {'configs/yolo_ols_voc.py', 'tools/train.py'} <= files
    return files


@pytest.fixture(scope='module')
def wheel(source: Path, shipped: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('wheel')
    run(*PIP, 'wheel', '--no-deps', '--no-build-isolation', '-w', folder, '.', cwd=source)
    (path,) = folder.glob('*.whl')
    return path


@pytest.fixture(scope='module')
def metadata(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith('.dist-info/METADATA'))
        return Parser().parsestr(archive.read(name).decode())


def test_wheel_has_all_configs_and_tools(wheel, source, shipped):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f'mmdet_ols/.mim/{name}' for name in shipped} - names == set()
    # They are put into the build tree, never among the sources.
    assert not (source / 'mmdet_ols' / '.mim').exists()


def test_wheel_has_every_module_and_nothing_else_at_the_top(wheel, source):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {p.relative_to(source).as_posix() for p in (source / 'mmdet_ols').rglob('*.py')}
    assert modules - names == set()
    assert {FUSED, *FIGURES} - names == set()
    tops = {name.split('/')[0] for name in names}
    info = f'mmdet_ols-{mmdet_ols.__version__}.dist-info'
    assert tops == {'mmdet_ols', info}


def test_sdist_has_all_configs_and_tools(source, shipped, tmp_path):
    build = 'import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])'
    run(sys.executable, '-c', build, tmp_path, cwd=source)
    (path,) = tmp_path.glob('*.tar.gz')
    with tarfile.open(path) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert (shipped | {'LICENSE', 'README.md', FUSED, *FIGURES}) - names == set()


def test_version_is_the_packages_own(metadata):
    assert metadata['Name'] == 'mmdet_ols'
    assert metadata['Version'] == mmdet_ols.__version__


def test_torch_is_the_only_unconditional_requirement(metadata):
    unconditional = [r for r in metadata.get_all('Requires-Dist') if 'extra ==' not in r]
    assert [re.match(r'[\w-]+', r)[0] for r in unconditional] == ['torch']


@pytest.fixture(scope='module')
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the wheel is installed, and nothing else."""
    folder = tmp_path_factory.mktemp('installed') / 'site'
    run(*PIP, 'install', '--no-deps', '--target', folder, wheel, cwd=folder.parent)
    return folder


def test_installed_wheel_needs_only_torch(site, tmp_path):
    absent = 'mmengine mmcv mmdet mmpretrain torchvision numpy cv2 PIL matplotlib rich sklearn'
    script = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in {absent.split()!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
sys.path.insert(0, {str(site)!r})
import mmdet_ols
from mmdet_ols import OLSLoss, config_path
OLSLoss(num_classes=3)
print(mmdet_ols.__file__)
print(config_path('yolo_ols_voc.py'))
from mmdet_ols.cli.main import main
sys.argv[1:] = ['train', 'config.py']
try:
    main()
except SystemExit as end:
    print(end)
"""
    package_file, config, error = run(sys.executable, '-c', script, cwd=tmp_path).splitlines()
    package = site / 'mmdet_ols'
    assert Path(package_file) == package / '__init__.py'
    assert Path(config) == package / '.mim' / 'configs' / 'yolo_ols_voc.py'
    assert Path(config).read_bytes() == (ROOT / 'configs' / 'yolo_ols_voc.py').read_bytes()
    assert error.startswith('error: mmengine is needed here, but it is not installed: pip install')


def test_the_command_trains_and_compares_where_only_the_wheel_is_installed(site, tmp_path):
    environment = {**os.environ, 'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '1'}
    config, data = write_lenet(tmp_path)

    def command(*words):
        return run(sys.executable, site / 'bin/mmdet-ols', *words, cwd=tmp_path, env=environment)

    own = "installed = __import__('mmdet_ols').__file__\n"
    config.write_text(config.read_text().replace("'nowhere'", repr(str(data))) + own)
    command('compare', config, '--seeds', '0', '--work-dir', 'runs')
    assert (tmp_path / 'runs/comparison.md').is_file()
    command('train', 'runs/lenet/seed_0/lenet.py', '--work-dir', 'again')
    assert (tmp_path / 'again/epoch_1.pth').is_file()
    for dumped in ('runs/lenet/seed_0/lenet.py', 'again/lenet.py'):
        assert f"installed='{site / 'mmdet_ols/__init__.py'}'" in (tmp_path / dumped).read_text()


@pytest.mark.parametrize('extra, lock', [('onedl', 'lock'), ('openmmlab', 'openmmlab')])
def test_an_extra_installs_hosts_that_work_together(extra, lock, metadata):
    pins = dict(
        re.findall(r'^([\w-]+)==([^\s;]+)', (ROOT / f'requirements/{lock}.txt').read_text(), re.M)
    )
    required = map(Requirement, metadata.get_all('Requires-Dist'))
    hosts = {r.name: r.specifier for r in required if str(r.marker) == f'extra == "{extra}"'}
    assert len(hosts) == 4
    assert all(specifier.contains(pins[name]) for name, specifier in hosts.items())
    # The newest mmcv, which the newest mmdet (3.3.0) refuses when it is imported.
    assert not hosts.get('mmcv', SpecifierSet('<2.2')).contains('2.2.0')
