"""A few annotations in VOC's layout, with tiny pictures."""

import io

from PIL import Image

BOX = dict(xmin=2, ymin=3, xmax=20, ymax=30)


def write_xml(path, objects, box=BOX):
    edges = ''.join(f'<{edge}>{value}</{edge}>' for edge, value in box.items())
    nodes = ''.join(
        f'<object><name>{name}</name><bndbox>{edges}</bndbox></object>' for name in objects
    )
    size = '<size><width>40</width><height>40</height><depth>3</depth></size>'
    path.write_text(f'<annotation>{size}{nodes}</annotation>')


def jpeg(colour):
    """The bytes of a picture of one grey."""
    content = io.BytesIO()
    Image.new('RGB', (40, 40), (colour,) * 3).save(content, 'JPEG')
    return content.getvalue()


def make_voc(root):
    """Three images, with cats, dogs and foxes."""
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (root / folder).mkdir(parents=True)
    content = {'a': ['cat', 'dog'], 'b': ['fox', 'cat'], 'c': []}
    for colour, (name, objects) in enumerate(content.items()):
        write_xml(root / 'Annotations' / f'{name}.xml', objects)
        (root / 'JPEGImages' / f'{name}.jpg').write_bytes(jpeg(40 * colour))
    (root / 'ImageSets/Main/trainval.txt').write_text('\n'.join(content))
    return root
