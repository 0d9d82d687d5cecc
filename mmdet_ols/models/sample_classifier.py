"""A classifier whose loss learns which samples it gets. Importing it needs MMPretrain.

A config that uses it imports it:
`custom_imports = dict(imports=['mmdet_ols.models.sample_classifier'])`.
"""

from __future__ import annotations

from typing import Any

from mmpretrain.models.classifiers import ImageClassifier
from torch import Tensor

from mmdet_ols.core import sample_numbers
from mmdet_ols.registry import register_model


@register_model
class SampleClassifier(ImageClassifier):
    """MMPretrain's `ImageClassifier`, which hands the numbers of its samples to the loss.

    The heads of MMPretrain pass on to their loss whatever else they are called with; so its loss is
    called with `sample_idx`, the numbers that `NumberedDataset` gave to the samples.
    """

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            inputs: The images, (B, C, H, W).
            data_samples: Label and number of each.
        """
        index = sample_numbers(data_samples)
        return self.head.loss(self.extract_feat(inputs), data_samples, sample_idx=index)
