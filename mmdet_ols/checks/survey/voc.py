"""Reading VOC's XML annotations as they are, before the host does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.fileio import list_from_file

from mmdet_ols.checks.folders import listing
from mmdet_ols.checks.survey.progress import progress
from mmdet_ols.checks.survey.records import FileContents
from mmdet_ols.datasets.voc_annotations import read_annotation


def read_voc(config: dict[str, Any], dataset: Any) -> FileContents:
    """Read the annotations of a data set in VOC's layout."""
    ann_file = str(dataset.ann_file)
    annotations = Path(dataset.sub_data_root, dataset.ann_subdir)
    images = Path(dataset.sub_data_root, dataset.img_subdir)
    classes = set(dataset.metainfo['classes'])
    contents = FileContents(sources=[ann_file], complete=False)
    empty_boxes = 0
    names = [line.strip() for line in list_from_file(ann_file) if line.strip()]
    if not names:
        raise ValueError(f'The split {ann_file} is empty: it must hold one image name a line.')
    for name in progress(names, 'Reading annotations'):
        for path in (annotations / f'{name}.xml', images / f'{name}.jpg'):
            if not path.is_file():
                raise FileNotFoundError(
                    f'{ann_file} names {name}, but {path} does not exist. Found: {listing(path)}.'
                )
            contents.sources.append(str(path))
        objects, empty = read_annotation(annotations / f'{name}.xml')
        contents.images += 1
        contents.objects += objects
        empty_boxes += empty
        for raw, count in objects.items():
            for _ in range(count if raw not in classes else 0):
                contents.leave_out_object('unknown class', f'{name}.xml')
    if empty_boxes:
        contents.warnings.append(
            f'{ann_file}: {empty_boxes} boxes have no area (xmax <= xmin or ymax <= ymin).'
        )
    return contents
