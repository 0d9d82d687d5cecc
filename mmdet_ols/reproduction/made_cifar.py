"""CIFAR's data sets for made images; a config that names one has to import this module."""

from __future__ import annotations

from mmpretrain.datasets import CIFAR10, CIFAR100

from mmdet_ols.registry import register_dataset


def _any_content(files: list[list[str]]) -> list[list]:
    """MMPretrain's list of files, without their MD5 sums: none is looked at where it is None."""
    return [[name, None] for name, _ in files]


@register_dataset
class MadeCIFAR10(CIFAR10):
    """CIFAR-10's layout with other images in it."""

    train_list = _any_content(CIFAR10.train_list)
    test_list = _any_content(CIFAR10.test_list)


@register_dataset
class MadeCIFAR100(CIFAR100):
    """CIFAR-100's layout with other images in it."""

    train_list = _any_content(CIFAR100.train_list)
    test_list = _any_content(CIFAR100.test_list)
