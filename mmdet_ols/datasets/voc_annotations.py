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
    """What one file holds: how many objects of each class, and how many boxes without an area."""

    objects: Counter[str]
    empty_boxes: int


def read_annotation(xml_path: str | Path) -> Annotation:
    """Read an annotation file as far as it can be wrong.

    Raises:
        ValueError: The file is not what VOC calls an annotation; the message names it and the
            first thing that is wrong with it.
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
        empty_boxes += xmax <= xmin or ymax <= ymin
    return Annotation(objects, empty_boxes)


def voc_classes(root: str | Path) -> tuple[str, ...]:
    """The class names in all annotations of one folder in VOC's layout, in alphabetical order.

    Raises:
        FileNotFoundError: `root` holds no annotations.
        ValueError: An annotation file is broken, or none holds an object.
    """
    files = sorted(Path(root, 'Annotations').glob('*.xml'))
    if not files:
        found = sorted(path.name for path in Path(root).glob('*'))[:10]
        raise FileNotFoundError(
            f'No annotations in {Path(root, "Annotations")}: expected this layout\n{LAYOUT}\n'
            f'but {root} ' + (f'holds {found}.' if Path(root).is_dir() else 'does not exist.')
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
