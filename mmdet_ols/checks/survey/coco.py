"""Reading JSON annotations in COCO's format as they are, before the host does."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mmdet_ols.checks.survey.coco_rules import check_coco, repeated_entries
from mmdet_ols.checks.survey.records import FileContents, category_number
from mmdet_ols.config_tree import is_a, owner_of

AREA_REMEDY = 'Correct or remove their boxes.'
#: From this share of boxes on that reach beyond their image, they are looked at as corners.
MANY = 0.5


def read_coco(config: dict[str, Any], dataset: Any) -> FileContents:
    """Read the annotation file of a data set of COCO's kind, and say what the host will leave out.

    Args:
        config: Of the data set.
        dataset: The host's data set, which has not read its annotations yet.

    Raises:
        ValueError: The file is not JSON of COCO's kind.
    """
    path = str(dataset.ann_file)
    content = read_json(path)
    contents = FileContents(sources=[path])
    classes = dataset.metainfo.get('classes') or ()
    is_lvis = is_a(type(dataset), 'LVISV05Dataset')
    contents.errors = check_coco(content, path, classes, is_lvis)
    if contents.errors:
        return contents
    names = _names(content)
    contents.category_names = {category_number(number): name for number, name in names.items()}
    contents.images = len(content['images'])
    annotations = content.get('annotations') or []
    contents.objects = Counter(names[item['category_id']] for item in annotations)
    _leave_out(content, contents, dataset)
    contents.complete = _is_plain(type(dataset))
    contents.warnings += _corners(content, path) + repeated_entries(content, path)
    return contents


def read_json(path: str) -> dict[str, Any]:
    """Read a JSON file whose outermost value is an object, as the host's reader can.

    Raises:
        ValueError: It is not; the message says what is wrong.
    """
    raw = Path(path).read_bytes()
    problem = f"The annotation file {path} is not in COCO's format"
    if raw.startswith(b'\xef\xbb\xbf'):
        raise ValueError(
            f'{problem}: it begins with a byte order mark, which the host cannot read. Save it as '
            'UTF-8 without one.'
        )
    try:
        content = json.loads(raw.decode('utf-8'))
    except UnicodeDecodeError as error:
        raise ValueError(f'{problem}: it must be UTF-8, but {error}. Save it as UTF-8.') from error
    except ValueError as error:
        raise ValueError(f'{problem} ({error!r}).') from error
    if not isinstance(content, dict):
        raise ValueError(
            f'{problem}: it must hold an object with images, annotations and categories, but holds '
            f'a {type(content).__name__}. A list is what detectors write as results.'
        )
    return content


def _names(content: dict[str, Any]) -> dict[Any, str]:
    """The name of each category, by its id as it stands in the file."""
    return {category['id']: str(category['name']) for category in content['categories']}


def _leave_out(content: dict[str, Any], contents: FileContents, dataset: Any) -> None:
    """Note down which images and objects the host will leave out, by its own rules."""
    wanted = set(dataset.metainfo.get('classes') or ())
    filters = {} if dataset.test_mode else dataset.filter_cfg or {}
    min_size = filters.get('min_size', 0)
    by_image: dict[Any, list[dict[str, Any]]] = {image['id']: [] for image in content['images']}
    names = _names(content)
    for item in content.get('annotations') or []:
        if item['image_id'] in by_image:
            by_image[item['image_id']].append(item)
        else:
            contents.leave_out_object(
                'image not listed',
                f'annotation {item["id"]}, image_id {item["image_id"]!r}',
                'Correct the `image_id`, or add the image to `images` of the file. A text is never '
                'the id of a number.',
            )
    for image in content['images']:
        items = by_image[image['id']]
        name = str(image.get('file_name') or image.get('coco_url'))
        is_named = any(names[item['category_id']] in wanted for item in items)
        whole = None
        if filters.get('filter_empty_gt') and not is_named:
            whole = 'no object'
        elif min(image['width'], image['height']) < min_size:
            whole = f'below {min_size} pixels'
        if whole:
            contents.leave_out_image(whole, name)
        for item in items:
            reason, remedy = _reason(item, image, names[item['category_id']] in wanted)
            if not reason and whole:
                reason = f'image {whole}'
            if reason:
                contents.leave_out_object(reason, f'annotation {item["id"]} of {name}', remedy)


def _reason(item: dict[str, Any], image: dict[str, Any], is_named: bool) -> tuple[str, str]:
    """Why the host leaves an object out, and what can be done about it."""
    if not is_named:
        return 'unknown class', ''
    if item.get('ignore'):
        return 'ignored', ''
    x, y, width, height = item['bbox']
    inside = (min(x + width, image['width']) - max(x, 0)) > 0 and (
        min(y + height, image['height']) - max(y, 0)
    ) > 0
    if width < 1 or height < 1:
        return 'no area', AREA_REMEDY
    if not inside:
        return 'outside the image', AREA_REMEDY
    if item['area'] <= 0:
        return 'no area', f"Their boxes have one, but 'area' is not positive. {AREA_REMEDY}"
    return ('crowd', '') if item.get('iscrowd') else ('', '')


def _corners(content: dict[str, Any], path: str) -> list[str]:
    """Notice boxes that hold two corners where COCO has a corner, the width and the height."""
    images = {image['id']: image for image in content['images']}
    beyond = corners = total = 0
    for item in content.get('annotations') or []:
        image = images.get(item['image_id'])
        if image is None:
            continue
        total += 1
        x, y, third, fourth = item['bbox']
        width, height = image['width'], image['height']
        if x + third > width + 1 or y + fourth > height + 1:
            beyond += 1
            corners += x < third <= width + 1 and y < fourth <= height + 1
    if total and beyond > MANY * total and corners > 0.9 * beyond:
        return [
            f'{path}: {beyond} of {total} boxes reach beyond their image, but would not if they '
            'held two corners. COCO writes a box as [x, y, width, height]: check `bbox`.'
        ]
    return []


def _is_plain(cls: Any) -> bool:
    """Whether a class leaves out what CocoDataset does, and nothing else."""
    methods = ('parse_data_info', 'filter_data')
    return all(owner_of(cls, method).__name__ == 'CocoDataset' for method in methods)
