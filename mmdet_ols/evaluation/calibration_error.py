"""How far a classifier's confidence is from its accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch

from mmdet_ols.core.arguments import check_choice, check_integer
from mmdet_ols.evaluation.descriptions import MetricDescription
from mmdet_ols.evaluation.passes import ground_truth_labels
from mmdet_ols.registry import BaseMetric, register_metric

#: What is logged, by the norm over the bins.
NAMES = {'l1': 'ece', 'l2': 'rmsce', 'max': 'mce'}


@register_metric
class CalibrationError(BaseMetric):
    """Expected calibration error (ECE) of the predicted class, in per cent.

    The confidences (highest scores) are sorted into bins of equal width over [0, 1]. In each bin
    the mean confidence is compared with the share of correct predictions; bins are weighted by
    their number of samples (Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599; 15 bins as in
    their code, since the paper on online label smoothing gives no number).

    TorchMetrics computes it. Its bins are [low, high), those of Guo et al. (low, high]. The two
    differ for confidences exactly on an inner edge, and at 1, for which TorchMetrics would have a
    bin of its own. Overconfident networks often reach 1 in float32, so it is put into the last
    bin here, as in the definition.

    Logs `calibration/ece`.

    Args:
        n_bins: Number of bins.
        norm: 'l1' for the ECE, 'max' for the maximum over the bins (logged as `mce`), 'l2' for
            the root of the mean square (`rmsce`).
        collect_device: Where the processes' results are gathered, 'cpu' or 'gpu'.
        prefix: What the names of the logged values start with.

    Raises:
        ImportError: TorchMetrics is not installed.
        ValueError: An argument is out of range.
    """

    default_prefix = 'calibration'
    logged_metrics = tuple(
        MetricDescription(
            rf'(?P<group>.+)/{name}', f'{{group}} {name.upper()}', '%', lower_is_better=True
        )
        for name in NAMES.values()
    )

    def __init__(
        self,
        n_bins: int = 15,
        norm: Literal['l1', 'l2', 'max'] = 'l1',
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        try:  # now, rather than after hours of training
            import torchmetrics  # noqa: F401
        except ImportError as error:
            raise ImportError(
                'CalibrationError needs TorchMetrics: pip install torchmetrics'
            ) from error
        check_integer('n_bins', n_bins)
        check_choice('norm', norm, NAMES)
        self.n_bins = n_bins
        self.norm = norm

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the confidence of each prediction, and whether it is correct.

        Args:
            data_batch: Not used.
            data_samples: MMPretrain's data samples as dicts.

        Raises:
            ValueError: A score is not a probability, or a sample has not exactly one label.
        """
        scores = torch.stack([sample['pred_score'] for sample in data_samples])
        label = ground_truth_labels(data_samples).to(scores.device)
        confidence, predicted = scores.max(dim=1)
        if bool(((confidence < 0) | (confidence > 1 + 1e-6)).any()):
            raise ValueError(
                'CalibrationError needs scores between 0 and 1, but the highest scores of a batch '
                f'are {confidence.min():.3g} to {confidence.max():.3g}: the head must predict '
                'probabilities.'
            )
        self.results.extend(zip(confidence.tolist(), (predicted == label).tolist()))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the error from all samples at once.

        Args:
            results: What `process` kept, of all images and processes.
        """
        from torchmetrics.functional.classification import binary_calibration_error

        confidence, right = zip(*results)
        if any(map(math.isnan, confidence)):  # the network has diverged, which ends no training
            return {NAMES[self.norm]: math.nan}
        below_one = math.nextafter(1.0, 0.0)  # the last bin is [low, 1)
        error = binary_calibration_error(
            torch.tensor(confidence, dtype=torch.double).clamp(max=below_one),
            torch.tensor(right, dtype=torch.long),
            n_bins=self.n_bins,
            norm=self.norm,
        )
        return {NAMES[self.norm]: 100 * float(error)}
