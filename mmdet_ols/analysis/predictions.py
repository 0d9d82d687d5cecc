"""The scores that a trained network gives to every annotated object."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torchvision.ops import box_iou

from mmdet_ols.analysis.annotations import Annotation
from mmdet_ols.analysis.split_data import inference_pipeline, loader_in_order, split_images
from mmdet_ols.checks.checkpoints import load_checkpoint
from mmdet_ols.checks.matching import check_match, state_dict_of
from mmdet_ols.core.whole_files import whole_file

#: A detection counts for an annotated box from this overlap (IoU) on.
MIN_IOU = 0.5
#: Detections below this score are not asked for: there are many of them, and they say nothing.
SCORE_THR = 0.005
#: An object whose best score is below this counts as not found.
MIN_SCORE = 0.05


def predict_annotations(
    cfg: Config,
    checkpoint: str | Path,
    annotations: Sequence[Annotation],
    num_classes: int,
    split: str = 'train',
    cache: str | Path | None = None,
) -> np.ndarray:
    """Compute the scores that a trained network gives to every annotated object, in eval mode.

    A detector is also asked for detections of very low score, so that several classes answer. Each
    detection counts for the annotated box that it overlaps most, if by an IoU of `MIN_IOU`; for
    each class the best score is taken. A classifier's scores are those of the image.

    Args:
        cfg: Config that the network was trained with.
        checkpoint: Its checkpoint.
        annotations: As `read_annotations` gives them for the same config and split.
        num_classes: C.
        split: The split that they belong to.
        cache: File that keeps the scores (.npz). It is used where checkpoint, config, images and
            boxes are the same; the classes of the annotations may have changed.

    Returns:
        (n, C) float32; a row of zeros is an object that was not found.
    """
    key = _cache_key(cfg, checkpoint, annotations)
    scores = None if cache is None else _read_cache(Path(cache), key)
    if scores is None or scores.shape[1] != num_classes:
        scores = _predict(cfg, checkpoint, annotations, num_classes, split)
        if cache is not None:
            _write_cache(Path(cache), key, scores)
    return scores


def _predict(
    cfg: Config,
    checkpoint: str | Path,
    annotations: Sequence[Annotation],
    num_classes: int,
    split: str,
) -> np.ndarray:
    by_image: dict[int, list[int]] = {}
    for index, annotation in enumerate(annotations):
        by_image.setdefault(annotation.sample, []).append(index)
    images = sorted(by_image)
    rows: dict[int, np.ndarray] = {}
    for sample, image in zip(predict_samples(cfg, checkpoint, images, split), images):
        indices = by_image[image]
        boxes = [annotations[index].box for index in indices]
        rows.update(zip(indices, _scores_of_boxes(sample, boxes, num_classes)))
    return np.stack([rows[index] for index in range(len(annotations))]).astype(np.float32)


# --- the cache -----------------------------------------------------------------------------------


def _cache_key(cfg: Config, checkpoint: str | Path, annotations: Sequence[Annotation]) -> str:
    file = Path(checkpoint).stat()
    parts: list[Any] = [SCORE_THR, MIN_IOU, MIN_SCORE, file.st_size, file.st_mtime_ns]
    parts += [str(cfg.model), str(cfg.get('data_preprocessor')), str(inference_pipeline(cfg))]
    parts += [[annotation.image, annotation.sample, annotation.box] for annotation in annotations]
    for annotation in {item.sample: item for item in annotations}.values():
        path, pixels = Path(annotation.image), annotation.pixels
        if pixels is not None:
            parts.append(zlib.crc32(pixels.tobytes()))
        else:
            parts.append(path.stat().st_mtime_ns if path.is_file() else 0)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read_cache(path: Path, key: str) -> np.ndarray | None:
    """The scores that were kept under this key; None if there are none, or others."""
    if not path.is_file():
        return None
    try:
        with path.open('rb') as file, np.load(file) as cached:
            return cached['scores'] if str(cached['key']) == key else None
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        return None  # cut short, or of another version


def _write_cache(path: Path, key: str, scores: np.ndarray) -> None:
    try:
        with whole_file(path, 'wb') as file:
            np.savez_compressed(file, key=key, scores=scores)
    except OSError as error:  # another user's work directory, or a full disk
        print_log(
            f'The scores cannot be kept, so the next report computes them again: {error}',
            logger='current',
            level=logging.WARNING,
        )


# --- the network ---------------------------------------------------------------------------------


def load_model(cfg: Config, checkpoint: str | Path) -> nn.Module:
    """Build the network of a config and load a checkpoint, in eval mode on the best device.

    A detector's thresholds are lowered, so that it gives detections of very low score too.

    Args:
        cfg: Config that the network was trained with; it stays as it is.
        checkpoint: Its checkpoint.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The checkpoint cannot be read, or belongs to another network.
    """
    from mmengine.device import get_device

    init_default_scope(cfg.get('default_scope') or 'mmengine')
    model_cfg = deepcopy(cfg.model)
    model_cfg.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    if 'test_cfg' in model_cfg:
        _lower_thresholds(model_cfg.test_cfg, raise_limits=not _has_queries(model_cfg))
    model = MODELS.build(model_cfg)
    weights = load_checkpoint(checkpoint)
    check_match(model, weights, checkpoint, 'test')
    model.load_state_dict(state_dict_of(weights), strict=False)
    if cfg.get('channels_last'):
        model.to(memory_format=torch.channels_last)
    return model.to(get_device()).eval()


def _has_queries(model_cfg: Any) -> bool:
    """Whether a detector (DETR, Sparse R-CNN) chooses among the scores of a few queries.

    It takes as many of them as its limit says, and fails where there are fewer.
    """
    return 'num_queries' in model_cfg or 'num_proposals' in (model_cfg.get('rpn_head') or {})


def _lower_thresholds(test_cfg: Any, raise_limits: bool = True) -> None:
    """Lower the score thresholds and raise the limits of a detector's last stage."""
    for key, value in (test_cfg or {}).items():
        if isinstance(value, dict) and key not in ('rpn', 'nms'):
            _lower_thresholds(value, raise_limits)
    at_most = {'score_thr': SCORE_THR, 'conf_thr': SCORE_THR}
    at_least = {'max_per_img': 1000, 'nms_pre': 4000} if raise_limits else {}
    for key in at_most.keys() & (test_cfg or {}).keys():
        test_cfg[key] = min(test_cfg[key], at_most[key])
    for key in at_least.keys() & (test_cfg or {}).keys():
        test_cfg[key] = max(test_cfg[key], at_least[key])


def predict_samples(
    cfg: Config, checkpoint: str | Path, samples: Sequence[int], split: str = 'train'
) -> Iterator[Any]:
    """Run a trained network over images of a split, in eval mode and without augmentation.

    Args:
        cfg: Config that the network was trained with.
        checkpoint: Its checkpoint.
        samples: The images, by their numbers in the split (`Annotation.sample`).
        split: 'train', 'val' or 'test'.

    Yields:
        The host's data sample with its predictions, for each of the images in this order.
    """
    from rich.progress import track

    model = load_model(cfg, checkpoint)
    loader_cfg = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    loader = loader_in_order(
        split_images(cfg, split),
        samples,
        loader_cfg.get('batch_size', 1),
        loader_cfg.get('num_workers', 0),
    )
    for batch in track(loader, f'Looking at the {split} images'):
        with torch.inference_mode():
            predictions = model.test_step(batch)  # type: ignore[operator]
        yield from predictions


# --- matching ------------------------------------------------------------------------------------


def _scores_of_boxes(sample: Any, boxes: Sequence[Any], num_classes: int) -> np.ndarray:
    if 'pred_score' in sample:  # MMPretrain
        return sample.pred_score.float().cpu().numpy()[None].repeat(len(boxes), 0)
    if 'pred_instances' not in sample:
        raise ValueError('The network gives neither boxes nor class scores for an image.')
    detections = sample.pred_instances.cpu()
    # A head may have more outputs than the data have classes, which learn nothing.
    detections = detections[detections.labels < num_classes]
    return match_predictions(
        np.asarray(boxes, dtype=np.float64),
        detections.bboxes.numpy(),
        detections.labels.numpy(),
        detections.scores.float().numpy(),
        num_classes,
    )


def match_predictions(
    boxes: np.ndarray,
    predicted: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    num_classes: int,
) -> np.ndarray:
    """Find the best score of each class among the detections that match an annotated box.

    Args:
        boxes: (n, 4) annotated boxes, (x0, y0, x1, y1).
        predicted: (m, 4) detected boxes.
        labels: (m,) their classes.
        scores: (m,) their scores.
        num_classes: C.

    Returns:
        (n, C) float32; a row of 0 where no detection of at least `MIN_SCORE` matches.
    """
    best = np.zeros((len(boxes), num_classes), dtype=np.float32)
    if not len(boxes) or not len(predicted):
        return best
    corners = (torch.from_numpy(edges.astype(np.float64)) for edges in (boxes, predicted))
    overlap = box_iou(*corners).nan_to_num().numpy()  # two boxes without an area give NaN
    # Where two boxes are equal, a detection counts for both.
    matches = (overlap >= MIN_IOU) & (overlap == overlap.max(0))
    rows, columns = matches.nonzero()
    np.maximum.at(best, (rows, labels[columns]), scores[columns])
    best[best.max(1) < MIN_SCORE] = 0
    return best
