"""The size of an image as the hosts load it, from the first bytes of its file."""

from __future__ import annotations

from typing import NamedTuple

#: EXIF's tag of the orientation, and its values that swap width and height.
ORIENTATION = 0x0112
SWAPPING = (5, 6, 7, 8)


class ImageSize(NamedTuple):
    """The size of an image.

    Attributes:
        loaded: (width, height) as OpenCV loads it, turned as its EXIF orientation says.
        stored: (width, height) as it is stored.
    """

    loaded: tuple[int, int]
    stored: tuple[int, int]


def read_image_size(path: str) -> ImageSize:
    """Read the size of an image without decoding it.

    Raises:
        OSError: The file is not an image, or is not there.
    """
    from PIL import Image

    with Image.open(path) as image:
        stored = image.size
        turned = 'exif' in image.info and image.getexif().get(ORIENTATION) in SWAPPING
        loaded = (stored[1], stored[0]) if turned else stored
    return ImageSize(loaded, stored)
