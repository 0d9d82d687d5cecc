"""Reading VOC's XML annotations: class names, and clear errors for broken files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import NamedTuple

LAYOUT = """ROOT/
  Annotations/NAME.xml
  ImageSets/Main/SPLIT.txt   (one NAME a line)
  JPEGImages/NAME.jpg"""


class Annotation(NamedTuple):
    """What one file holds.

    Attributes:
        objects: How many objects there are of each class.
        empty_boxes: How many boxes have no area.
    """

    objects: Counter[str]
    empty_boxes: int


def read_annotation(xml_path: str | Path) -> Annotation:
    """Read an annotation file, and check what can be wrong in it.

    Raises:
        ValueError: The file is not an annotation in VOC's format; the message names the file and
            the first thing that is wrong in it.
    """
    try:
        root = ET.parse(xml_path).getroot()
    except ET.ParseError as error:
        raise ValueError(
            f'The annotation file {xml_path} is not valid XML ({error}): restore it, or remove its '
            'name from the split.'
        ) from error
    objects: Counter[str] = Counter()
    empty_boxes = 0
    for number, node in enumerate(root.iter('object'), 1):
        try:
            objects[_text(node, 'name')] += 1
            xmin, ymin, xmax, ymax = (
                float(_text(node, f'bndbox/{edge}')) for edge in ('xmin', 'ymin', 'xmax', 'ymax')
            )
        except ValueError as error:
            raise ValueError(f'The annotation file {xml_path}, object {number}: {error}') from error
        if xmax <= xmin or ymax <= ymin:
            empty_boxes += 1
    return Annotation(objects, empty_boxes)


def voc_classes(root: str | Path) -> tuple[str, ...]:
    """Read the class names from all annotations of a folder in VOC's layout, in alphabetical order.

    Args:
        root: The folder that holds Annotations.

    Raises:
        FileNotFoundError: `root` holds no annotations.
        ValueError: An annotation file is broken, or none holds an object.
    """
    files = sorted(Path(root, 'Annotations').glob('*.xml'))
    if not files:
        if Path(root).is_dir():
            content = sorted(path.name for path in Path(root).glob('*'))[:10]
            problem = f'{root} holds {content}.'
        else:
            problem = f'{root} does not exist.'
        raise FileNotFoundError(
            f'No annotations in {Path(root, "Annotations")}: expected this layout\n{LAYOUT}\n'
            f'but {problem}'
        )
    names: set[str] = set()
    for path in files:
        names.update(read_annotation(path).objects)
    if not names:
        raise ValueError(f'No object in any of the {len(files)} annotation files of {root}.')
    return tuple(sorted(names))


def _text(node: ET.Element, path: str) -> str:
    text = node.findtext(path)
    if text is None or not text.strip():
        raise ValueError(f'<{path}> is missing or empty.')
    return text.strip()
