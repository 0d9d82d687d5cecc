"""Reading VOC's XML annotations as people's tools write them.

The reader takes what has one plain meaning, notes each `Oddity` that it met, and names the file and
the key where it cannot go on.
"""

from __future__ import annotations

import math
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path

from mmdet_ols.datasets.text_files import decode_text

EDGES = ('xmin', 'ymin', 'xmax', 'ymax')


class Oddity(Enum):
    """What stands in annotations although VOC's format does not have it; the value says it."""

    ENCODING = 'XML in an encoding that the parser does not read by itself'
    MARKUP = "a bare '&', or something before the XML declaration"
    STRUCTURE = 'an object with a namespace, or not directly below the root'
    NAME = 'a class name with blanks, line breaks or another Unicode form'
    DIFFICULT = '<difficult> is not a number'
    SIZE_ZERO = '<size> of 0'
    SIZE_TEXT = '<size> without whole numbers'
    NUMBER = 'a coordinate with a decimal comma'
    POLYGON = 'a polygon or a rotated box in place of <bndbox>'
    NO_BOX = 'no <bndbox>'
    SWAPPED = 'corners in swapped order'
    DELETED = 'an object that is marked as deleted'


@dataclass
class VOCObject:
    """An object of an annotation.

    Attributes:
        number: Its position in the file, from 1.
        raw_name: The text of its `<name>` as it stands there.
        name: The name without surrounding blanks and invisible characters, in Unicode's form NFC.
        difficult: Whether it is marked as difficult.
        box: (xmin, ymin, xmax, ymax) with the corners in order; None where the file has no box, or
            marks the object as deleted, as LabelMe does.
        raw_box: The same as the file has it.
        oddities: What is odd about it.
    """

    number: int
    raw_name: str
    name: str
    difficult: bool
    box: tuple[float, float, float, float] | None
    raw_box: tuple[float, float, float, float] | None
    oddities: list[Oddity] = field(default_factory=list)

    @property
    def has_area(self) -> bool:
        """Whether its box is wider and higher than 0."""
        return self.box is not None and self.box[2] > self.box[0] and self.box[3] > self.box[1]


@dataclass
class VOCAnnotation:
    """What one annotation file holds.

    Attributes:
        path: The file.
        filename: What it says its image is called; empty where it does not.
        size: The image's (width, height), or None where the file does not say.
        objects: The objects, in order.
        oddities: What is odd about the file as a whole.
    """

    path: str
    filename: str
    size: tuple[int, int] | None
    objects: list[VOCObject]
    oddities: list[Oddity] = field(default_factory=list)

    def all_oddities(self) -> Iterator[tuple[str, Oddity]]:
        """Every oddity of the file and of its objects, and where it stands."""
        for oddity in self.oddities:
            yield self.path, oddity
        for item in self.objects:
            for oddity in item.oddities:
                yield f'{self.path}, object {item.number}', oddity

    def count_names(self) -> Counter[str]:
        """How many objects with a box there are of each class."""
        return Counter(item.name for item in self.objects if item.box is not None)


@lru_cache(maxsize=4096)
def clean_name(text: str) -> str:
    """Strip a class name of blanks and invisible characters around it, and write it in NFC.

    Runs of blanks and line breaks inside it become one blank.
    """
    while text and _is_blank(text[0]):
        text = text[1:]
    while text and _is_blank(text[-1]):
        text = text[:-1]
    return unicodedata.normalize('NFC', ' '.join(text.split()))


def _is_blank(char: str) -> bool:
    return char.isspace() or unicodedata.category(char)[0] == 'C'


def read_annotation(path: str | Path) -> VOCAnnotation:
    """Read an annotation file.

    Raises:
        ValueError: The file is no annotation in VOC's format; the message names
            the file, the key and the value.
    """
    content = Path(path).read_bytes()
    root, oddities = _parse(content, path)
    direct = {id(node) for node in root.findall('object')}
    for node in root.iter():
        if node.tag.startswith('{'):  # a namespace
            node.tag = node.tag.rpartition('}')[2]
    try:
        size = _read_size(root.find('size'), oddities)
        objects = [
            _read_object(node, number, is_direct=id(node) in direct)
            for number, node in enumerate(root.iter('object'), 1)
        ]
    except ValueError as error:
        raise ValueError(f'The annotation file {path}, {error}') from error
    return VOCAnnotation(str(path), root.findtext('filename') or '', size, objects, oddities)


def _parse(content: bytes, path: str | Path) -> tuple[ET.Element, list[Oddity]]:
    try:
        return ET.fromstring(content), []
    except (ET.ParseError, ValueError, LookupError) as error:  # the latter two for encodings
        first_error = error
    if not content.strip():
        raise ValueError(
            f'The annotation file {path} is empty, so it is not valid XML: restore it, or remove '
            'its name from the split.'
        ) from first_error
    try:
        declared = re.search(rb'<\?xml[^>]*?encoding=["\']([\w.-]+)', content[:200])
        text = decode_text(content, declared.group(1).decode() if declared else '').text
        start = max(text.find('<?xml'), 0)
        oddities = [Oddity.MARKUP] if text[:start].strip('\ufeff') else []
        text = re.sub(r'^\s*<\?xml.*?\?>', '', text[start:], flags=re.DOTALL)
        try:
            root = ET.fromstring(text)
        except ET.ParseError:
            mended = re.sub(r'&(?!\w+;|#\w+;)', '&amp;', text)
            if mended == text:
                raise
            root = ET.fromstring(mended)
            oddities = [Oddity.MARKUP]
    except ValueError as error:  # not text at all
        reason: Exception = error
    except ET.ParseError:
        reason = first_error
    else:
        return root, oddities or [Oddity.ENCODING]
    raise ValueError(
        f'The annotation file {path} is not valid XML ({reason}): restore it, or remove its name '
        'from the split.'
    ) from reason


def _read_size(node: ET.Element | None, oddities: list[Oddity]) -> tuple[int, int] | None:
    if node is None:
        return None
    texts = [_text(node, key) for key in ('width', 'height')]
    try:
        width, height = (int(text) for text in texts)
    except ValueError:
        oddities.append(Oddity.SIZE_TEXT)
        try:
            width, height = (int(_number(text)) for text in texts)
        except ValueError:
            return None
    if width > 0 and height > 0:
        return width, height
    if Oddity.SIZE_TEXT not in oddities:
        oddities.append(Oddity.SIZE_ZERO)
    return None


def _read_object(node: ET.Element, number: int, is_direct: bool) -> VOCObject:
    oddities = [] if is_direct else [Oddity.STRUCTURE]
    raw_name = node.findtext('name') or ''
    name = clean_name(raw_name)
    if not name:
        raise ValueError(
            f'object {number}: <name> is missing or empty, but must be the class: write it there, '
            'or remove the object.'
        )
    if name != raw_name:
        oddities.append(Oddity.NAME)
    difficult = _read_difficult(node, oddities)
    try:
        raw_box = _read_box(node, oddities)
    except ValueError as error:
        raise ValueError(f'object {number}: {error}') from error
    box = raw_box
    if raw_box is not None:
        x0, y0, x1, y1 = raw_box
        box = min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
        if box != raw_box:
            oddities.append(Oddity.SWAPPED)
    if _text(node, 'deleted') == '1':
        oddities.append(Oddity.DELETED)
        box = None
    return VOCObject(number, raw_name, name, difficult, box, raw_box, oddities)


def _read_difficult(node: ET.Element, oddities: list[Oddity]) -> bool:
    child = node.find('difficult')
    if child is None:
        return False
    text = child.text or ''
    try:
        return bool(int(text))
    except ValueError:
        oddities.append(Oddity.DIFFICULT)
    text = text.strip().lower()
    try:
        return _number(text) != 0
    except ValueError:
        return text in ('true', 'yes', 'y', 'difficult')


def _read_box(node: ET.Element, oddities: list[Oddity]) -> tuple[float, float, float, float] | None:
    box = node.find('bndbox')
    if box is not None:
        if any(',' in _text(box, edge) for edge in EDGES):
            oddities.append(Oddity.NUMBER)
        x0, y0, x1, y1 = (_coordinate(_text(box, edge), f'bndbox/{edge}') for edge in EDGES)
        return x0, y0, x1, y1
    corners = _rotated_corners(node.find('robndbox')) or _points(node.find('polygon'))
    if not corners:
        oddities.append(Oddity.NO_BOX)
        return None
    oddities.append(Oddity.POLYGON)
    xs, ys = zip(*corners)
    return min(xs), min(ys), max(xs), max(ys)


def _text(node: ET.Element, key: str) -> str:
    return (node.findtext(key) or '').strip()


def _coordinate(text: str, place: str) -> float:
    unit = 'radians' if place.endswith('/angle') else 'pixels'
    if not text:
        raise ValueError(
            f'<{place}> is missing or empty, but must be a number of {unit}: write it there, or '
            'remove the object.'
        )
    try:
        return _number(text)
    except ValueError as error:
        raise ValueError(
            f'<{place}> must be a number of {unit}, but is {text!r}: correct it, or remove the '
            'object.'
        ) from error


def _number(text: str) -> float:
    if re.fullmatch(r'\d{1,3}(,\d{3})+', text):  # 1,234 is more than a thousand for some
        raise ValueError(f'{text!r} is ambiguous.')
    number = float(text.replace(',', '.'))
    if not math.isfinite(number):
        raise ValueError(f'{text!r} is not a finite number.')
    return number


def _points(polygon: ET.Element | None) -> list[tuple[float, float]]:
    """The points of a polygon, as LabelMe (`pt/x`), or as RectLabel and others (`x1`) write it."""
    if polygon is None:
        return []
    values: dict[str, list[float]] = {'x': [], 'y': []}
    for node in polygon.iter():
        text = (node.text or '').strip()
        if text and re.fullmatch(r'[xy]\d*', node.tag):
            values[node.tag[0]].append(_coordinate(text, f'polygon/{node.tag}'))
    return list(zip(values['x'], values['y']))


def _rotated_corners(node: ET.Element | None) -> list[tuple[float, float]]:
    """The corners of a rotated box, as roLabelImg writes it (the angle in radians)."""
    if node is None:
        return []
    x, y, width, height, angle = (
        _coordinate(_text(node, key), f'robndbox/{key}') for key in ('cx', 'cy', 'w', 'h', 'angle')
    )
    cos, sin = math.cos(angle), math.sin(angle)
    return [
        (x + right * cos - down * sin, y + right * sin + down * cos)
        for right in (-width / 2, width / 2)
        for down in (-height / 2, height / 2)
    ]
