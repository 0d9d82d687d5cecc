"""A data set for VOC-style files as people's tools write them. Importing it needs MMDetection.

A config may name the class by its whole path, which imports it:
`type='mmdet_ols.datasets.lenient_voc.LenientVOCDataset'`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from mmdet.datasets import XMLDataset
from mmengine.logging import print_log

from mmdet_ols.datasets.usable_objects import UsableObjects, usable_objects
from mmdet_ols.datasets.voc_annotations import clean_name, read_annotation
from mmdet_ols.datasets.voc_files import SplitImage, VOCFolder, locate_image, raise_problems
from mmdet_ols.registry import register_dataset


@register_dataset
class LenientVOCDataset(XMLDataset):
    """MMDetection's `XMLDataset` for files that are not quite in VOC's format.

    Regular VOC data are loaded exactly as by MMDetection's `VOCDataset` (whose class names this
    class has not: `metainfo` has to give them). In addition, it takes

    - class names with blanks, line breaks or another Unicode form, which `XMLDataset` leaves out;
    - `<difficult>` that is missing, empty or 'Unspecified' (not difficult);
    - `<size>` that is missing or 0 (the image's own size counts), fractions and decimal commas;
    - polygons and rotated boxes in place of `<bndbox>` (the upright box around them);
    - corners in swapped order, and boxes that reach beyond the image (clipped);
    - XML in GB 2312, GBK and other encodings, declared or not, with a byte-order mark, a namespace,
      a bare `&`, or something before its declaration;
    - lists with a byte-order mark, Windows' line ends, empty lines, comments, extensions, folders
      or further columns;
    - annotations and images in sub-folders, and images with any usual extension.

    Objects without a box, marked as deleted, or whose box has no area or lies outside the image,
    are left out; one line of the log counts them. What cannot be taken is an error that names every
    file.

    Args:
        img_subdir: The folder of the images, below `data_prefix['sub_data_root']` or, where that is
            not given, below `data_root`.
        ann_subdir: The folder of the annotations, in the same place.
        kwargs: As for `XMLDataset`: `data_root`, `ann_file` (the list of images), `data_prefix`,
            `metainfo`, `filter_cfg`, `pipeline`, `test_mode` and so on. The files have to be local.

    Raises:
        ValueError: Files cannot be read or are missing, `metainfo` names no classes, or the same
            class twice.
    """

    def __init__(
        self, img_subdir: str = 'JPEGImages', ann_subdir: str = 'Annotations', **kwargs: Any
    ) -> None:
        super().__init__(img_subdir=img_subdir, ann_subdir=ann_subdir, **kwargs)
        # MMDetection's VOCMetric looks for it; None stands for data other than VOC's own.
        self._metainfo.setdefault('dataset_type', None)

    @property
    def sub_data_root(self) -> str:
        """What holds the folders of annotations and images."""
        return self.data_prefix.get('sub_data_root') or self.data_root or ''

    def load_data_list(self) -> list[dict]:
        """Load the annotations of all images that the list names, as `XMLDataset` does."""
        backend = (self.backend_args or {}).get('backend', 'local')
        if backend != 'local':
            raise ValueError(
                f'LenientVOCDataset reads local files only, but `backend_args` names {backend!r}: '
                "use type='XMLDataset'."
            )
        self.cat2label = _labels(self._metainfo.get('classes'))
        if self.bbox_min_size is not None and self.test_mode:
            raise ValueError(
                '`filter_cfg.bbox_min_size` of LenientVOCDataset is for training, but `test_mode` '
                'is set: leave it out.'
            )
        folder = VOCFolder(self.sub_data_root, self.ann_subdir, self.img_subdir)
        images, missing = folder.read_split(self.ann_file)
        problems = [f'{self.ann_file} names {line} in {folder.annotations}.' for line in missing]
        data_list = []
        odd: Counter[str] = Counter()
        for image in images:
            try:
                data_list.append(self._load_image(image, folder, odd))
            except (ValueError, OSError, LookupError) as error:
                problems.append(str(error.args[0] if isinstance(error, LookupError) else error))
        raise_problems(problems)
        self._say(odd)
        return data_list

    def _load_image(self, entry: SplitImage, folder: VOCFolder, odd: Counter[str]) -> dict:
        annotation = read_annotation(entry.annotation)
        path = locate_image(entry, annotation, folder)
        usable = usable_objects(annotation, path)
        odd.update(oddity.value for _, oddity in annotation.all_oddities())
        odd.update(f'left out: {reason}' for _, reason in usable.left_out)
        if usable.clipped:
            odd['a box that reaches beyond the image (clipped)'] += usable.clipped
        return dict(
            img_path=path,
            img_id=entry.name,
            xml_path=entry.annotation,
            height=usable.size[1],
            width=usable.size[0],
            instances=self._instances(usable),
        )

    def _instances(self, usable: UsableObjects) -> list[dict]:
        instances = []
        smallest = self.bbox_min_size or 0
        for item, box in usable.objects:
            label = self.cat2label.get(item.name)
            if label is None:
                continue
            small = min(box[2] - box[0], box[3] - box[1]) < smallest
            flag = int(item.difficult or small)
            instances.append(dict(ignore_flag=flag, bbox=box, bbox_label=label))
        return instances

    def _say(self, odd: Counter[str]) -> None:
        if odd:
            listed = ', '.join(f'{what} ({count})' for what, count in odd.most_common())
            print_log(
                f'{self.ann_file}: what VOC does not have was read as far as it has one meaning: '
                f'{listed}.',
                logger='current',
            )


def _labels(classes: Any) -> dict[str, int]:
    """The label of each class, by its cleaned name."""
    if not classes or isinstance(classes, str):
        raise ValueError(
            '`metainfo.classes` of LenientVOCDataset must be a tuple of class names, but is '
            f"{classes!r}: write metainfo=dict(classes=('cat', 'dog'))."
        )
    labels: dict[str, int] = {}
    for label, name in enumerate(classes):
        other = labels.setdefault(clean_name(name), label)
        if other != label:
            raise ValueError(
                f'`metainfo.classes` must name each class once, but {classes[other]!r} and '
                f'{name!r} are the same but for blanks or the Unicode form: remove one.'
            )
    return labels
