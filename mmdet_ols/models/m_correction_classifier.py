"""A classifier that corrects labels and mixes images in pairs. Importing it needs MMPretrain.

A config that uses it imports it:
`custom_imports = dict(imports=['mmdet_ols.models.m_correction_classifier'])`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmdet_ols.core import sample_numbers
from mmdet_ols.core.random_streams import stream_seed
from mmdet_ols.models.sample_classifier import SampleClassifier
from mmdet_ols.registry import register_model

_STREAM = 1904  # tells these draws from others of the same seed


@register_model
class MCorrectionClassifier(SampleClassifier):
    """MMPretrain's `ImageClassifier` with the training step of M-correction (`MCorrectionLoss`).

    While labels are corrected, a step has a second forward pass without gradients, which predicts
    the classes of the images as they are. It is done in training mode, as in the released code, so
    that batch normalisation learns from these images as well. With the statistics of mixed images
    only, a network that changes quickly is taught its own wrong predictions, and soon predicts a
    single class. With `wrong_by='batch'`, a third pass in eval mode tells how likely the labels are
    wrong. Which images are mixed, and by which share, depends only on the seed, the epoch and the
    samples of the batch, so that a resumed training goes on as if it had not stopped.
    """

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """Correct the labels of a batch, mix its images, and compute the losses.

        Args:
            inputs: The images, (B, C, H, W).
            data_samples: Label and number of each.
        """
        loss = self.head.loss_module
        index = sample_numbers(data_samples)
        label = torch.cat([sample.gt_label for sample in data_samples]).to(inputs.device)
        scores, measured = inputs.new_zeros(len(label), loss.num_classes), None
        if loss.corrects:
            with torch.no_grad():
                scores = self.head(self.extract_feat(inputs))
                if loss.wrong_by == 'batch':
                    with _eval_mode(self):
                        measured = self.head(self.extract_feat(inputs))
            # Autocast would use the weights that it converted without gradients again.
            torch.clear_autocast_cache()
        rows = loss.corrected_rows(scores, label, index, measured)
        if loss.mixup_alpha:
            draws = np.random.default_rng(
                stream_seed(loss.seed, _STREAM, loss.epoch, *index.tolist())
            )
            share = float(draws.beta(loss.mixup_alpha, loss.mixup_alpha))
            partner = torch.from_numpy(draws.permutation(len(label))).to(inputs.device)
            inputs = share * inputs + (1 - share) * inputs[partner]
            rows = share * rows + (1 - share) * rows[partner]
        for sample, row in zip(data_samples, rows):
            sample.set_gt_score(row)
        return self.head.loss(self.extract_feat(inputs), data_samples, sample_idx=index)


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode for a while; random numbers are not touched."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
