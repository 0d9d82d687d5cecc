"""Rankings of annotations by how probably they are wrong, and how good a ranking is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmdet_ols.analysis.annotations import (
    Annotation,
    classes_of_neighbours,
    read_annotations,
)
from mmdet_ols.analysis.predictions import match_predictions, predict_samples
from mmdet_ols.analysis.ranking import Ranking, mean_predictions, rank_boxes, rank_images, shares
from mmdet_ols.analysis.soft_labels import profiles_in_checkpoint
from mmdet_ols.analysis.split_data import class_names, split_datasets
from mmdet_ols.checks.checkpoints import load_checkpoint
from mmdet_ols.datasets.demo_voc.wrong_labels import WRONG_LABELS
from mmdet_ols.datasets.tree import leaf_datasets

#: Detections below this score are not given to ObjectLab; the hosts' tests leave them out as well.
MIN_SCORE = 0.05
CLEANLAB = 'cleanlab is missing: pip install -r requirements/mistakes.txt (see there).'


@dataclass
class Seen:
    """Annotations, which of them are wrong, and what a network sees there.

    Args:
        scores: (n, C) scores; a row of zeros is an object that was not found.
        labels: (n,) annotated classes.
        wrong: (n,) whether the annotated class is not the true one.
        images: (n,) number of the image; annotations of one image follow each other.
        boxes: (n, 4), or None where the annotations are of whole images.
        detections: For each image, an array (m, 5) for each class; empty without boxes.
        profiles: (C, C) soft labels of the network, or None if it has none.
        neighbours: (n, C) which classes are annotated next to an object; None without boxes.
    """

    scores: np.ndarray
    labels: np.ndarray
    wrong: np.ndarray
    images: np.ndarray
    boxes: np.ndarray | None
    detections: list[list[np.ndarray]]
    profiles: np.ndarray | None = None
    neighbours: np.ndarray | None = None


def joined(parts: Sequence[Seen]) -> Seen:
    """Put the held-out parts of several folds together, without the soft labels, which differ."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(part.images.max() + 1 for part in parts[:-1])])
    boxes = [part.boxes for part in parts if part.boxes is not None]
    neighbours = [part.neighbours for part in parts if part.neighbours is not None]
    return Seen(
        scores=np.concatenate([part.scores for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        wrong=np.concatenate([part.wrong for part in parts]),
        images=np.concatenate([part.images + start for part, start in zip(parts, starts)]),
        boxes=np.concatenate(boxes) if boxes else None,
        detections=[image for part in parts for image in part.detections],
        neighbours=np.concatenate(neighbours) if neighbours else None,
    )


def examine(cfg: Config, checkpoint: Path, truth: Path | None) -> Seen:
    """Run a network over the training data of a config, without augmentation.

    Args:
        cfg: Whose training data to look at.
        checkpoint: Of the network.
        truth: File that lists the wrong labels of data with boxes; None takes that of the demo.

    Raises:
        ValueError: Nothing says which annotations are wrong.
    """
    annotations = read_annotations(cfg)
    wrong = wrong_annotations(cfg, annotations, truth)
    numbers = sorted({annotation.sample for annotation in annotations})
    by_image: dict[int, list[Annotation]] = {number: [] for number in numbers}
    for annotation in annotations:
        by_image[annotation.sample].append(annotation)
    scores, detections = [], []
    size = len(class_names(cfg, 'train'))
    profiles = profiles_in_checkpoint(load_checkpoint(checkpoint), size)
    with_boxes = annotations[0].box is not None
    for sample, number in zip(predict_samples(cfg, checkpoint, numbers), numbers):
        if not with_boxes:
            scores.append(sample.pred_score.float().cpu().numpy()[None])
            continue
        detected = sample.pred_instances.cpu()
        parts = (
            detected.bboxes.numpy(),
            detected.labels.numpy(),
            detected.scores.float().numpy(),
        )
        boxes = np.array([annotation.box for annotation in by_image[number]])
        scores.append(match_predictions(boxes, *parts, size))
        detections.append(_per_class(*parts, size))
    return Seen(
        np.concatenate(scores).astype(np.float32),
        np.array([annotation.label for annotation in annotations]),
        wrong,
        np.searchsorted(numbers, [annotation.sample for annotation in annotations]),
        np.array([annotation.box for annotation in annotations]) if with_boxes else None,
        detections,
        profiles[1] if profiles else None,
        classes_of_neighbours(annotations, size) if with_boxes else None,
    )


def wrong_annotations(
    cfg: Config, annotations: Sequence[Annotation], truth: Path | None
) -> np.ndarray:
    """Which annotations are wrong (n,): as the data set knows, or as a file lists them.

    Raises:
        ValueError: Nothing says so.
    """
    if annotations[0].box is None:
        datasets = split_datasets(cfg, 'train', [])
        if not all(hasattr(dataset, 'flipped') for dataset in datasets):
            raise ValueError(
                'The training data must know their true labels: use LabelFileDataset with `clean`.'
            )
        flipped: np.ndarray = np.concatenate([dataset.flipped for dataset in datasets])
        return flipped[[annotation.sample for annotation in annotations]]
    if truth is None:
        root = next(leaf_datasets(cfg.train_dataloader.dataset))['data_root']
        truth = Path(root, WRONG_LABELS)
    if not truth.is_file():
        raise ValueError(
            f'--truth must name a file that lists the wrong labels, as `tools/make_demo_data.py '
            f'--wrong-labels 0.05` writes it, but there is no {truth}.'
        )
    listed = {(item['image'], item['object']) for item in json.loads(truth.read_text())}
    paths = [Path(annotation.image) for annotation in annotations]
    keys = [
        (f'{path.parts[-3]}/{path.stem}', item.number) for path, item in zip(paths, annotations)
    ]
    return np.array([key in listed for key in keys])


def _per_class(
    boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray, size: int
) -> list[np.ndarray]:
    keep = scores >= MIN_SCORE
    rows = np.hstack([boxes, scores[:, None]]).astype(np.float64)
    return [rows[keep & (labels == label)] for label in range(size)]


# --- rankings -------------------------------------------------------------------------------------


@dataclass
class Suspicion:
    """How suspicious each annotation is.

    Args:
        values: (n,), larger is more suspicious; None where only images are ranked.
        listed: (n,) whether the method itself would report it; None if it sets no limit.
        images: The same for images, where annotations have boxes.
    """

    values: np.ndarray | None
    listed: np.ndarray | None = None
    images: np.ndarray | None = None


def report(seen: Seen) -> Suspicion:
    """The order of `tools/report.py`."""
    if seen.boxes is not None:
        return disagreement(seen)
    return _in_order_of(rank_images(seen.scores, seen.labels, _usual(seen)), seen)


def disagreement(seen: Seen) -> Suspicion:
    """What the report ranks boxes by."""
    ranking = rank_boxes(seen.scores, seen.labels, _usual(seen), seen.neighbours)
    return _in_order_of(ranking, seen)


def _usual(seen: Seen) -> np.ndarray:
    """What each class usually looks like (C, C), as the report takes it."""
    if seen.profiles is None:
        return mean_predictions(seen.scores, seen.labels)
    return seen.profiles


def _in_order_of(ranking: Ranking, seen: Seen) -> Suspicion:
    """Suspects, then objects that were not found, then closest calls."""
    suspects, nearest, missed = ranking
    order = [*(s.row for s in suspects), *missed, *(s.row for s in nearest)]
    values = np.zeros(len(seen.labels))
    values[order] = np.arange(len(order), 0, -1)
    listed = np.zeros(len(seen.labels), dtype=bool)
    listed[[s.row for s in suspects]] = True
    return Suspicion(values, listed, _worst_of_images(values, seen))


def by_quality(method: str) -> Callable[[Seen], Suspicion]:
    """A ranking by `cleanlab.rank.get_label_quality_scores`; of boxes, by their matched scores."""

    def ranking(seen: Seen) -> Suspicion:
        from cleanlab.rank import get_label_quality_scores

        probabilities = shares(seen.scores.astype(np.float64))
        missed = probabilities.sum(1) == 0
        probabilities[missed] = 1 / probabilities.shape[1]
        values = 1 - get_label_quality_scores(seen.labels, probabilities, method=method)
        values[missed] = -1  # last, since there is nothing to judge them by
        return Suspicion(values, None, _worst_of_images(values, seen))

    return ranking


def label_issues(seen: Seen) -> Suspicion:
    """The list of `cleanlab.filter.find_label_issues` by self-confidence, and then the others."""
    from cleanlab.filter import find_label_issues

    probabilities = shares(seen.scores.astype(np.float64))
    listed = find_label_issues(seen.labels, probabilities, n_jobs=1)
    values = by_quality('self_confidence')(seen).values
    assert values is not None
    return Suspicion(values + 2 * listed, listed)


def object_lab(high: float | None = None) -> Callable[[Seen], Suspicion]:
    """cleanlab's ranking of annotated boxes by swapped classes, and of images by any mistake.

    Args:
        high: Scores that count as confident; None takes its default, which few detectors reach.
    """

    def ranking(seen: Seen) -> Suspicion:
        from cleanlab.object_detection.rank import (
            compute_swap_box_scores,
            get_label_quality_scores,
        )

        assert seen.boxes is not None
        numbers = range(seen.images.max() + 1)
        labels = [
            dict(bboxes=seen.boxes[seen.images == n], labels=seen.labels[seen.images == n])
            for n in numbers
        ]
        given: dict[str, Any] = dict(labels=labels, predictions=_arrays(seen.detections))
        swaps = compute_swap_box_scores(**given, high_probability_threshold=high)
        images = None
        if high is None:
            images = 1 - get_label_quality_scores(**given, verbose=False)
        return Suspicion(1 - np.concatenate(swaps), None, images)

    return ranking


def _arrays(detections: Sequence[list[np.ndarray]]) -> list[np.ndarray]:
    """Arrays of arrays, as cleanlab wants them, also where all classes have as many detections."""
    images = []
    for per_class in detections:
        image = np.empty(len(per_class), dtype=object)
        image[:] = per_class
        images.append(image)
    return images


def _worst_of_images(values: np.ndarray, seen: Seen) -> np.ndarray | None:
    if seen.boxes is None:
        return None
    worst = np.full(seen.images.max() + 1, -np.inf)
    np.maximum.at(worst, seen.images, values)
    return worst


#: For whole images, by the name that the rows have.
OF_IMAGES: dict[str, Callable[[Seen], Suspicion]] = {
    'self_confidence': by_quality('self_confidence'),
    'normalized_margin': by_quality('normalized_margin'),
    'confidence_weighted_entropy': by_quality('confidence_weighted_entropy'),
    'find_label_issues': label_issues,
    'disagreement': disagreement,
    'report': report,
}
#: For boxes.
OF_BOXES: dict[str, Callable[[Seen], Suspicion]] = {
    'self_confidence': by_quality('self_confidence'),
    'normalized_margin': by_quality('normalized_margin'),
    'objectlab': object_lab(),
    'objectlab_0.5': object_lab(0.5),
    'report': report,
}


# --- how good they are ----------------------------------------------------------------------------


def measures(suspicion: Suspicion, seen: Seen) -> dict[str, float]:
    """How well a ranking finds what is wrong, each between 0 and 1.

    - `mistakes/average_precision`, and `mistakes/images/average_precision` of images with boxes;
    - `mistakes/precision_at_number`: of as many annotations at the top as are wrong at all;
    - `mistakes/precision_at_100`;
    - `mistakes/list_precision` and `mistakes/list_recall` of what the method reports by itself.
    """
    from sklearn.metrics import average_precision_score

    wrong, result = seen.wrong, {}
    if suspicion.values is not None:
        result['mistakes/average_precision'] = average_precision_score(wrong, suspicion.values)
        ranked = wrong[np.argsort(-suspicion.values, kind='stable')]
        result['mistakes/precision_at_number'] = ranked[: wrong.sum()].mean()
        result['mistakes/precision_at_100'] = ranked[:100].mean()
    if suspicion.images is not None:
        mistaken = np.zeros(len(suspicion.images), dtype=bool)
        mistaken[seen.images[wrong]] = True
        value = average_precision_score(mistaken, suspicion.images)
        result['mistakes/images/average_precision'] = value
    if suspicion.listed is not None:
        if suspicion.listed.any():  # an empty list has no precision
            result['mistakes/list_precision'] = wrong[suspicion.listed].mean()
        result['mistakes/list_recall'] = suspicion.listed[wrong].mean()
    return {key: float(value) for key, value in result.items()}
