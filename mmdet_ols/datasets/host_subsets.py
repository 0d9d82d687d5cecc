"""A defect of MMEngine's subsets, mended."""

from __future__ import annotations

from inspect import signature
from typing import Any

from mmengine.dataset import BaseDataset


def mend_subsets() -> None:
    """Let a subset, such as KFoldDataset's, copy the attributes of its own data set only.

    Up to MMEngine 0.10.7, `BaseDataset.get_subset` remembers all copies of the process by the
    addresses of their originals. Where a data set is gone and something else lies at its address,
    such as the pipeline of the next one, the next subset gets the old data set in its place.
    """
    copy = BaseDataset._copy_without_annotation
    if signature(copy).parameters['memo'].default is None:
        return  # mended, by newer releases or by this function

    def with_own_memo(self: BaseDataset, memo: dict[int, Any] | None = None) -> BaseDataset:
        return copy(self, {} if memo is None else memo)

    BaseDataset._copy_without_annotation = with_own_memo
