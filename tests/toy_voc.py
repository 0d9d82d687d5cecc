"""A few annotations in VOC's layout, without pictures."""

BOX = dict(xmin=2, ymin=3, xmax=20, ymax=30)


def write_xml(path, objects, box=BOX):
    edges = ''.join(f'<{edge}>{value}</{edge}>' for edge, value in box.items())
    nodes = ''.join(
        f'<object><name>{name}</name><bndbox>{edges}</bndbox></object>' for name in objects
    )
    path.write_text(f'<annotation>{nodes}</annotation>')


def make_voc(root):
    """Three images, with cats, dogs and foxes."""
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (root / folder).mkdir(parents=True)
    content = {'a': ['cat', 'dog'], 'b': ['fox', 'cat'], 'c': []}
    for name, objects in content.items():
        write_xml(root / 'Annotations' / f'{name}.xml', objects)
        (root / 'JPEGImages' / f'{name}.jpg').write_bytes(b'')
    (root / 'ImageSets/Main/trainval.txt').write_text('\n'.join(content))
    return root
