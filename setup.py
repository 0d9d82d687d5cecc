"""The package's metadata; `pyproject.toml` holds the tools' settings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithConfigs(build_py):
    """Ship `configs` and `tools` in `mmdet_ols/.mim`, where MMEngine and MIM look for them.

    They are copied only into the build tree. An editable install needs no copy, since `config_path`
    finds the folder of the checkout there.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder in ('configs', 'tools'):
            target = Path(self.build_lib, 'mmdet_ols', '.mim', folder)
            # A build tree that is used again must not ship files that are gone by now.
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(
                ROOT / folder, target, ignore=shutil.ignore_patterns('__pycache__', '*.py[cod]')
            )


def read_version() -> str:
    """Read the version without importing the package, which would need torch."""
    text = (ROOT / 'mmdet_ols' / 'version.py').read_text(encoding='utf-8')
    return re.search(r"__version__ = '(.+)'", text).group(1)


setup(
    name='mmdet_ols',
    version=read_version(),
    description='Online Label Smoothing for MMDetection, MMPretrain, MMYOLO and plain PyTorch',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmdet_ols', 'mmdet_ols.*']),
    entry_points={'console_scripts': ['mmdet-ols = mmdet_ols.cli.main:main']},
    package_data={
        'mmdet_ols.analysis.report': ['*.html', '*.css'],
        'mmdet_ols.core.fused': ['*.cpp'],
        'mmdet_ols.paper': ['*.csv'],
        'mmdet_ols.reproduction': ['*.html', '*.css'],
    },
    python_requires='>=3.9',
    install_requires=['torch>=2.1'],
    extras_require={
        # Two families of hosts with the same import names: install one of them.
        'onedl': [
            'onedl-mmengine>=0.10.12',
            'onedl-mmcv>=2.3.6',
            'onedl-mmdetection>=3.5.1',
            'onedl-mmpretrain>=1.3.6',
        ],
        'openmmlab': ['mmengine>=0.10', 'mmcv>=2.0.0,<2.2.0', 'mmdet>=3.3', 'mmpretrain>=1.2'],
        'plot': ['Jinja2', 'matplotlib', 'Pillow', 'scipy'],
        'measure': ['scikit-learn', 'torchmetrics'],
        # benchmarks/label_mistakes.py compares with it.
        'mistakes': ['cleanlab>=2.7; python_version >= "3.10"', 'scikit-learn'],
        # `--executor slurm` submits with it.
        'cluster': ['submitit>=1.5'],
        'demo': ['numpy', 'Pillow', 'rich'],
        # `make docs` installs these at the versions of requirements/docs.txt.
        'docs': ['latex2mathml', 'mkdocs', 'mkdocs-material', 'mkdocstrings[python]', 'ruff'],
        'dev': ['mypy', 'pytest', 'pytest-timeout', 'pytest-xdist', 'ruff', 'scikit-learn'],
    },
    cmdclass={'build_py': BuildWithConfigs},
    zip_safe=False,
)
