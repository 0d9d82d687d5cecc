"""From what an annotation file says to the objects that a detector can learn from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from mmdet_ols.datasets.image_header import ImageHeader, read_image_header
from mmdet_ols.datasets.voc_annotations import Oddity, VOCAnnotation, VOCObject

NO_BOX = 'no box'
DELETED = 'marked as deleted'
NO_AREA = 'box without area'
OUTSIDE = 'box outside the image'


@dataclass
class UsableObjects:
    """The objects of one image that can be used, and why others cannot.

    Attributes:
        size: The image's (width, height).
        size_is_read: Whether the size comes from the image, since the annotation has none that can
            be right.
        objects: The objects, each with its box (x0, y0, x1, y1) in pixels, which count from 0.
        left_out: The others, each with the reason.
        clipped: The number of boxes that reached beyond the image.
    """

    size: tuple[int, int]
    size_is_read: bool
    objects: list[tuple[VOCObject, list[int]]] = field(default_factory=list)
    left_out: list[tuple[VOCObject, str]] = field(default_factory=list)
    clipped: int = 0


def usable_objects(annotation: VOCAnnotation, image: str) -> UsableObjects:
    """Choose the objects of an annotation that have a place in the image.

    VOC counts pixels from 1, so 1 is subtracted from every edge, as MMDetection does. Corners in
    swapped order are put in order, boxes that reach beyond the image are clipped, and objects
    without a box, marked as deleted, or whose box has no area or lies outside, are left out.

    Args:
        annotation: The annotation.
        image: The path of its image. It is opened only where the annotation has no size, or boxes
            that reach beyond it.

    Raises:
        ValueError: The boxes are not in pixels; the message names the file.
        OSError: The image has to be opened and cannot be.
    """
    check_pixels(annotation)
    boxes = {
        item.number: [int(edge) - 1 for edge in item.box]
        for item in annotation.objects
        if item.box is not None
    }
    if annotation.size and all(_is_inside(box, annotation.size) for box in boxes.values()):
        size = limits = annotation.size
    else:
        real = read_image_header(image)
        size, limits = real.loaded, _limits(real, boxes.values())
    usable = UsableObjects(size, size_is_read=size != annotation.size)
    for item in annotation.objects:
        if item.number not in boxes:
            reason = DELETED if Oddity.DELETED in item.oddities else NO_BOX
            usable.left_out.append((item, reason))
            continue
        box = boxes[item.number]
        clipped = _clip(box, limits)
        if box[2] <= box[0] or box[3] <= box[1]:
            usable.left_out.append((item, NO_AREA))
        elif clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
            usable.left_out.append((item, OUTSIDE))
        else:
            usable.objects.append((item, clipped))
            # Counting pixels from 0 instead of 1 puts a box one pixel outside; that is no news.
            usable.clipped += max(abs(new - old) for new, old in zip(clipped, box)) > 1
    return usable


def check_pixels(annotation: VOCAnnotation) -> None:
    """Refuse boxes that are shares of the image's size, of which pixels would keep nothing.

    Raises:
        ValueError: All boxes are.
    """
    edges = [edge for item in annotation.objects if item.box for edge in item.box]
    if any(0 < edge < 1 for edge in edges) and all(0 <= edge <= 1 for edge in edges):
        raise ValueError(
            f'The annotation file {annotation.path}: its boxes must be in pixels, but all of their '
            'edges lie between 0 and 1, as shares of the width and height: multiply them by those.'
        )


def _is_inside(box: list[int], size: tuple[int, int]) -> bool:
    return box[2] <= size[0] and box[3] <= size[1]  # to clip at 0 needs no size


def _limits(size: ImageHeader, boxes: Collection[list[int]]) -> tuple[int, int]:
    """What to clip boxes to: the image before it is turned, where they were drawn in that."""
    for limits in (size.loaded, size.stored):
        if all(_is_inside(box, limits) for box in boxes):
            return limits
    return size.loaded


def _clip(box: list[int], size: tuple[int, int]) -> list[int]:
    width, height = size
    return [min(max(edge, 0), limit) for edge, limit in zip(box, (width, height, width, height))]
