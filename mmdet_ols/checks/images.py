"""Finding broken and odd images before a training starts, at the cost of a look at each header."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache

from mmdet_ols.checks.problems import Problems, listed
from mmdet_ols.checks.progress import progress
from mmdet_ols.datasets.image_header import SAME_FORMATS, ImageHeader, read_image_header

#: How many files a message names.
NAMED = 5
#: How many bytes of the beginning and of the end are read.
HEAD, TAIL = 64, 64


class Problem(Enum):
    """What can be wrong with an image: whether it stops a run, what it is, and what to do."""

    MISSING = (True, 'are not there', 'Put them there, or remove them from the annotations.')
    EMPTY = (True, 'are empty files (0 bytes)', 'Fetch them again, or remove them from the data.')
    NOT_AN_IMAGE = (True, 'are no images', 'Fetch them again, or remove them from the data.')
    UNREADABLE = (
        True,
        'cannot be decoded by OpenCV, which the pipelines load images with',
        'Save them again as JPEG or PNG, or remove them from the data.',
    )
    TRUNCATED = (
        False,
        'are cut off: the rest of each will be grey',
        'Fetch them again, or remove them from the data.',
    )
    TURNED = (
        False,
        'are turned by their EXIF orientation when they are loaded, but were annotated unturned, '
        'so that their boxes lie elsewhere',
        "Load them unturned, with color_type='color_ignore_orientation' in LoadImageFromFile.",
    )
    UNTURNED = (
        False,
        'are loaded unturned, as `color_type` of LoadImageFromFile says, but were annotated turned '
        'by their EXIF orientation, so that their boxes lie elsewhere',
        'Turn the images themselves and remove their orientation, or load all of them turned, with '
        "color_type='color'.",
    )
    OTHER_SIZE = (
        False,
        'have another size than their annotations say',
        'If they were scaled after they had been annotated, scale the boxes, too; else correct the '
        'size in the annotations.',
    )
    CMYK = (
        False,
        'are in CMYK, the colours of printers, which may come out wrong',
        'Convert them to RGB.',
    )
    DEEP = (
        False,
        'have 16 bits a channel, of which the upper 8 are loaded',
        'If they look black, scale their values to 8 bits.',
    )
    OTHER_FORMAT = (
        False,
        'are in another format than their names say, which other tools than OpenCV may mind',
        'Rename them.',
    )

    def __init__(self, stops: bool, text: str, remedy: str) -> None:
        self.stops = stops
        self.text = text
        self.remedy = remedy


#: What lies under the names of images instead, by its first bytes.
_OTHER_FILES = (
    (b'version https://git-lfs', "a pointer of Git LFS: run 'git lfs pull'"),
    (b'<?xml', 'an XML file'),
    (b'<', 'a page of HTML'),
    (b'{', 'a JSON file'),
    (b'%PDF', 'a PDF file'),
    (b'PK\x03\x04', 'a ZIP archive'),
    (b'\0\x05\x16\x07', "a Mac's hidden file"),
)


def check_images(
    paths: Sequence[str],
    sizes: Mapping[str, tuple[int, int]] | None = None,
    are_turned: bool = True,
) -> Problems:
    """Look at the first and the last bytes of images, and decode only those that look doubtful.

    Args:
        paths: Local files.
        sizes: What annotations say about the (width, height) of images, by their paths.
        are_turned: Whether images are turned by their EXIF orientation when they are loaded, as
            the pipelines do unless their `color_type` says otherwise.

    Returns:
        What is wrong: one sentence for each kind of problem, with the names of some files.
    """
    sizes = sizes or {}
    places: dict[Problem, list[str]] = {}
    unique = list(dict.fromkeys(str(path) for path in paths))
    for path in progress(unique, 'Checking images'):
        for problem, detail in _examine(path, sizes.get(path), are_turned):
            places.setdefault(problem, []).append(f'{path} ({detail})' if detail else path)
    problems = Problems()
    for problem in Problem:
        if problem in places:
            named = places[problem]
            message = (
                f'{len(named)} of {len(unique)} images {problem.text}: {listed(named, NAMED)}. '
                f'{problem.remedy}'
            )
            (problems.errors if problem.stops else problems.warnings).append(message)
    return problems


def _examine(
    path: str, annotated: tuple[int, int] | None, are_turned: bool
) -> list[tuple[Problem, str]]:
    """The problems of one image, each with what was seen."""
    try:
        with open(path, 'rb') as file:
            length = os.fstat(file.fileno()).st_size
            head = file.read(HEAD)
            file.seek(max(0, length - TAIL))
            tail = file.read(TAIL)
    except OSError as error:
        return [(Problem.MISSING, '' if isinstance(error, FileNotFoundError) else str(error))]
    if not length:
        return [(Problem.EMPTY, '')]
    what = other_file(head)
    if what:
        return [(Problem.NOT_AN_IMAGE, what)]
    try:
        header = read_image_header(path)
    except OSError:  # OpenCV may be able to read it
        header = None
    problems: list[tuple[Problem, str]] = []
    if header is None or not _is_complete(header.format, head, tail, length):
        problems = _decode(path)
        if any(problem.stops for problem, _ in problems):
            return problems
    if header is not None:
        problems += _of_header(header, annotated, are_turned)
        named = _format_of_suffix(os.path.splitext(path)[1].lower())
        if named not in ('', header.format):
            problems.append((Problem.OTHER_FORMAT, header.format))
    return problems


@cache
def _format_of_suffix(suffix: str) -> str:
    """The format that Pillow knows a suffix of; empty where it knows none."""
    from PIL import Image

    kind = Image.registered_extensions().get(suffix, '')
    return SAME_FORMATS.get(kind, kind)


def other_file(head: bytes) -> str:
    """What a file is that is no image, by its first bytes; empty if that is not known."""
    text = head.removeprefix(b'\xef\xbb\xbf').lstrip()
    return next((what for start, what in _OTHER_FILES if text.startswith(start)), '')


def _is_complete(kind: str, head: bytes, tail: bytes, length: int) -> bool:
    """Whether the last bytes are those that end an image of this format."""
    if kind == 'JPEG':
        return tail.rstrip(b'\0\r\n ').endswith(b'\xff\xd9')
    if kind == 'PNG':
        return b'IEND' in tail
    if kind == 'WEBP':
        is_animated = head[12:16] == b'VP8X' and head[20] & 2  # not every OpenCV reads those
        is_whole = int.from_bytes(head[4:8], 'little') + 8 <= length
        return head[8:12] == b'WEBP' and is_whole and not is_animated
    if kind == 'BMP':
        return 0 < int.from_bytes(head[2:6], 'little') <= length
    return False  # few data sets have others, so that they can be decoded


def _decode(path: str) -> list[tuple[Problem, str]]:
    """Decode an image that looks doubtful, with OpenCV as the hosts do, and then strictly."""
    import cv2
    import numpy as np
    from PIL import Image

    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        pixels = None
    try:
        with Image.open(path) as image:
            image.load()
        is_cut = False
    except Image.DecompressionBombError:  # an image that is very large
        is_cut = False
    except (OSError, SyntaxError, ValueError) as error:
        is_cut = any(word in str(error).lower() for word in ('truncated', 'incomplete'))
    if pixels is None:
        return [(Problem.UNREADABLE, 'cut off' if is_cut else '')]
    return [(Problem.TRUNCATED, '')] if is_cut else []


def _of_header(
    header: ImageHeader, annotated: tuple[int, int] | None, are_turned: bool
) -> list[tuple[Problem, str]]:
    problems = []
    if header.mode == 'CMYK':
        problems.append((Problem.CMYK, ''))
    if header.is_deep:
        problems.append((Problem.DEEP, ''))
    if annotated is not None:
        problems += _of_size(header, (int(annotated[0]), int(annotated[1])), are_turned)
    return problems


def _of_size(
    header: ImageHeader, annotated: tuple[int, int], are_turned: bool
) -> list[tuple[Problem, str]]:
    loaded = header.loaded if are_turned else header.stored
    if annotated == loaded or min(annotated) <= 0:
        return []
    if annotated in (header.loaded, header.stored):
        return [(Problem.TURNED if are_turned else Problem.UNTURNED, '')]
    width, height = loaded
    return [(Problem.OTHER_SIZE, f'{width} x {height}, not {annotated[0]} x {annotated[1]}')]
