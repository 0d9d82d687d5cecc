"""The header of an image file: its size as the hosts load it, and its colours."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

#: EXIF's tag of the orientation, and its values that swap width and height.
ORIENTATION = 0x0112
SWAPPING = (5, 6, 7, 8)
#: Formats that are the same here: of cameras with two lenses, and of Windows without its header.
SAME_FORMATS = {'MPO': 'JPEG', 'DIB': 'BMP'}
#: The formats that OpenCV may turn by it, as Pillow calls them; Pillow itself turns TIFF.
TURNED = ('JPEG', 'PNG', 'WEBP')


class ImageHeader(NamedTuple):
    """What the header of an image says.

    Attributes:
        loaded: (width, height) as OpenCV loads it, turned as its EXIF orientation says.
        stored: (width, height) as it is stored.
        mode: How Pillow calls its colours, as in 'RGB' or 'CMYK'.
        is_deep: Whether it has 16 bits a channel.
        format: How Pillow calls its format.
    """

    loaded: tuple[int, int]
    stored: tuple[int, int]
    mode: str
    is_deep: bool
    format: str


def read_image_header(path: str) -> ImageHeader:
    """Read the header of an image, without decoding its pixels.

    Raises:
        OSError: The file is not an image, or is not there.
    """
    from PIL import Image

    # OpenCV reads six times as many pixels as Pillow, whose limit is to spare it the decoding.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of a damaged EXIF, without the file's name
            with Image.open(path) as image:
                return _header_of(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise OSError(
            f'The image {path} cannot be opened ({error}): fetch it again, or remove its name from '
            'the split.'
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _header_of(image: Image.Image) -> ImageHeader:
    stored = image.size
    kind = SAME_FORMATS.get(str(image.format), str(image.format))
    turned = kind in TURNED and _orientation(image) in SWAPPING and _is_turned(kind)
    loaded = (stored[1], stored[0]) if turned else stored
    raw = str(getattr(image, 'tile', ())[:1]) if kind in ('PNG', 'TIFF') else image.mode
    return ImageHeader(loaded, stored, image.mode, is_deep=';16' in raw, format=kind)


@lru_cache
def _is_turned(kind: str) -> bool:
    """Whether OpenCV turns images of a format, in which its releases differ."""
    import cv2
    import numpy as np
    from PIL import Image

    exif = Image.Exif()
    exif[ORIENTATION] = SWAPPING[0]
    file = io.BytesIO()
    Image.new('RGB', (2, 1)).save(file, kind, exif=exif)
    pixels = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    return pixels is not None and pixels.shape[:2] == (2, 1)


def _orientation(image: Image.Image) -> int | None:
    from PIL import Image

    exif = Image.Exif()  # and not `getexif`, which also reads XMP, as OpenCV does not
    try:
        exif.load(image.info.get('exif', b''))
        return exif.get(ORIENTATION)
    except Exception:  # whatever Pillow makes of one that is damaged
        return None
