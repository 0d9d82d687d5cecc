"""Features of a classifier before its last layer, and their t-SNE in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmdet_ols.analysis.predictions import load_model
from mmdet_ols.analysis.split_data import evenly_spaced, loader_in_order, split_images
from mmdet_ols.core.arguments import check_integer
from mmdet_ols.evaluation.passes import ground_truth_labels


class Features(NamedTuple):
    """Features (n, D) of n images, their labels (n,), and the class names, if they are known."""

    values: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]


def read_features(
    cfg: Config, checkpoint: str | Path, split: str = 'test', max_samples: int = 0
) -> Features:
    """Pooled features of a trained classifier of MMPretrain, in eval mode and without augmentation.

    Args:
        cfg: Config that the network was trained with.
        checkpoint: Its checkpoint.
        split: 'train', 'val' or 'test'. The images pass the pipeline of the test in any case.
        max_samples: Take this many images at most, evenly spaced over the split; 0 takes all. None
            is taken twice, whatever repeats it in the training.

    Raises:
        ValueError: The network is not a classifier, the config has no data for the split, or
            `max_samples` is negative.
    """
    from rich.progress import track

    check_integer('max_samples', max_samples, least=0)
    model = load_model(cfg, checkpoint)
    if not hasattr(model, 'with_head') or not hasattr(model, 'extract_feat'):
        raise ValueError(
            'Features are read from a classifier of MMPretrain (ImageClassifier), but the config '
            f'builds {type(model).__name__}.'
        )
    images = split_images(cfg, split)
    loader_cfg = cfg[f'{split}_dataloader']
    loader = loader_in_order(
        images,
        evenly_spaced(len(images), max_samples),
        batch_size=(cfg.get('test_dataloader') or loader_cfg).get('batch_size', 1),
        num_workers=loader_cfg.get('num_workers', 0),
    )
    values, labels = [], []
    with torch.inference_mode():
        for batch in track(loader, f'Reading features of the {split} images'):
            values.append(_pooled(model, batch).float().cpu())
            labels.append(ground_truth_labels(batch['data_samples']).cpu())
    classes = (getattr(images.datasets[0], 'metainfo', None) or {}).get('classes') or ()
    return Features(torch.cat(values).numpy(), torch.cat(labels).numpy(), classes)


def _pooled(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    inputs = model.data_preprocessor(batch, training=False)['inputs']  # type: ignore[operator]
    stages = model.extract_feat(inputs, stage='neck')  # type: ignore[operator]
    last = stages[-1] if isinstance(stages, (tuple, list)) else stages
    return last.flatten(2).mean(2) if last.ndim > 2 else last  # a network may have no neck


def embed(values: np.ndarray, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """Compute t-SNE (van der Maaten and Hinton, JMLR 2008), starting from the first two components.

    Args:
        values: (n, D), with n above `perplexity`.
        perplexity: Roughly the number of neighbours of a point.
        seed: Seed of the optimisation.

    Returns:
        (n, 2) float32.

    Raises:
        ImportError: scikit-learn is missing.
        ValueError: There are too few values.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError('t-SNE needs scikit-learn: pip install scikit-learn.') from error
    if not 0 < perplexity < len(values):
        raise ValueError(
            '`perplexity` must be above 0 and below the number of samples '
            f'({len(values)}), but got {perplexity:g}.'
        )
    tsne = TSNE(init='pca', learning_rate='auto', perplexity=perplexity, random_state=seed)
    return tsne.fit_transform(values)
