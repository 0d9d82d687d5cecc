"""Drawing one image: a background and several objects that may hide each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from mmdet_ols.datasets.demo_voc.shapes import CLASSES, OPAQUE, crop_to_extent, draw_object

MAX_OBJECTS = 5
DIFFICULT_SHARE = 0.05
TRUNCATED_SHARE = 0.12
MAX_HIDDEN = 0.7  # an object that would cover more than this of an earlier one is not drawn

_Box = tuple[int, int, int, int]


class DemoObject(NamedTuple):
    """An object of an image; `box` is (x0, y0, x1, y1) in pixels from 0, x1 and y1 exclusive."""

    name: str
    box: _Box
    truncated: bool
    difficult: bool


def draw_image(rng: np.random.Generator) -> tuple[Image.Image, list[DemoObject]]:
    """Draw one image: a background and 1 to `MAX_OBJECTS` objects, later ones in front.

    Returns:
        The RGB image, 160 to 240 pixels a side, and its objects. A box is the full extent of its
        object within the image, even where another object hides it.
    """
    width, height = (int(side) for side in rng.integers(160, 241, 2))
    image = _draw_background(rng, width, height)
    front = np.full((height, width), -1)  # which object each pixel shows
    objects: list[DemoObject] = []
    masks: list[np.ndarray] = []
    for _ in range(rng.integers(1, MAX_OBJECTS + 1)):
        name = CLASSES[rng.integers(len(CLASSES))]
        difficult = bool(rng.random() < DIFFICULT_SHARE)
        share = rng.uniform(0.12, 0.16) if difficult else rng.uniform(0.22, 0.5)
        sprite = draw_object(name, round(share * min(width, height)), rng)
        if difficult:  # small, and out of focus
            small = (max(4, sprite.width // 3), max(4, sprite.height // 3))
            sprite = crop_to_extent(
                sprite.resize(small).resize(sprite.size, Image.Resampling.BILINEAR)
            )
        max_hidden = rng.uniform(0, MAX_HIDDEN)
        for _ in range(10):
            x, y = _draw_position(rng, sprite, width, height)
            mask, box = _visible(sprite, x, y, width, height)
            touched = np.unique(front[mask])
            left = [np.count_nonzero((front == i) & ~mask) for i in touched if i >= 0]
            areas = [np.count_nonzero(masks[i]) for i in touched if i >= 0]
            if all(pixels >= (1 - max_hidden) * area for pixels, area in zip(left, areas)):
                image.paste(sprite, (x, y), sprite)
                front[mask] = len(objects)
                truncated = (box[2] - box[0], box[3] - box[1]) != sprite.size
                objects.append(DemoObject(name, box, truncated, difficult))
                masks.append(mask)
                break
    return image, objects


def _draw_position(
    rng: np.random.Generator, sprite: Image.Image, width: int, height: int
) -> tuple[int, int]:
    """Upper left corner of an object: inside the image, or sometimes up to 40 % beyond a border."""
    x = int(rng.integers(0, width - sprite.width + 1))
    y = int(rng.integers(0, height - sprite.height + 1))
    if rng.random() < TRUNCATED_SHARE:
        side, out = rng.integers(4), rng.uniform(0.1, 0.4)
        across, down = round(out * sprite.width), round(out * sprite.height)
        if side < 2:
            x = -across if side == 0 else width - sprite.width + across
        else:
            y = -down if side == 2 else height - sprite.height + down
    return x, y


def _visible(
    sprite: Image.Image, x: int, y: int, width: int, height: int
) -> tuple[np.ndarray, _Box]:
    """The pixels (height, width) of the image that a sprite at (x, y) covers, and their extent."""
    alpha = Image.new('L', (width, height))
    alpha.paste(sprite.getchannel('A'), (x, y))
    mask = np.asarray(alpha) >= OPAQUE
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return mask, (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _draw_background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A gradient between two pale colours, with stripes, blobs, grain or nothing on it."""
    first, second, third = rng.integers(130, 236, 3)[:, None] + rng.integers(-28, 29, (3, 3))
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:height, 0:width]
    along = (columns * np.cos(angle) + rows * np.sin(angle)) / max(width, height)
    ramp = (along - along.min()) / np.ptp(along)
    pixels = first + (second - first) * ramp[..., None]
    kind = rng.integers(4)
    if kind == 0:
        pattern = (np.sin(along * 2 * np.pi * rng.uniform(4, 14)) > 0.2) * 0.45
    elif kind == 1:
        # A few pixels, enlarged smoothly, look like blobs.
        blobs = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
        pattern = np.asarray(blobs.resize((width, height), Image.Resampling.BICUBIC)) / 300
    else:
        pattern = rng.normal(0, 0.25 if kind == 2 else 0.03, (height, width))
    pixels += (third - pixels) * pattern[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).filter(ImageFilter.SMOOTH)
