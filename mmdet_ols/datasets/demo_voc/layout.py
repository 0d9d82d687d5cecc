"""VOCdevkit's layout: names of images, places of files, and annotations as XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from mmdet_ols.datasets.demo_voc.scenes import DemoObject

DEFAULT_NUM_IMAGES: dict[str, int] = {
    'VOC2007/trainval': 600,
    'VOC2012/trainval': 600,
    'VOC2007/test': 250,
}


def image_name(split: str, index: int) -> str:
    """Name of an image in VOC's manner.

    The splits trainval and test of a year share a folder, so the names of test start with 1.
    """
    year, subset = split.split('/')
    first_digit = 1 if subset == 'test' else 0
    number = f'{first_digit}{index + 1:05d}'
    return number if year == 'VOC2007' else f'2012_{number}'


def annotation_path(root: Path, split: str, index: int) -> Path:
    """Path of the annotation of an image."""
    return root / split.split('/')[0] / 'Annotations' / f'{image_name(split, index)}.xml'


def write_split(root: Path, split: str, count: int) -> None:
    """Make the folders of a split, and write the list of its images."""
    year, subset = split.split('/')
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / year / folder).mkdir(parents=True, exist_ok=True)
    names = [image_name(split, index) for index in range(count)]
    (root / year / 'ImageSets/Main' / f'{subset}.txt').write_text('\n'.join(names) + '\n')


def write_image(
    root: Path, split: str, index: int, image: Image.Image, objects: Iterable[DemoObject]
) -> None:
    """Write an image and its annotation."""
    year, name = split.split('/')[0], image_name(split, index)
    image.save(root / year / 'JPEGImages' / f'{name}.jpg', quality=92)
    annotation = annotation_tree(year, f'{name}.jpg', image.size, objects)
    annotation.write(annotation_path(root, split, index), encoding='utf-8')


def annotation_tree(
    folder: str, filename: str, size: tuple[int, int], objects: Iterable[DemoObject]
) -> ET.ElementTree:
    """The annotation of an image, as VOC writes it."""
    root = ET.Element('annotation')

    def add(parent: ET.Element, **texts: object) -> None:
        for tag, text in texts.items():
            ET.SubElement(parent, tag).text = str(text)

    add(root, folder=folder, filename=filename)
    add(ET.SubElement(root, 'size'), width=size[0], height=size[1], depth=3)
    add(root, segmented=0)
    for item in objects:
        node = ET.SubElement(root, 'object')
        add(node, name=item.name, pose='Unspecified')
        add(node, truncated=int(item.truncated), difficult=int(item.difficult))
        x0, y0, x1, y1 = item.box
        # VOC counts pixels from 1, and the last one belongs to the box. MMDetection's reader
        # subtracts 1 from all four numbers, so it sees (x0, y0, x1 - 1, y1 - 1): one pixel short
        # on the right and at the bottom, here as on the real VOC.
        add(ET.SubElement(node, 'bndbox'), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
    ET.indent(root)
    return ET.ElementTree(root)
