"""What a trained network makes of the annotations of a split, for the page."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from mmdet_ols.analysis.annotations import Annotation, classes_of_neighbours, read_annotations
from mmdet_ols.analysis.predictions import predict_annotations
from mmdet_ols.analysis.ranking import (
    Ranking,
    Suspect,
    mean_predictions,
    rank_boxes,
    rank_images,
    shares,
)
from mmdet_ols.analysis.report.pictures import crop_of
from mmdet_ols.analysis.report.record import TrainingRecord
from mmdet_ols.analysis.soft_labels import confused_pairs, profiles_in_checkpoint
from mmdet_ols.analysis.split_data import class_names

CACHE = 'report_scores.npz'
MAX_PAIRS, CROPS_PER_PAIR, MAX_MISSED = 6, 4, 24
#: Where fewer annotations look wrong, the page adds the closest calls up to this number.
MIN_SHOWN = 10
#: A card lists at most this many classes, each with at least this share.
MAX_SHARES, MIN_SHARE = 3, 0.005


class AnnotationAudit(NamedTuple):
    """The annotations of a split, what the network sees at each, and which are suspicious."""

    annotations: list[Annotation]
    classes: list[str]
    #: (n, C) share of each class in the scores at an annotation; zeros where nothing was found.
    shares: np.ndarray
    #: (C, C) what each class usually looks like.
    profiles: np.ndarray
    #: Where the profiles come from, in words.
    source: str
    ranking: Ranking

    @property
    def labels(self) -> np.ndarray:
        """(n,) the annotated classes."""
        return np.array([annotation.label for annotation in self.annotations])


def audit_annotations(record: TrainingRecord, split: str, max_images: int) -> AnnotationAudit:
    """Compare the annotations of a split with the scores of the network.

    The scores are kept in the work directory for the next time.

    Args:
        record: The training; its checkpoint must have been read.
        split: 'train', 'val' or 'test'.
        max_images: Take this many images at most; 0 takes all.

    Raises:
        FileNotFoundError: The data are not where the config says.
        ValueError: The split has no annotations, the network does not match the checkpoint, or none
            of its scores is finite.
    """
    assert record.checkpoint is not None
    annotations = read_annotations(record.cfg, split, max_images)
    labels = np.array([annotation.label for annotation in annotations])
    classes = record.classes or class_names(record.cfg, split)
    size = max(len(classes), labels.max() + 1)
    classes = classes + [str(index) for index in range(len(classes), size)]
    scores = predict_annotations(
        record.cfg, record.checkpoint, annotations, size, split, record.folder / CACHE
    )
    _check_finite(scores)
    profiles, source = _profiles(record, scores, labels, size)
    if annotations[0].box is None:
        ranking = rank_images(scores, labels, profiles)
    else:
        neighbours = classes_of_neighbours(annotations, size)
        ranking = rank_boxes(scores, labels, profiles, neighbours)
    return AnnotationAudit(annotations, classes, shares(scores), profiles, source, ranking)


def _check_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all(1).any():
        raise ValueError(
            'The scores of the network are finite for none of the images: the training has '
            'diverged. Name an earlier checkpoint (--checkpoint).'
        )


def _profiles(
    record: TrainingRecord, scores: np.ndarray, labels: np.ndarray, size: int
) -> tuple[np.ndarray, str]:
    """What each class usually looks like (C, C), and where that comes from."""
    known = profiles_in_checkpoint(record.content, size)
    if known is None:
        return mean_predictions(scores, labels), 'the mean predictions'
    loss, profiles = known
    return profiles, f'the soft labels of {loss}'


def audit_sections(audit: AnnotationAudit, top: int) -> dict[str, Any]:
    """What the page says about confused pairs, suspects and missed objects.

    Args:
        audit: The comparison of annotations and scores.
        top: How many suspects are shown.
    """
    suspects, nearest, missed = audit.ranking
    area = [_area(audit.annotations[row]) for row in missed]
    largest = [missed[i] for i in np.argsort(area)[::-1][:MAX_MISSED]]
    num_nearest = max(min(top, MIN_SHOWN) - len(suspects), 0)
    return dict(
        pairs=_pairs(audit),
        source=audit.source,
        suspects=[_card(audit, item.row, item) for item in suspects[:top]],
        nearest=[_card(audit, item.row, item, agrees=True) for item in nearest[:num_nearest]],
        missed=[_card(audit, row) for row in largest],
        counts=dict(
            images=len({annotation.sample for annotation in audit.annotations}),
            objects=len(audit.annotations),
            suspects=len(suspects),
            missed=len(missed),
            boxes=audit.annotations[0].box is not None,
            classes=len(audit.classes),
        ),
    )


def _pairs(audit: AnnotationAudit) -> list[dict[str, Any]]:
    """The most confused pairs of classes, each with look-alikes from both."""
    # By number, since two classes may have the same name.
    numbers = [str(index) for index in range(len(audit.classes))]
    profiles = shares(audit.profiles)
    ranked = confused_pairs(torch.from_numpy(profiles), numbers, top=4 * MAX_PAIRS)
    pairs: dict[frozenset[int], tuple[int, int]] = {}
    for pair in ranked:
        if pair.share <= 0:
            break
        first, second = int(pair.true), int(pair.confused_with)
        pairs.setdefault(frozenset((first, second)), (first, second))
    return [
        dict(
            sides=[
                _side(audit, first, second, float(profiles[first, second])),
                _side(audit, second, first, float(profiles[second, first])),
            ]
        )
        for first, second in list(pairs.values())[:MAX_PAIRS]
    ]


def _side(audit: AnnotationAudit, true: int, other: int, share: float) -> dict[str, Any]:
    """One class of a pair, with the objects that most look like both classes.

    An object that looks entirely like the other class may be labelled wrongly, so the smaller of
    its two shares counts.
    """
    members = np.flatnonzero(audit.labels == true)
    ambiguity = audit.shares[members][:, [true, other]].min(1)
    order = np.argsort(-ambiguity, kind='stable')
    ambiguous = [members[i] for i in order if ambiguity[i] > 0]
    return dict(
        name=audit.classes[true],
        other=audit.classes[other],
        share=share,
        cards=[_card(audit, row) for row in ambiguous[:CROPS_PER_PAIR]],
    )


def _card(
    audit: AnnotationAudit, row: int, suspect: Suspect | None = None, agrees: bool = False
) -> dict[str, Any]:
    """An annotation with its crop and the classes that the network sees there."""
    annotation, seen = audit.annotations[row], audit.shares[row]
    largest = np.argsort(-seen, kind='stable')[:MAX_SHARES]
    listed = [label for label in largest if seen[label] >= MIN_SHARE]
    if annotation.label not in listed and seen.any():
        listed.append(annotation.label)
    return dict(
        file=annotation.file,
        number=annotation.number + 1 if annotation.box else None,
        written=audit.classes[annotation.label],
        suggestion=audit.classes[suspect.suggestion] if suspect else None,
        agrees=agrees,
        shares=[
            (audit.classes[label], float(seen[label]), label == annotation.label)
            for label in listed
        ],
        crop=crop_of(annotation),
    )


def _area(annotation: Annotation) -> float:
    x0, y0, x1, y1 = annotation.box or (0, 0, 0, 0)
    return (x1 - x0) * (y1 - y0)
