"""What the files of a data set in VOC's layout say, and what MMDetection makes of them."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet_ols.checks.folders import listing
from mmdet_ols.checks.problems import listed
from mmdet_ols.checks.progress import progress
from mmdet_ols.checks.survey.records import FileContents
from mmdet_ols.checks.survey.voc_rules import LenientRules, StrictRules
from mmdet_ols.config_tree import is_a
from mmdet_ols.datasets.voc_annotations import VOCAnnotation, read_annotation
from mmdet_ols.datasets.voc_files import (
    IMAGE_SUFFIXES,
    SplitImage,
    VOCFolder,
    list_lines,
    locate_image,
    readings,
    shortened,
)

LENIENT = 'LenientVOCDataset'
#: What to write into a config whose data set does not take what our own does.
LENIENT_TYPE = f"type='mmdet_ols.datasets.lenient_voc.{LENIENT}'"
REMEDY = f'Correct the files, or write {LENIENT_TYPE} in the data set, which reads them.'


def read_voc(dataset: Any) -> FileContents:
    """Read the list and the annotations of a data set, as far as it will be able to load them.

    Args:
        dataset: MMDetection's `XMLDataset`, or one derived from it, built but not loaded.

    Raises:
        FileNotFoundError: The list names images whose files are not there.
        ValueError: The list cannot be read, or names nothing.
    """
    folder = VOCFolder(dataset.sub_data_root, dataset.ann_subdir, dataset.img_subdir)
    contents = FileContents(sources=[str(dataset.ann_file), folder.annotations, folder.images])
    if is_a(type(dataset), LENIENT):
        rules: Any = LenientRules(dataset, contents)
        images = _lenient_split(dataset, folder, contents)
    else:
        rules = StrictRules(dataset, contents, REMEDY)
        images = _strict_split(dataset, folder)
    split = 'test' if dataset.test_mode else 'train'
    repeated: list[str] = []
    for image in progress(images, f'Reading {split} annotations'):
        contents.images += 1
        contents.sources.append(image.annotation)
        try:
            annotation = read_annotation(image.annotation)
            path = locate_image(image, annotation, folder)
            contents.sources.append(path)
            rules.count(annotation, path)
            repeated += _repeated_objects(annotation)
        except (ValueError, OSError, LookupError) as error:
            contents.errors.append(str(error.args[0] if isinstance(error, LookupError) else error))
    contents.errors[:] = shortened(contents.errors)
    rules.finish()
    if repeated:
        contents.warnings.append(
            f'{dataset.ann_file}: {len(repeated)} objects repeat another one of their image, with '
            f'the same class and box (first: {repeated[0]}). They count twice in training, and '
            'each detection misses one of them in tests: remove them.'
        )
    _warn_of_repeated(images, dataset.ann_file, contents)
    if not dataset.test_mode:
        _warn_of_unlisted(folder, dataset.ann_file, contents)
    return contents


def _repeated_objects(annotation: VOCAnnotation) -> list[str]:
    """Where objects stand that have the class and the box of an earlier one."""
    seen: set[tuple[object, ...]] = set()
    repeated = []
    for item in annotation.objects:
        key = (item.name, item.box)
        if item.has_area and key in seen:
            repeated.append(f'{annotation.path}, object {item.number}')
        seen.add(key)
    return repeated


def _lenient_split(dataset: Any, folder: VOCFolder, contents: FileContents) -> list[SplitImage]:
    images, missing = folder.read_split(dataset.ann_file)
    contents.errors += [
        f'{dataset.ann_file} names {line} in {folder.annotations}.' for line in missing
    ]
    return images


def _strict_split(dataset: Any, folder: VOCFolder) -> list[SplitImage]:
    """The images of a list as MMDetection reads it: each line whole, with fixed extensions.

    Raises:
        FileNotFoundError: A file of a line is not there.
        ValueError: The list is not in UTF-8, or names nothing.
    """
    list_lines(dataset.ann_file)  # which says what is wrong with a list that is empty or no text
    try:
        text = Path(dataset.ann_file).read_text(encoding='utf-8')
        lines = text.removesuffix('\n').split('\n')
    except UnicodeDecodeError as error:
        raise ValueError(
            f'The split {dataset.ann_file} is not in UTF-8, which is all that MMDetection reads '
            f'({error.reason} at byte {error.start}). {REMEDY}'
        ) from error
    images, missing = [], []
    for number, line in enumerate(lines, 1):
        annotation = os.path.join(folder.annotations, f'{line}.xml')
        image = os.path.join(folder.images, f'{line}.jpg')
        absent = next((path for path in (annotation, image) if not os.path.isfile(path)), None)
        if absent is None:
            images.append(SplitImage(line, annotation, image))
        else:
            missing.append((number, line, absent))
    if missing:
        raise FileNotFoundError(_missing_files(dataset.ann_file, missing, folder))
    return images


def _missing_files(split: str, missing: Sequence[tuple[int, str, str]], folder: VOCFolder) -> str:
    number, line, path = missing[0]
    name = line if line == line.strip() and line else repr(line)
    message = (
        f'{split} names {name} (line {number}), but {path} does not exist. Found: '
        f'{listing(Path(path))}.'
    )
    if len(missing) > 1:
        others = listed(repr(other) for _, other, _ in missing[1:])
        message += f' {len(missing) - 1} more lines lack a file: {others}.'
    readable = [line for _, line, _ in missing if _has_files(line, folder)]
    if readable:
        there = folder.find(readable[0]).image if readable[0].strip('\ufeff \t') else None
        seen = f' (such as {there})' if there else ''
        message += (
            f' {LENIENT_TYPE} in the data set finds the files of {len(readable)} of these lines'
            f'{seen}, since it passes over blanks, byte-order marks, further columns and empty '
            'lines, and takes other extensions and sub-folders.'
        )
    return message


def _has_files(line: str, folder: VOCFolder) -> bool:
    text = line.strip('\ufeff \t')
    if not text:
        return True
    try:
        return folder.find(text).image is not None
    except LookupError:
        return False


def _warn_of_repeated(images: Sequence[SplitImage], split: str, contents: FileContents) -> None:
    counts = Counter(image.name for image in images)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        contents.warnings.append(
            f'{split} names {len(repeated)} images more than once, so that they count as often: '
            f'{listed(repeated)}. Remove the lines that are too many.'
        )


def _warn_of_unlisted(folder: VOCFolder, split: str, contents: FileContents) -> None:
    """Warn of annotations that no list next to this one names, for whatever task."""
    lines: set[str] = set()
    place = Path(split).parent
    # VOC itself has lists for other tasks in ImageSets/Segmentation and so on.
    paths = (
        place.parent.glob('*/*.txt') if place.parent.name == 'ImageSets' else place.glob('*.txt')
    )
    for path in sorted(paths):
        contents.sources.append(str(path))
        try:
            lines.update(list_lines(path))
        except (ValueError, OSError):  # not a list, or one that is empty
            continue
    named = {_stem(name) for line in lines for name, _ in readings(line)}
    unlisted = [path for path in folder.all_annotations() if _stem(path) not in named]
    if unlisted:
        contents.warnings.append(
            f'{len(unlisted)} annotations in {folder.annotations} are in no list of '
            f'{place}, so that nothing learns from them: '
            f'{listed(Path(path).name for path in unlisted)}. Add their names to a list, or remove '
            'the files.'
        )


def _stem(text: str) -> str:
    """The name in a path without folders and extensions, as of a.jpg.xml, in small letters."""
    stem, suffix = os.path.splitext(text.rpartition('/')[2])
    while suffix.lower() in ('.xml', *IMAGE_SUFFIXES):
        stem, suffix = os.path.splitext(stem)
    return unicodedata.normalize('NFC', stem + suffix).casefold()
