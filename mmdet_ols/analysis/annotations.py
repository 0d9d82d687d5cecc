"""What a trained network thinks of every annotated object: the probable labelling mistakes."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import nn
from torchvision.ops import box_iou

from mmdet_ols.checks.checkpoints import check_fits, load_checkpoint
from mmdet_ols.config_tree import type_name
from mmdet_ols.datasets.tree import leaf_datasets

#: A prediction speaks for an annotated box from this overlap (IoU) on.
MIN_IOU = 0.5
#: Detections below this score are not asked for: they are many, and say nothing.
SCORE_THR = 0.005
#: An object whose best score is below this counts as not found.
MIN_SCORE = 0.05
#: Share of every class's profile that is spread over all classes, since a class that was never
#: predicted is rare rather than impossible.
SMOOTHING = 0.01


class Annotation(NamedTuple):
    """An annotated object, or an image of a classification data set."""

    #: The file; for data sets that hold arrays, the data set and the image's index.
    image: str
    #: Its place among the objects of the image that are of the config's classes, from 0.
    number: int
    #: (x0, y0, x1, y1) in pixels of the file; None is the whole image.
    box: tuple[float, float, float, float] | None
    label: int
    #: The index of the image among all of the split.
    sample: int
    #: The image, where the data set holds arrays instead of files.
    pixels: np.ndarray | None = None


class Suspect(NamedTuple):
    """How much an annotation disagrees with what the network sees; larger is worse.

    Below 0 the class that is written explains better what it sees.
    """

    #: Its row in the scores.
    row: int
    #: The class of the largest score among those that are not written.
    suggestion: int
    disagreement: float


# --- the data ------------------------------------------------------------------------------------


def read_annotations(cfg: Config, split: str = 'train', max_images: int = 0) -> list[Annotation]:
    """Every annotated object of a split; those to be ignored (difficult, crowds) are left out.

    Args:
        cfg: Config of MMDetection or MMPretrain.
        split: 'train', 'val' or 'test'.
        max_images: Take this many images at most, evenly spaced over the split; 0 takes all.

    Raises:
        ValueError: The split has no data set, or its data set no boxes and no image labels, or
            several labels an image.
        FileNotFoundError: The data are not where the config says.
    """
    datasets = _build_datasets(cfg, split, [])
    images = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
    chosen = list(range(len(images)))
    if 0 < max_images < len(images):
        chosen = np.linspace(0, len(images) - 1, max_images).round().astype(int).tolist()
    found = []
    for sample in chosen:
        dataset, index = images[sample]
        info = dataset.get_data_info(index)
        pixels = info.get('img')
        place = str(info.get('img_path') or f'{type(dataset).__name__} {index}')
        if 'gt_label' in info:
            if np.ndim(info['gt_label']):
                raise ValueError(
                    f'The {split} data have several labels an image ({place}: '
                    f'{info["gt_label"]}), and only data with one label an image, or boxes, can '
                    'be looked at.'
                )
            found.append(Annotation(place, 0, None, int(info['gt_label']), sample, pixels))
        for number, item in enumerate(info.get('instances', ())):
            if not item.get('ignore_flag', 0):
                x0, y0, x1, y1 = (float(edge) for edge in item['bbox'])
                box, label = (x0, y0, x1, y1), int(item['bbox_label'])
                found.append(Annotation(place, number, box, label, sample, pixels))
    if not found:
        raise ValueError(
            f'The {split} data of the config have no boxes and no class labels that could be '
            'looked at.'
        )
    return found


def _build_datasets(cfg: Config, split: str, pipeline: list) -> list[Any]:
    """The data sets of a split without repetition, mosaics and augmentation.

    What selects samples or makes their labels wrong stays: the network learned from that.
    """
    loader = cfg.get(f'{split}_dataloader') or {}
    kept = ('BalancedSubset', 'NoisyLabelDataset')
    leaves = list(leaf_datasets(loader.get('dataset') or {}, kept))
    if not leaves:
        raise ValueError(f'The config has no data set for {split}: `{split}_dataloader` is empty.')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    return [DATASETS.build(unaugmented(leaf, pipeline, cfg)) for leaf in leaves]


def unaugmented(dataset: dict[str, Any], pipeline: list[dict], cfg: Config) -> dict[str, Any]:
    """A data set with what selects or relabels its samples, as in the run, but with this pipeline.

    Raises:
        ValueError: The run's seed, which drew the wrong labels, is not known.
    """
    plain = {key: value for key, value in dataset.items() if key != 'batch_transforms'}
    if type_name(dataset) == 'NoisyLabelDataset' and plain.get('seed') is None:
        plain['seed'] = (cfg.get('randomness') or {}).get('seed')
        if plain['seed'] is None and plain['rate']:
            raise ValueError(
                'Which labels NoisyLabelDataset made wrong is not known, since the config names no '
                'randomness.seed: give that of the run, --cfg-options randomness.seed=N.'
            )
    if 'dataset' in plain:
        plain['dataset'] = unaugmented(plain['dataset'], pipeline, cfg)
    elif 'datasets' in plain:
        plain['datasets'] = [unaugmented(part, pipeline, cfg) for part in plain['datasets']]
    else:
        plain['pipeline'] = pipeline
    return deepcopy(plain)


def test_pipeline(cfg: Config) -> list[dict]:
    """How images are prepared for testing; annotations are not needed for it."""
    for split in ('test', 'val', 'train'):
        for leaf in leaf_datasets((cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}):
            steps = [dict(step) for step in deepcopy(leaf['pipeline'])]
            return [step for step in steps if 'Annotations' not in str(step['type'])]
    raise ValueError('The config has no data loader, so there is nothing to look at.')


# --- the predictions -----------------------------------------------------------------------------


def predict_annotations(
    cfg: Config,
    checkpoint: str | Path,
    annotations: Sequence[Annotation],
    num_classes: int,
    split: str = 'train',
    cache: str | Path | None = None,
) -> np.ndarray:
    """The scores that a trained network gives to every annotated object, in eval mode.

    A detector is asked for detections of very low score too, so that several classes answer. Each
    detection speaks for the annotated box that it overlaps most, if by an IoU of `MIN_IOU`; of each
    class the best score counts. A classifier's scores are those of the image.

    Args:
        cfg: Config that the network was trained with.
        checkpoint: Its checkpoint.
        annotations: As `read_annotations` gives them for the same config and split.
        num_classes: C.
        split: Of which split they are.
        cache: File that keeps the scores (.npz). It is used where checkpoint, config, images and
            boxes are the same; the classes of the annotations may have changed.

    Returns:
        (n, C) float32; a row of zeros is an object that was not found.
    """
    key = _key(cfg, checkpoint, annotations)
    if cache is not None and Path(cache).is_file():
        try:
            with Path(cache).open('rb') as kept, np.load(kept) as saved:
                if str(saved['key']) == key:
                    return saved['scores']
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
            pass  # cut short, or of another version
    model = build_model(cfg, checkpoint)
    by_image: dict[int, list[int]] = {}
    for index, annotation in enumerate(annotations):
        by_image.setdefault(annotation.sample, []).append(index)
    rows: dict[int, np.ndarray] = {}
    with torch.inference_mode():
        images = sorted(by_image)
        for sample, image in zip(_predictions(cfg, model, split, images), images):
            indices = by_image[image]
            boxes = [annotations[index].box for index in indices]
            rows.update(zip(indices, _scores_of(sample, boxes, num_classes)))
    scores = np.stack([rows[index] for index in range(len(annotations))]).astype(np.float32)
    if cache is not None:
        unfinished = Path(f'{cache}.tmp')
        with unfinished.open('wb') as file:
            np.savez_compressed(file, key=key, scores=scores)
        os.replace(unfinished, cache)
    return scores


def _key(cfg: Config, checkpoint: str | Path, annotations: Sequence[Annotation]) -> str:
    file = Path(checkpoint).stat()
    parts: list[Any] = [SCORE_THR, MIN_IOU, MIN_SCORE, file.st_size, file.st_mtime_ns]
    parts += [str(cfg.model), str(test_pipeline(cfg))]
    parts += [[annotation.image, annotation.sample, annotation.box] for annotation in annotations]
    for annotation in {item.sample: item for item in annotations}.values():
        path, pixels = Path(annotation.image), annotation.pixels
        if pixels is not None:
            parts.append(zlib.crc32(pixels.tobytes()))
        else:
            parts.append(path.stat().st_mtime_ns if path.is_file() else 0)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def build_model(cfg: Config, checkpoint: str | Path) -> nn.Module:
    from mmengine.device import get_device

    init_default_scope(cfg.get('default_scope') or 'mmengine')
    model_cfg = deepcopy(cfg.model)
    model_cfg.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    if 'test_cfg' in model_cfg:
        _ask_for_everything(model_cfg.test_cfg)
    model = MODELS.build(model_cfg)
    weights = load_checkpoint(checkpoint)
    check_fits(model, weights, checkpoint, 'test')
    model.load_state_dict(weights.get('state_dict', weights), strict=False)
    if cfg.get('channels_last'):
        model.to(memory_format=torch.channels_last)
    return model.to(get_device()).eval()


def _ask_for_everything(test_cfg: Any) -> None:
    """Lower the thresholds and raise the limits of a detector's last stage."""
    for key, value in (test_cfg or {}).items():
        if isinstance(value, dict) and key not in ('rpn', 'nms'):
            _ask_for_everything(value)
    at_most = {'score_thr': SCORE_THR, 'conf_thr': SCORE_THR}
    at_least = {'max_per_img': 1000, 'nms_pre': 4000}
    for key in at_most.keys() & (test_cfg or {}).keys():
        test_cfg[key] = min(test_cfg[key], at_most[key])
    for key in at_least.keys() & (test_cfg or {}).keys():
        test_cfg[key] = max(test_cfg[key], at_least[key])


def _predictions(cfg: Config, model: nn.Module, split: str, samples: list[int]) -> Iterator[Any]:
    """Data samples with predictions, one for each of these images of the split, in order."""
    from mmengine.dataset import pseudo_collate
    from rich.progress import track
    from torch.utils.data import ConcatDataset, DataLoader, Subset

    loader_cfg = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    images: ConcatDataset = ConcatDataset(_build_datasets(cfg, split, test_pipeline(cfg)))
    loader: DataLoader = DataLoader(
        Subset(images, samples),
        batch_size=loader_cfg.get('batch_size', 1),
        num_workers=loader_cfg.get('num_workers', 0),
        collate_fn=pseudo_collate,
    )
    for batch in track(loader, f'Looking at the {split} images'):
        yield from model.test_step(batch)  # type: ignore[operator]


def _scores_of(sample: Any, boxes: Sequence[Any], num_classes: int) -> np.ndarray:
    if 'pred_score' in sample:  # MMPretrain
        return sample.pred_score.float().cpu().numpy()[None].repeat(len(boxes), 0)
    if 'pred_instances' not in sample:
        raise ValueError('The network gives neither boxes nor class scores for an image.')
    found = sample.pred_instances.cpu()
    return match_predictions(
        np.asarray(boxes, dtype=np.float64),
        found.bboxes.numpy(),
        found.labels.numpy(),
        found.scores.float().numpy(),
        num_classes,
    )


def match_predictions(
    boxes: np.ndarray,
    predicted: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    num_classes: int,
) -> np.ndarray:
    """The best score of each class among the detections that speak for an annotated box.

    Args:
        boxes: (n, 4) annotated boxes, (x0, y0, x1, y1).
        predicted: (m, 4) detected boxes.
        labels: (m,) their classes.
        scores: (m,) their scores.
        num_classes: C.

    Returns:
        (n, C) float32; rows of 0 where no detection of at least `MIN_SCORE` speaks.
    """
    best = np.zeros((len(boxes), num_classes), dtype=np.float32)
    if not len(boxes) or not len(predicted):
        return best
    corners = (torch.from_numpy(edges.astype(np.float64)) for edges in (boxes, predicted))
    overlap = box_iou(*corners).nan_to_num().numpy()  # two boxes without an area give NaN
    # With two equal boxes a detection speaks for both.
    speaks = (overlap >= MIN_IOU) & (overlap == overlap.max(0))
    rows, columns = speaks.nonzero()
    np.maximum.at(best, (rows, labels[columns]), scores[columns])
    best[best.max(1) < MIN_SCORE] = 0
    return best


# --- the ranking ---------------------------------------------------------------------------------


def shares(scores: np.ndarray) -> np.ndarray:
    """Scores (n, C) as distributions; a row of zeros (not found) stays zeros."""
    total = scores.sum(1, keepdims=True)
    return np.divide(scores, total, out=np.zeros_like(scores), where=total > 0)


def mean_predictions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What OLS would learn from these predictions, for runs without it: (C, C), rows sum to 1.

    Row y is the mean share of the objects of class y that are classified correctly; the hard label
    if none is.
    """
    distributions = shares(scores)
    profiles = np.eye(scores.shape[1], dtype=np.float32)
    right = (scores.argmax(1) == labels) & (scores.sum(1) > 0)
    for label in np.unique(labels[right]):
        profiles[label] = distributions[right & (labels == label)].mean(0)
    return profiles


def rank_annotations(
    scores: np.ndarray, labels: np.ndarray, profiles: np.ndarray
) -> tuple[list[Suspect], list[Suspect], list[int]]:
    """Rank annotations by how badly their class's soft label explains what the network sees.

    With p the scores at an object, S the soft labels, y the written class and k the class of the
    largest score among the others, the disagreement is sum_c p_c log(S_kc / S_yc): how much better
    k explains the prediction than y does, in nats for a prediction of total score 1. A usual
    confusion (large S_yk) costs little, so that look-alikes do not crowd out mistakes; so does a
    weak detection, which says little.

    Chosen on the demo data with 5 % wrong labels (YOLO, 14 epochs, n = 1): of the first 50 and 100
    annotations 50 and 98 were wrong ones. KL(q || S_y) of the shares q = p / sum(p) had 48 and 96,
    log(q_k / q_y) 45 and 88. Dividing p by its sum puts weak stray detections first on real data.

    Args:
        scores: (n, C) as `predict_annotations` gives them.
        labels: (n,) written classes.
        profiles: (C, C), row y is what class y usually looks like: the soft labels, or
            `mean_predictions`. Rows are divided by their sums.

    Returns:
        The annotations that the network takes for another class, worst first; those that it agrees
        with though it saw another class too, the nearest to it first; and the rows of those that
        were not found at all: a wrong class and a missed object are different things.
    """
    usual = (1 - SMOOTHING) * shares(profiles) + SMOOTHING / len(profiles)
    explains = scores @ np.log(usual).T  # (n, C)
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = 0
    suggestion, other = others.argmax(1), others.max(1)
    disagreement = explains[rows, suggestion] - explains[rows, labels]
    ranked = [
        Suspect(int(i), int(suggestion[i]), float(disagreement[i]))
        for i in np.argsort(-disagreement, kind='stable')
        if other[i] > 0
    ]
    taken = other > scores[rows, labels]
    suspects = [item for item in ranked if taken[item.row]]
    nearest = [item for item in ranked if not taken[item.row]]
    return suspects, nearest, np.flatnonzero(scores.sum(1) <= 0).tolist()
