"""Whether a network gets its colours in the order that its pretrained weights were made for."""

from __future__ import annotations

import re

from torch import nn

#: What a name of weights says about the order of their colours. The hosts train SSD from a VGG of
#: Caffe on RGB, so that only ResNets are known.
ORDERS = {r'^torchvision://': 'RGB', r'resnet\w*_caffe': 'BGR'}


def colour_order_warning(model: nn.Module, checkpoint: str, place: str) -> str | None:
    """Compare the order of colours of well-known weights with that of the model's preprocessor.

    Images are read as BGR by both hosts. Of weights of unknown origin nothing is said.

    Args:
        model: With its `data_preprocessor`.
        checkpoint: What the config calls the weights.
        place: Of the part that starts from them.

    Returns:
        A warning, or None.
    """
    order = next((order for name, order in ORDERS.items() if re.search(name, checkpoint)), None)
    preprocessor = getattr(model, 'data_preprocessor', None)
    converts = getattr(preprocessor, 'to_rgb', getattr(preprocessor, '_channel_conversion', None))
    if order is None or converts is None or converts == (order == 'RGB'):
        return None
    given = 'RGB' if converts else 'BGR'
    return (
        f"{place} starts from '{checkpoint}', made for {order} images, but the model's "
        f'data_preprocessor gives it {given}: set bgr_to_rgb (of MMPretrain: to_rgb) to '
        f'{order == "RGB"}, and `mean` and `std` in the same order.'
    )
