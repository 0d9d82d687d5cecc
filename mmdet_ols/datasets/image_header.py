"""The header of an image file: its size as the hosts load it, and its colours."""

from __future__ import annotations

from typing import NamedTuple

#: EXIF's tag of the orientation, and its values that swap width and height.
ORIENTATION = 0x0112
SWAPPING = (5, 6, 7, 8)
#: The formats that OpenCV turns by it, as Pillow calls them; Pillow itself turns TIFF.
TURNED = ('JPEG', 'MPO', 'PNG')


class ImageHeader(NamedTuple):
    """What the header of an image says.

    Attributes:
        loaded: (width, height) as OpenCV loads it, turned as its EXIF orientation says.
        stored: (width, height) as it is stored.
        mode: How Pillow calls its colours, as in 'RGB' or 'CMYK'.
    """

    loaded: tuple[int, int]
    stored: tuple[int, int]
    mode: str


def read_image_header(path: str) -> ImageHeader:
    """Read the header of an image, without decoding its pixels.

    Raises:
        OSError: The file is not an image, or is not there.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            stored = image.size
            exif = Image.Exif()  # and not `getexif`, which also reads XMP, as OpenCV does not
            exif.load(image.info.get('exif', b''))
            turned = image.format in TURNED and exif.get(ORIENTATION) in SWAPPING
            loaded = (stored[1], stored[0]) if turned else stored
            return ImageHeader(loaded, stored, image.mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(
            f'The image {path} cannot be opened ({error}): fetch it again, or remove its name from '
            'the split.'
        ) from error
