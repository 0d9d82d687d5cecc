"""Online Label Smoothing for MMDetection, MMPretrain and plain PyTorch.

Importing the package registers its losses, hooks and metrics with MMEngine, if that is installed.
"""

from __future__ import annotations

from pathlib import Path

from mmdet_ols.core import no_teaching
from mmdet_ols.datasets import (
    BalancedSubset,
    BatchCutOut,
    BatchRandomCrop,
    BatchRandomFlip,
    BatchTransform,
    CleanPartDataset,
    CutOutSquare,
    FGVCAircraft90,
    InMemoryDataset,
    LabelFileDataset,
    NoisyLabelDataset,
    NumberedDataset,
    TwoViewDataset,
)
from mmdet_ols.datasets.voc_files import voc_classes
from mmdet_ols.engine.hooks import (
    AdversarialErrorHook,
    DivergenceHook,
    EnsembleHook,
    LateLossHook,
    OLSHook,
    SampleStateHook,
    TrainErrorHook,
)
from mmdet_ols.engine.meta_loops import L2RWTrainLoop, MetaWeightNetTrainLoop
from mmdet_ols.evaluation import CalibrationError, CIFAR10HDivergence, VOCAPMetric
from mmdet_ols.evaluation.attacks import small_pgd_attacks
from mmdet_ols.losses import (
    BootstrapLoss,
    DisturbLabelLoss,
    LSLoss,
    OLSLoss,
    OLSSingleLoss,
    OLSSparseLoss,
    PairwiseConfusionLoss,
    SCELoss,
    TfKDRegLoss,
)
from mmdet_ols.methods import apply_method
from mmdet_ols.models import SAN, AvgPoolDropout, BatchRandomScale, CIFARResNet, CIFARResNeXt
from mmdet_ols.paper import paper_results
from mmdet_ols.version import __version__

__all__ = [
    'AdversarialErrorHook',
    'AvgPoolDropout',
    'BalancedSubset',
    'BatchCutOut',
    'BatchRandomCrop',
    'BatchRandomFlip',
    'BatchRandomScale',
    'BatchTransform',
    'BootstrapLoss',
    'CIFAR10HDivergence',
    'CIFARResNeXt',
    'CIFARResNet',
    'CalibrationError',
    'CleanPartDataset',
    'CutOutSquare',
    'DisturbLabelLoss',
    'DivergenceHook',
    'EnsembleHook',
    'FGVCAircraft90',
    'InMemoryDataset',
    'L2RWTrainLoop',
    'LSLoss',
    'LabelFileDataset',
    'LateLossHook',
    'MetaWeightNetTrainLoop',
    'NoisyLabelDataset',
    'NumberedDataset',
    'OLSHook',
    'OLSLoss',
    'OLSSingleLoss',
    'OLSSparseLoss',
    'PairwiseConfusionLoss',
    'SAN',
    'SCELoss',
    'SampleStateHook',
    'TfKDRegLoss',
    'TrainErrorHook',
    'TwoViewDataset',
    'VOCAPMetric',
    '__version__',
    'apply_method',
    'config_path',
    'no_teaching',
    'paper_results',
    'small_pgd_attacks',
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
