"""Reading JSON annotations in COCO's format as they are, before the host does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmdet_ols.checks.images import other_file
from mmdet_ols.checks.progress import waiting
from mmdet_ols.checks.survey.coco_rules import check_coco, repeated_entries
from mmdet_ols.checks.survey.records import FileContents, category_number
from mmdet_ols.config_tree import is_a

AREA_REMEDY = 'Correct or remove their boxes.'
#: A box as it stands in the file, and the width and height of its image.
Box = tuple[Sequence[float], float, float]
#: If more than this share of boxes reaches beyond their image, they are read otherwise on trial.
MANY = 0.05
#: What tools write in place of COCO's four numbers, and the edges of the box by that.
OTHER_READINGS: dict[str, Callable[..., tuple[float, ...]]] = {
    'two corners': lambda a, b, c, d: (a, b, c, d),
    'their centre, the width and the height': lambda a, b, c, d: (
        *(a - c / 2, b - d / 2),
        *(a + c / 2, b + d / 2),
    ),
    'y before x': lambda a, b, c, d: (b, a, b + d, a + c),
}


def read_coco(dataset: Any) -> FileContents:
    """Read the annotation file of a data set of COCO's kind, and say what the host will leave out.

    Args:
        dataset: The host's data set, which has not read its annotations yet.

    Raises:
        ValueError: The file is not JSON of COCO's kind.
    """
    path = str(dataset.ann_file)
    with waiting(path):
        content = read_json(path)
    contents = FileContents(sources=[path])
    classes = dataset.metainfo.get('classes') or ()
    is_lvis = is_a(type(dataset), 'LVISV05Dataset')
    contents.errors = check_coco(content, path, classes, is_lvis)
    if contents.errors:
        return contents
    names = category_names(content)
    contents.category_names = {category_number(number): name for number, name in names.items()}
    contents.images = len(content['images'])
    annotations = content.get('annotations') or []
    contents.objects = Counter(names[item['category_id']] for item in annotations)
    _leave_out(content, contents, dataset)
    boxes = _boxes(content)
    contents.errors = _shares(boxes, path)
    contents.warnings += _other_readings(boxes, path) + repeated_entries(content, path)
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
        what = '' if raw.startswith(b'{') else other_file(raw[:64])
        reason = f'it is {what}' if what else f'it is no valid JSON ({error})'
        raise ValueError(f'{problem}: {reason}. Fetch or export it again.') from error
    if not isinstance(content, dict):
        raise ValueError(
            f'{problem}: it must hold an object with images, annotations and categories, but holds '
            f'a {type(content).__name__}. A list is what detectors write as results.'
        )
    return content


def category_names(content: dict[str, Any]) -> dict[Any, str]:
    """The name of each category, by its id as it stands in the file."""
    return {category['id']: str(category['name']) for category in content['categories']}


def _leave_out(content: dict[str, Any], contents: FileContents, dataset: Any) -> None:
    """Note down which images and objects the host will leave out, by its own rules."""
    wanted = set(dataset.metainfo.get('classes') or ())
    filters = {} if dataset.test_mode else dataset.filter_cfg or {}
    min_size = filters.get('min_size', 0)
    by_image: dict[Any, list[dict[str, Any]]] = {image['id']: [] for image in content['images']}
    names = category_names(content)
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


def _boxes(content: dict[str, Any]) -> list[Box]:
    """All boxes that lie in an image of the file."""
    images = {image['id']: image for image in content['images']}
    return [
        (item['bbox'], image['width'], image['height'])
        for item in content.get('annotations') or []
        if not item.get('ignore') and (image := images.get(item['image_id'])) is not None
    ]


def _shares(boxes: Sequence[Box], path: str) -> list[str]:
    """Notice boxes that are shares of the image's size, which leave nothing to learn from."""
    are_small = all(0 <= edge <= 1 for box, _, _ in boxes for edge in box)
    if not are_small or not any(0 < edge < 1 for box, _, _ in boxes for edge in box):
        return []
    return [
        f'{path}: boxes must be in pixels, but all {len(boxes)} lie between 0 and 1, as shares of '
        'the width and height: multiply them by those.'
    ]


def _other_readings(boxes: Sequence[Box], path: str) -> list[str]:
    """Notice boxes that only lie in their images if they are read otherwise than as COCO's."""
    beyond = _count_beyond(boxes, lambda x, y, width, height: (x, y, x + width, y + height))
    if beyond <= MANY * len(boxes):
        return []
    return [
        f'{path}: {beyond} of {len(boxes)} boxes reach beyond their image, but would not if they '
        f'held {what}. COCO writes a box as [x, y, width, height], from its upper left corner: '
        'check `bbox`, and the width and height of the images.'
        for what, reading in OTHER_READINGS.items()
        if _count_beyond(boxes, reading) < 0.1 * beyond
    ][:1]


def _count_beyond(boxes: Sequence[Box], reading: Callable[..., tuple[float, ...]]) -> int:
    """How many boxes are not inside of their image; a pixel more is no news."""
    count = 0
    for box, width, height in boxes:
        left, top, right, bottom = reading(*box)
        is_inside = -1 <= left <= right <= width + 1 and -1 <= top <= bottom <= height + 1
        count += not is_inside
    return count
