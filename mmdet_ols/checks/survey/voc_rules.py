"""Which objects and images of VOC-style files a data set leaves out, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmdet_ols.checks.survey.records import FileContents
from mmdet_ols.datasets.image_header import read_image_header
from mmdet_ols.datasets.usable_objects import NO_AREA, OUTSIDE, check_pixels, usable_objects
from mmdet_ols.datasets.voc_annotations import Oddity, VOCAnnotation, VOCObject, clean_name

#: Where MMDetection's XMLDataset ends with a traceback, and what it would need instead.
FATAL = {
    Oddity.ENCODING: 'the file must be XML in UTF-8 or in the encoding that it declares',
    Oddity.MARKUP: "the file must be valid XML: begin with its declaration, and write '&amp;'",
    Oddity.DIFFICULT: '<difficult> must be 0 or 1',
    Oddity.SIZE_TEXT: '<size/width> and <size/height> must be whole numbers',
    Oddity.NUMBER: 'the numbers in <bndbox> must have a decimal point',
    Oddity.POLYGON: '<bndbox/xmin> is missing, since there is a polygon or a rotated box instead',
    Oddity.NO_BOX: '<bndbox/xmin> is missing',
}
UNKNOWN_CLASS = 'unknown class'
DIFFICULT = 'difficult'
TOO_SMALL = 'too small'
NO_OBJECT = 'no object'
#: If more than this share of boxes has to be clipped, they may have been drawn on other images.
MANY = 0.05


class _Rules:
    """What both data sets share.

    Args:
        dataset: The data set, built but not loaded.
        contents: What is filled in.
    """

    def __init__(self, dataset: Any, contents: FileContents) -> None:
        self.contents = contents
        self.split = dataset.ann_file
        filters = {} if dataset.test_mode else (dataset.filter_cfg or {})
        self.min_size = filters.get('min_size', 0)
        self.filter_empty = filters.get('filter_empty_gt', False)
        self.smallest_box = dataset.bbox_min_size or 0
        self.without_area = 0
        self.outside: list[str] = []

    def left_out_by_flag(self, item: VOCObject, box: list[int]) -> str:
        """Why an object is loaded but teaches nothing; empty if it teaches."""
        if item.difficult:
            return DIFFICULT
        is_small = min(box[2] - box[0], box[3] - box[1]) < self.smallest_box
        return TOO_SMALL if is_small else ''

    def drop_image(
        self, reason: str, annotation: VOCAnnotation, learnt: Iterable[VOCObject], remedy: str = ''
    ) -> None:
        """Leave out an image, and the objects that the network would have learnt from."""
        self.contents.leave_out_image(reason, annotation.path, remedy)
        for item in learnt:
            example = f'{annotation.path}, object {item.number}'
            self.contents.leave_out_object(f'in an image: {reason}', example)


class StrictRules(_Rules):
    """MMDetection's `XMLDataset`.

    Args:
        dataset: The data set, built but not loaded.
        contents: What is filled in.
        remedy: What to do about files that it cannot read.
    """

    def __init__(self, dataset: Any, contents: FileContents, remedy: str) -> None:
        super().__init__(dataset, contents)
        self.remedy = remedy
        self.classes = tuple(dataset.metainfo.get('classes') or ())
        self.clean_classes = {clean_name(name) for name in self.classes}
        self.fatal: dict[Oddity, list[str]] = {}

    def count(self, annotation: VOCAnnotation, image: str) -> None:
        """Count the objects of one file."""
        check_pixels(annotation)
        for oddity in annotation.oddities:
            self._note(oddity, annotation.path)
        size = annotation.size
        if size is None and not annotation.oddities:
            size = read_image_header(image).loaded  # as the host does, which then has to open it
        loaded, learnt = 0, []
        for item in annotation.objects:
            self.contents.objects[item.raw_name] += 1
            example = f'{annotation.path}, object {item.number}'
            reason, remedy = self._never_loaded(item)
            for oddity in () if reason else item.oddities:  # the host reads no more of others
                self._note(oddity, example)
            if not reason and item.raw_box is not None:
                loaded += 1
                box = [int(edge) - 1 for edge in item.raw_box]
                self._look_at_box(box, annotation, example)
                reason = self.left_out_by_flag(item, box)
            if reason:
                self.contents.leave_out_object(reason, example, remedy)
            else:
                learnt.append(item)
        if self.filter_empty and not loaded:
            self.drop_image(NO_OBJECT, annotation, learnt)
        elif self.min_size and Oddity.SIZE_ZERO in annotation.oddities:
            self.drop_image('<size> of 0', annotation, learnt, self.remedy)
        elif size is not None and min(size) < self.min_size:
            self.drop_image(f'smaller than {self.min_size} pixels', annotation, learnt)

    def finish(self) -> None:
        """Put what was counted into sentences."""
        for oddity, places in self.fatal.items():
            more = f' (and {len(places) - 1} more)' if len(places) > 1 else ''
            self.contents.errors.append(
                f'{places[0]}: {FATAL[oddity]}{more}, since MMDetection ends with a traceback '
                f'otherwise. {self.remedy}'
            )
        if self.without_area:
            self.contents.warnings.append(
                f'{self.split}: {self.without_area} boxes have no area (xmax <= xmin or '
                f'ymax <= ymin), and are loaded all the same. {self.remedy}'
            )
        if self.outside:
            self.contents.warnings.append(
                f'{self.split}: {len(self.outside)} boxes reach beyond the image by its <size> '
                f'(first: {self.outside[0]}). {self.remedy}'
            )

    def _note(self, oddity: Oddity, where: str) -> None:
        if oddity in FATAL:
            self.fatal.setdefault(oddity, []).append(where)

    def _never_loaded(self, item: VOCObject) -> tuple[str, str]:
        if Oddity.STRUCTURE in item.oddities:
            return 'not directly below the root', self.remedy
        if item.raw_name in self.classes:
            return '', ''
        if item.name in self.clean_classes:
            is_blank = ' '.join(item.raw_name.split()) == item.name
            return ('blank' if is_blank else 'Unicode form') + ' in the name', self.remedy
        return UNKNOWN_CLASS, ''

    def _look_at_box(self, box: list[int], annotation: VOCAnnotation, example: str) -> None:
        if box[2] <= box[0] or box[3] <= box[1]:
            self.without_area += 1
        elif annotation.size is not None:
            width, height = annotation.size
            if min(box[:2]) < -1 or box[2] > width or box[3] > height:
                self.outside.append(example)


class LenientRules(_Rules):
    """Our own `LenientVOCDataset`."""

    def __init__(self, dataset: Any, contents: FileContents) -> None:
        super().__init__(dataset, contents)
        self.classes = {clean_name(name) for name in dataset.metainfo.get('classes') or ()}
        self.usable = self.clipped = 0

    def count(self, annotation: VOCAnnotation, image: str) -> None:
        """Count the objects of one file."""
        usable = usable_objects(annotation, image)
        self.usable += len(usable.objects)
        self.clipped += usable.clipped
        reasons = {item.number: reason for item, reason in usable.left_out}
        loaded, learnt = 0, []
        boxes = {item.number: box for item, box in usable.objects}
        for item in annotation.objects:
            self.contents.objects[item.name] += 1
            reason = reasons.get(item.number, '')
            if reason == NO_AREA:
                self.without_area += 1
            if not reason and item.name not in self.classes:
                reason = UNKNOWN_CLASS
            if not reason:
                loaded += 1
                reason = self.left_out_by_flag(item, boxes[item.number])
            if reason:
                example = f'{annotation.path}, object {item.number}'
                remedy = 'Correct or remove their boxes.' if reason == OUTSIDE else ''
                self.contents.leave_out_object(reason, example, remedy)
            else:
                learnt.append(item)
        if self.filter_empty and not loaded:
            self.drop_image(NO_OBJECT, annotation, learnt)
        elif min(usable.size) < self.min_size:
            self.drop_image(f'smaller than {self.min_size} pixels', annotation, learnt)

    def finish(self) -> None:
        """Put what was counted into sentences."""
        if self.without_area:
            self.contents.warnings.append(
                f'{self.split}: {self.without_area} boxes have no area (xmax <= xmin or '
                'ymax <= ymin) and are left out. Correct or remove them.'
            )
        if self.clipped > MANY * self.usable:
            self.contents.warnings.append(
                f'{self.split}: {self.clipped} of {self.usable} boxes reach beyond their image, '
                'and are clipped. If they were drawn before the images were scaled, or hold y '
                'before x, correct them.'
            )
