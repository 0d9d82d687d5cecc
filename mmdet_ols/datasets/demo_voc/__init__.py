"""A detection data set drawn on the spot, in VOCdevkit's layout: three families of look-alikes.

`shapes.py` draws one object, `scenes.py` one image, `layout.py` knows VOC's folders and files,
`wrong_labels.py` makes labelling mistakes on purpose, and `build.py` makes the whole set.
"""

try:
    import PIL  # noqa: F401
except ImportError as error:
    raise ImportError(
        'The demo data set is drawn with Pillow: run `pip install pillow`.'
    ) from error

from mmdet_ols.datasets.demo_voc.build import FORMAT_VERSION, MANIFEST, make_demo_voc
from mmdet_ols.datasets.demo_voc.layout import DEFAULT_NUM_IMAGES
from mmdet_ols.datasets.demo_voc.scenes import DemoObject, draw_image
from mmdet_ols.datasets.demo_voc.shapes import CLASSES, FAMILIES, TRAIT_MEANS, draw_object
from mmdet_ols.datasets.demo_voc.wrong_labels import WRONG_LABELS

__all__ = [
    'CLASSES',
    'DEFAULT_NUM_IMAGES',
    'FAMILIES',
    'FORMAT_VERSION',
    'MANIFEST',
    'TRAIT_MEANS',
    'WRONG_LABELS',
    'DemoObject',
    'draw_image',
    'draw_object',
    'make_demo_voc',
]
