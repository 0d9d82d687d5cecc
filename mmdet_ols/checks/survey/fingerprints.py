"""Telling whether two image files hold the same, without reading them whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from mmdet_ols.checks.progress import progress

#: So many bytes of the beginning and of the end are compared, and the size.
SAMPLE = 2048
#: How files begin whose pixels are not compressed, or may not be: BMP, PNM and TIFF.
UNCOMPRESSED = (b'BM', b'P5', b'P6', b'II*\0', b'MM\0*')
#: So many places in between are compared of those, whose first and last rows are often all black;
#: a prime, so that they do not all lie in the same columns of the image.
PLACES = 13


def fingerprints(paths: Sequence[str]) -> dict[str, str]:
    """A short text for each file that can be read: two are the same where the files are.

    Compressed images of one size that agree in their first and last bytes are the same image. Of
    others, bytes at several places in between are compared as well.

    Args:
        paths: Of the files.
    """
    texts = {}
    for path in progress(paths, 'Comparing images'):
        try:
            with open(path, 'rb') as file:
                size = os.fstat(file.fileno()).st_size
                content = file.read(SAMPLE)
                if size > SAMPLE:
                    file.seek(max(size - SAMPLE, SAMPLE))
                    content += file.read(SAMPLE)
                if content.startswith(UNCOMPRESSED):
                    for place in range(SAMPLE, size - SAMPLE, max(size // PLACES, SAMPLE)):
                        file.seek(place)
                        content += file.read(SAMPLE)
        except OSError:
            continue
        digest = hashlib.blake2b(content, digest_size=8).hexdigest()
        texts[path] = f'{size}-{digest}'
    return texts
