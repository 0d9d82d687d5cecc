"""A few annotations in COCO's format for the pictures of `toy_voc`."""

from __future__ import annotations

import json


def coco_content(counts, ids=None, images=('a', 'b', 'c')):
    """As a dict, with objects that are given to the images in turn.

    Args:
        counts: The number of objects of each category, in the order of the file.
        ids: Of the categories.
        images: Names of images of 40 x 40 pixels.
    """
    ids = dict(zip(counts, ids or range(1, len(counts) + 1)))
    names = [name for name, count in counts.items() for _ in range(count)]
    annotations = [
        dict(
            id=number,
            image_id=number % len(images),
            category_id=ids[name],
            iscrowd=0,
            bbox=[2, 3, 18, 27],
            area=18 * 27,
        )
        for number, name in enumerate(names)
    ]
    return dict(
        images=[
            dict(id=number, file_name=f'{name}.jpg', width=40, height=40)
            for number, name in enumerate(images)
        ],
        categories=[dict(id=ids[name], name=name) for name in counts],
        annotations=annotations,
    )


def write_coco(path, counts, ids=None, images=('a', 'b', 'c'), mend=lambda content: None):
    """Write them to a file, after `mend` has changed them."""
    content = coco_content(counts, ids, images)
    mend(content)
    path.write_text(json.dumps(content))
