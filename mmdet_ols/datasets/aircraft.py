"""FGVC Aircraft with the 90 classes of the paper's Table V."""

from __future__ import annotations

from typing import Any

from mmdet_ols.datasets.wrapper import DatasetWrapper
from mmdet_ols.registry import register_dataset


@register_dataset
class FGVCAircraft90(DatasetWrapper):
    """MMPretrain's `FGVCAircraft`, of whose class names only the first word counts.

    The paper has 90 classes where the data set has 100 variants. Its authors' lists show why: names
    were cut at the first space, which makes one class each of the 4 variants of Cessna, the 3 of
    Fokker, and the 2 of BAE, ERJ, Falcon, Gulfstream and Saab.

    Args:
        **options: The arguments of `FGVCAircraft`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(dict(type='mmpretrain.FGVCAircraft', **options))
        words = [name.split()[0] for name in self.dataset.metainfo['classes']]
        classes = tuple(dict.fromkeys(words))
        self.metainfo = {**self.dataset.metainfo, 'classes': classes}
        self._merged = [classes.index(word) for word in words]

    def __getitem__(self, index: int) -> Any:
        return self.dataset.pipeline(self.get_data_info(index))

    def get_data_info(self, index: int) -> dict[str, Any]:
        """What is known of a sample, with its merged label."""
        info = self.dataset.get_data_info(index)
        return {**info, 'gt_label': self._merged[info['gt_label']]}

    def get_cat_ids(self, index: int) -> list[int]:
        """The merged label of a sample, as the data sets of MMPretrain give it."""
        return [self.get_data_info(index)['gt_label']]
