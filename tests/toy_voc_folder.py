"""A small folder in VOC's layout with real images, whose files a test can make odd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (40, 30)
SIZE_TAG = '<size><width>40</width><height>30</height><depth>3</depth></size>'
BOX = '<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>21</xmax><ymax>20</ymax></bndbox>'


def object_xml(name='cat', difficult='<difficult>0</difficult>', box=BOX):
    return f'<object><name>{name}</name>{difficult}{box}</object>'


def annotation_xml(*objects, size=SIZE_TAG, filename=''):
    name = f'<filename>{filename}</filename>' if filename else ''
    return f'<annotation>{name}{size}{"".join(objects)}</annotation>'


def box_xml(*edges):
    keys = ('xmin', 'ymin', 'xmax', 'ymax')
    return f'<bndbox>{"".join(f"<{k}>{e}</{k}>" for k, e in zip(keys, edges))}</bndbox>'


def write_image(path, size=SIZE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


def make_folder(root, annotations, lines=None):
    """Write a folder: `annotations` are texts or bytes of XML, by the names of their images."""
    root = Path(root)
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, content in annotations.items():
        path = root / 'Annotations' / f'{name}.xml'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        write_image(root / 'JPEGImages' / f'{name}.jpg')
    lines = '\n'.join(annotations) + '\n' if lines is None else lines
    content = lines if isinstance(lines, bytes) else lines.encode()
    (root / 'ImageSets/Main/train.txt').write_bytes(content)
    return root


def dataset_options(root, classes=('cat', 'dog'), **more):
    return dict(
        data_root=str(root),
        ann_file='ImageSets/Main/train.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=classes),
        pipeline=[],
        serialize_data=False,
        **more,
    )
