"""Pictures inside the page: crops of images, and arrays, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmdet_ols.analysis.annotations import Annotation

if TYPE_CHECKING:
    from PIL.Image import Image

CROP_SIZE = 168  # pixels
#: Colour of what lies beyond the image.
OUTSIDE = '#8a8680'
#: Side of a crop, as a multiple of the longer side of its box.
CONTEXT = 1.4


def crop_of(annotation: Annotation) -> str | None:
    """What `crop` shows of an annotation."""
    image = annotation.image if annotation.pixels is None else annotation.pixels
    return crop(image, annotation.box, annotation.is_turned)


def crop(
    image: str | np.ndarray, box: Sequence[float] | None, is_turned: bool = True
) -> str | None:
    """An object with some of its surroundings and its box drawn in, as a data URI.

    Args:
        image: A file, or pixels: (height, width, 3) RGB or (height, width) grey, uint8.
        box: (x0, y0, x1, y1); None shows the whole image.
        is_turned: Whether a file is turned by its EXIF orientation when it is loaded.

    Returns:
        The data URI, or None if the image cannot be read.
    """
    picture = _read(image, is_turned)
    if picture is None:
        return None
    x0, y0, x1, y1 = box or (0, 0, *picture.size)
    side = max(x1 - x0, y1 - y0, 16) * (CONTEXT if box else 1.0)
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    window = _square(picture, left, top, side)
    if box:
        scale = CROP_SIZE / side
        _draw_box(
            window, [round(scale * edge) for edge in (x0 - left, y0 - top, x1 - left, y1 - top)]
        )
    buffer = io.BytesIO()
    window.save(buffer, 'JPEG', quality=82)
    return 'data:image/jpeg;base64,' + base64.b64encode(buffer.getvalue()).decode()


def _read(image: str | np.ndarray, is_turned: bool) -> Image | None:
    import cv2
    from PIL import Image

    try:
        if isinstance(image, str):  # as MMCV reads it, so that boxes lie where the network has them
            flags = cv2.IMREAD_COLOR | (0 if is_turned else cv2.IMREAD_IGNORE_ORIENTATION)
            pixels = cv2.imdecode(np.fromfile(image, np.uint8), flags)
            return None if pixels is None else Image.fromarray(pixels[..., ::-1])
        return Image.fromarray(image).convert('RGB')
    # The latter two come from an array that is no picture.
    except (OSError, cv2.error, TypeError, ValueError):
        return None


def _square(picture: Image, left: float, top: float, side: float) -> Image:
    """A square of an image, scaled to `CROP_SIZE`; it may extend beyond the image."""
    from PIL import Image

    scale = CROP_SIZE / side
    window = Image.new('RGB', (CROP_SIZE, CROP_SIZE), OUTSIDE)
    x, y = max(left, 0), max(top, 0)
    inside = (x, y, min(left + side, picture.width), min(top + side, picture.height))
    if inside[2] > x and inside[3] > y:
        size = [max(round(scale * (inside[i + 2] - inside[i])), 1) for i in (0, 1)]
        part = picture.resize((size[0], size[1]), Image.Resampling.BICUBIC, box=inside)
        window.paste(part, (round(scale * (x - left)), round(scale * (y - top))))
    return window


def _draw_box(window: Image, edges: list[int]) -> None:
    from PIL import ImageDraw

    edges[2:] = max(edges[2], edges[0] + 4), max(edges[3], edges[1] + 4)  # boxes without area
    draw = ImageDraw.Draw(window)
    for inset, colour, width in ((-1, 'black', 4), (0, 'white', 2)):  # visible on any ground
        corners = [edges[0] + inset, edges[1] + inset, edges[2] - inset, edges[3] - inset]
        draw.rectangle(corners, outline=colour, width=width)


def png(pixels: np.ndarray) -> str:
    """An RGB image (H, W, 3), uint8, as a data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()
