"""Online Label Smoothing for MMDetection, MMPretrain and plain PyTorch.

Importing the package registers its losses, hooks and metrics with MMEngine, if that is installed.
"""

from __future__ import annotations

from pathlib import Path

from mmdet_ols.datasets.voc_annotations import voc_classes
from mmdet_ols.hooks import OLSHook
from mmdet_ols.losses import LSLoss, OLSLoss
from mmdet_ols.metrics import VOCAPMetric
from mmdet_ols.models import BatchRandomScale
from mmdet_ols.version import __version__

__all__ = [
    'BatchRandomScale',
    'LSLoss',
    'OLSHook',
    'OLSLoss',
    'VOCAPMetric',
    '__version__',
    'config_path',
    'voc_classes',
]


def config_path(name: str) -> str:
    """Path of a shipped config, to inherit from wherever the package is installed.

    In a config of your own: `_base_ = [__import__('mmdet_ols').config_path('yolo_ols_voc.py')]`.

    Args:
        name: Path below `configs/`, such as 'yolo_ols_voc.py'.

    Raises:
        FileNotFoundError: There is no such config.
    """
    package = Path(__file__).resolve().parent
    folders = [package / '.mim' / 'configs', package.parent / 'configs']
    for folder in folders:
        if (folder / name).is_file():
            return str(folder / name)
    shipped = sorted(
        str(path.relative_to(folder)) for folder in folders for path in folder.rglob('*.py')
    )
    raise FileNotFoundError(
        f'`name` must be one of the shipped configs {shipped}, but got {name!r}.'
    )
