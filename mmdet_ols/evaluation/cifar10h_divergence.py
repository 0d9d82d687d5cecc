"""How far a classifier's probabilities are from those of people on CIFAR-10's test images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.evaluation.descriptions import MetricDescription
from mmdet_ols.registry import BaseMetric, register_metric

#: People's first choice differs from the label in 0.79 % of the images.
MOST_DISAGREEMENT = 0.05


@register_metric
class CIFAR10HDivergence(BaseMetric):
    """KL divergence from the model's to people's probabilities, on correctly classified images.

    KL(human || model) = sum_k h_k (ln h_k - ln p_k) in nats, the mean over the test images whose
    predicted class is the label. CIFAR-10H (Peterson et al., ICCV 2019,
    https://github.com/jcpeterson/cifar-10h) holds about 50 people's choices for each of the 10,000
    test images. Where the script of the authors of online label smoothing differs, it
    averages within batches of 128 first (`batch_size=128`), and leaves batch normalisation in
    training mode, which this does not copy. Probabilities that are 0 in float32 count as 1e-38.

    The file's rows follow the test set. The images are put into its order by the `sample_idx` that
    MMPretrain's data sets give (so a shuffled loader does no harm), or taken as they come where
    that is missing or no permutation; an order that does not agree with the labels is refused.

    Logs `cifar10h/kl`.

    Args:
        human: Path of `cifar10h-probs.npy` (or `cifar10h-counts.npy`), of shape (images, classes).
        batch_size: None for the plain mean, or the size of the batches of a mean of means.
        collect_device: Where the processes' results are gathered, 'cpu' or 'gpu'.
        prefix: What the names of the logged values start with.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It does not hold probabilities.
    """

    default_prefix = 'cifar10h'
    logged_metrics = (
        MetricDescription(r'cifar10h/kl', 'cifar10h KL', 'nats', lower_is_better=True),
    )

    def __init__(
        self,
        human: str,
        batch_size: int | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        check_integer('batch_size', batch_size, optional=True)
        self.human = _read(human)
        self.batch_size = batch_size

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep place, label and probabilities of each image.

        Args:
            data_batch: Not used.
            data_samples: MMPretrain's data samples as dicts.
        """
        for sample in data_samples:
            place = sample.get('sample_idx', -1)
            self.results.append((place, int(sample['gt_label']), sample['pred_score'].tolist()))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compare with the human probabilities.

        Args:
            results: What `process` kept, of all images and processes.

        Raises:
            ValueError: The images are not those of the file.
        """
        if sorted(place for place, *_ in results) == list(range(len(results))):
            results = sorted(results)
        _, labels, scores = zip(*results)
        label, model = torch.tensor(labels), torch.tensor(scores, dtype=torch.double)
        if model.shape != self.human.shape:
            raise ValueError(
                f'`human` holds {_size(self.human)}, but the model was tested on {_size(model)}: '
                'CIFAR10HDivergence needs the whole test set of CIFAR-10.'
            )
        disagreement = (self.human.argmax(dim=1) != label).double().mean()
        if disagreement > MOST_DISAGREEMENT:
            raise ValueError(
                f'`human` disagrees with {disagreement:.0%} of the labels, where people disagree '
                'with 0.8 %: its rows belong to other images. The data set must list its images '
                "(and classes) in the order of CIFAR-10's test batch, and the test loader must "
                'not shuffle (shuffle=False).'
            )
        # Whether the model's first choice is correct, as in the accuracy.
        right = model.argmax(dim=1) == label
        model = model.clamp(min=torch.finfo(torch.float).tiny)
        divergence = F.kl_div(model.log(), self.human, reduction='none').sum(dim=1)
        means = [
            values[mask].mean()
            for values, mask in zip(
                *(x.split(self.batch_size or len(x)) for x in (divergence, right))
            )
            if mask.any()
        ]
        return {'kl': float(torch.stack(means).mean()) if means else float('nan')}


def _read(path: str) -> Tensor:
    import numpy as np  # not at the top: without a host, torch is all that the package needs

    if not Path(path).is_file():
        raise FileNotFoundError(
            f'`human` must be the file of the human probabilities, but there is no {path}. '
            'Download data/cifar10h-probs.npy (400 kB) from '
            'https://github.com/jcpeterson/cifar-10h and put it there.'
        )
    human = torch.from_numpy(np.load(path)).double()
    if human.ndim != 2 or bool((human < 0).any()) or not bool((human.sum(dim=1) > 0).all()):
        raise ValueError(
            '`human` must hold one row of probabilities (or counts) an image, but '
            f'{path} holds an array of shape {tuple(human.shape)} that does not.'
        )
    return human / human.sum(dim=1, keepdim=True)


def _size(scores: Tensor) -> str:
    return f'{len(scores)} images of {scores.shape[1]} classes'
