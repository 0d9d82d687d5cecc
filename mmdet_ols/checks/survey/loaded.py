"""What the host's own data sets load, counted without reading an image."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
from mmengine.registry import DATASETS, TRANSFORMS

from mmdet_ols.checks.survey.records import Loaded, category_number
from mmdet_ols.config_tree import (
    REQUIRED,
    constructor_default,
    package_of,
    registered_class,
    type_name,
)
from mmdet_ols.datasets.tree import (
    IN_MEMORY,
    RELABELLING,
    inner_datasets,
    map_datasets,
    sources_of_samples,
)
from mmdet_ols.datasets.voc_annotations import read_annotation

#: These read all images when they are built, or change labels on purpose: what is in them counts.
SEEN_THROUGH = (IN_MEMORY, *RELABELLING)
#: Of more images, the paths are not kept.
MAX_PATHS = 200_000


def plain_config(config: Any) -> Any:
    """Copy the config of a data set, without pipelines and the wrappers that are seen through."""

    def change(node: Any) -> Any:
        if type_name(node) in SEEN_THROUGH:
            return node['dataset']
        if 'pipeline' in node:
            node['pipeline'] = []
        return node

    return map_datasets(config, change)


def build_unloaded(config: Mapping[str, Any]) -> Any:
    """Build an innermost data set that reads its annotations later, if its class can wait."""
    cls = registered_class(DATASETS, config)
    options = deepcopy(dict(config))
    for name, value in (('lazy_init', True), ('serialize_data', False)):
        if constructor_default(cls, name) not in (None, REQUIRED):
            options[name] = value
    return DATASETS.build(options)


def load(dataset: Any) -> None:
    """Let a data set read its annotations, if it has not yet; its reader's chatter is not shown."""
    if hasattr(dataset, 'full_init'):
        with contextlib.redirect_stdout(io.StringIO()):
            dataset.full_init()


def build_around(config: Any, built: Mapping[int, Any]) -> Any:
    """Build the wrappers of a tree of data sets around the innermost ones.

    Args:
        config: As `plain_config` returns it.
        built: The innermost data sets, by the `id` of their configs.
    """
    if id(config) in built:
        return built[id(config)]

    # The hosts' wrappers insist on configs, and a config's type may be anything that can be called.
    def wrapped(node: Any) -> Any:
        if isinstance(node, (list, tuple)):
            return [wrapped(item) for item in node]
        if id(node) in built:
            return dict(type=lambda: built[id(node)])
        key = 'datasets' if 'datasets' in node else 'dataset'
        return {**node, key: wrapped(node[key])}

    return DATASETS.build(wrapped(config))


def count_loaded(dataset: Any) -> Loaded:
    """Count what a loaded data set gives to the network.

    Args:
        dataset: The data set, or a wrapper around others.
    """
    loaded = Loaded(epoch=len(dataset), classes=_classes(dataset))
    paths: list[str] = []
    for info in known_samples(dataset):
        loaded.images += 1
        if not isinstance(info, Mapping):
            continue
        path = info.get('img_path')
        if isinstance(path, str):
            paths.append(path)
        _count_labels(info, loaded)
    if len(paths) <= MAX_PATHS:
        loaded.paths = list(dict.fromkeys(paths))
    loaded.category_ids = _category_ids(dataset)
    return loaded


def image_sizes(dataset: Any, are_turned: bool = True) -> dict[str, tuple[int, int]]:
    """What the annotations of a loaded data set say about the (width, height) of its images.

    Args:
        dataset: The data set.
        are_turned: Whether its pipeline turns images by their EXIF orientation.
    """
    sizes = {}
    for info in known_samples(dataset):
        if not isinstance(info, Mapping) or not info.get('width') or not info.get('height'):
            continue
        size = (int(info['width']), int(info['height']))
        if 'xml_path' in info and not are_turned:
            # Where VOC's XML has no size, the data sets take that of the image, and turn it.
            stated = read_annotation(info['xml_path']).size
            if stated is None:
                continue
            size = stated
        sizes[str(info.get('img_path'))] = size
    return sizes


class Decoding(NamedTuple):
    """How a pipeline decodes the images.

    Args:
        is_known: Whether it does so as the hosts usually do.
        are_turned: Whether it turns images by their EXIF orientation.
        with_masks: Whether it loads the masks of the objects.
    """

    is_known: bool
    are_turned: bool
    with_masks: bool = False


def decoding(config: Mapping[str, Any]) -> Decoding:
    """How the pipeline of an innermost data set decodes the images."""
    steps = [step for step in config.get('pipeline') or () if isinstance(step, Mapping)]
    loading = [step for step in steps if type_name(step) == 'LoadImageFromFile']
    return Decoding(
        is_known=any(
            step.get('imdecode_backend') in (None, 'cv2', 'turbojpeg') for step in loading
        ),
        are_turned=not any(
            str(step.get('color_type')).endswith('ignore_orientation') for step in loading
        ),
        with_masks=any(
            type_name(step) == 'LoadAnnotations'
            and step.get('with_mask', False)
            # MMYOLO's leaves objects without a mask out.
            and package_of(registered_class(TRANSFORMS, step)) != 'mmyolo'
            for step in steps
        ),
    )


def known_samples(dataset: Any) -> Iterator[Any]:
    """What is known of every sample of a data set, once."""
    for source in sources_of_samples(dataset):
        if not inner_datasets(source) and not getattr(source, 'serialize_data', True):
            yield from source.data_list  # without the copy that `get_data_info` makes of each
        elif hasattr(source, 'get_data_info'):
            yield from (source.get_data_info(index) for index in range(len(source)))
        else:
            yield from (None for _ in range(len(source)))


def _count_labels(info: Mapping[str, Any], loaded: Loaded) -> None:
    if 'gt_label' in info:
        loaded.labelled = True
        label = info['gt_label']
        labels: Iterable[Any] = [label] if isinstance(label, int) else np.ravel(label).tolist()
        loaded.objects.update(int(item) for item in labels)
    for item in info.get('instances') or ():
        if item.get('ignore_flag', 0):
            loaded.ignored += 1
        elif 'bbox_label' in item:
            loaded.objects[int(item['bbox_label'])] += 1
    if 'instances' in info:
        loaded.labelled = True


def _classes(dataset: Any) -> list[str]:
    metainfo = getattr(dataset, 'metainfo', None)
    classes = metainfo.get('classes') if isinstance(metainfo, Mapping) else None
    return [str(name) for name in classes or ()]


def _category_ids(dataset: Any) -> list[int | str]:
    """The number in the files of each label, as the host has matched them."""
    by_category = getattr(dataset, 'cat2label', None)
    if isinstance(by_category, Mapping):
        ids = sorted(by_category, key=lambda number: by_category[number])
        return [category_number(number) for number in ids]
    folders = getattr(dataset, 'folder_to_idx', None)
    return list(range(len(folders))) if isinstance(folders, Mapping) else []
