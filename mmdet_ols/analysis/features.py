"""What lies before the last layer of a classifier, in two dimensions: t-SNE of its features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from torch import Tensor, nn

from mmdet_ols.analysis.annotations import build_model, test_pipeline, unaugmented
from mmdet_ols.evaluation.passes import ground_truth_labels

#: With more classes than this a colour stands for several of them.
NUM_COLORS = 10


class Features(NamedTuple):
    """Features (n, D) of n images, their labels (n,), and the names of the classes, if known."""

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
        max_samples: Take this many images, evenly spaced over the data set; 0 takes all.

    Raises:
        ValueError: The network is no classifier, or the config has no data for the split.
    """
    from mmengine.dataset import pseudo_collate
    from rich.progress import track
    from torch.utils.data import DataLoader, Subset

    model = build_model(cfg, checkpoint)
    if not hasattr(model, 'with_head') or not hasattr(model, 'extract_feat'):
        raise ValueError(
            'Features are those of a classifier of MMPretrain (ImageClassifier), but the config '
            f'builds {type(model).__name__}.'
        )
    loader_cfg = cfg.get(f'{split}_dataloader')
    if not loader_cfg:
        raise ValueError(f'The config has no data set for {split}: `{split}_dataloader` is empty.')
    dataset = DATASETS.build(unaugmented(loader_cfg['dataset'], test_pipeline(cfg), cfg))
    count = min(max_samples or len(dataset), len(dataset))
    chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
    loader: DataLoader = DataLoader(
        Subset(dataset, chosen),
        batch_size=(cfg.get('test_dataloader') or loader_cfg).get('batch_size', 1),
        num_workers=loader_cfg.get('num_workers', 0),
        collate_fn=pseudo_collate,
    )
    values, labels = [], []
    with torch.inference_mode():
        for batch in track(loader, f'Looking at the {split} images'):
            values.append(_pooled(model, batch).float().cpu())
            labels.append(ground_truth_labels(batch['data_samples']).cpu())
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
    return Features(torch.cat(values).numpy(), torch.cat(labels).numpy(), classes)


def _pooled(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    inputs = model.data_preprocessor(batch, training=False)['inputs']  # type: ignore[operator]
    found = model.extract_feat(inputs, stage='neck')  # type: ignore[operator]
    last = found[-1] if isinstance(found, (tuple, list)) else found
    return last.flatten(2).mean(2) if last.ndim > 2 else last  # a network may have no neck


def embed(values: np.ndarray, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton, JMLR 2008) from the first two principal components.

    Args:
        values: (n, D), with n above `perplexity`.
        perplexity: About how many neighbours a point has.
        seed: Of the optimisation.

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


def draw_embeddings(
    embeddings: Sequence[np.ndarray], features: Sequence[Features], titles: Sequence[str]
) -> Any:
    """Draw embeddings (n, 2) side by side; a colour is a class, or every tenth one.

    Returns:
        A matplotlib figure.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: pip install 'mmdet_ols[plot]'.") from error

    figure = Figure(figsize=(5 * len(titles), 5.6), dpi=130, layout='constrained')
    FigureCanvasAgg(figure)  # no pyplot: nothing global, no display needed
    colors = colormaps['tab10'](np.arange(NUM_COLORS))
    panels = figure.subplots(1, len(titles), squeeze=False)[0]
    for panel, points, found, title in zip(panels, embeddings, features, titles):
        shades = colors[found.labels % NUM_COLORS]
        size = min(20, max(2, 15000 / len(points)))
        panel.scatter(*points.T, s=size, c=shades, alpha=0.7, linewidths=0)
        panel.set_title(title)
        panel.set(xticks=[], yticks=[], box_aspect=1)
        panel.set_aspect('equal', adjustable='datalim')
    present = sorted({int(label) for found in features for label in found.labels})
    classes = features[0].classes
    if present[-1] < NUM_COLORS:
        for label in present:  # dots of the legend alone
            name = classes[label] if label < len(classes) else str(label)
            panels[0].scatter([], [], s=30, color=colors[label % NUM_COLORS], label=name)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc='outside lower center', ncols=5, frameon=False)
    return figure
