"""What every JSON file of COCO's format must hold, so that the host can read it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

Items = Sequence[Any]
REMEDY_IDS = 'Renumber them, or merge files with a tool that does.'


@dataclass
class Rule:
    """Something that all items of a list must have.

    Attributes:
        broken: Whether an item does not have it.
        problem: What is wrong then, after 'N of M images'.
        remedy: What to do.
        key: The entry that it is about, whose value the message gives.
    """

    broken: Callable[[Any], bool]
    problem: str
    remedy: str
    key: str = ''


def check_coco(
    content: dict[str, Any], path: str, classes: Collection[str] = (), is_lvis: bool = False
) -> list[str]:
    """List what would stop the host, or what it would read wrongly, in whole sentences.

    Args:
        content: Of the file.
        path: Of the file, for messages.
        classes: Which the config names.
        is_lvis: Whether images may have a `coco_url` instead of a `file_name`.
    """
    errors = []
    for key in ('images', 'categories'):
        if not isinstance(content.get(key), list) or not content[key]:
            has = ', '.join(sorted(map(str, content))) or 'nothing'
            errors.append(
                f"The annotation file {path} is not in COCO's format: it must have a list "
                f'`{key}` that is not empty, but has {has}.'
            )
    annotations = content.get('annotations') or []
    if not isinstance(annotations, list):
        errors.append(f'{path}: `annotations` must be a list.')
    if errors:
        return errors
    for name, items, rules in (
        ('categories', content['categories'], _category_rules(classes)),
        ('images', content['images'], _image_rules(is_lvis)),
        ('annotations', annotations, _annotation_rules(content)),
    ):
        errors += _broken(name, items, rules, path)
    return errors


def repeated_entries(content: dict[str, Any], path: str) -> list[str]:
    """Warn of images and objects that a file lists twice, as merged files often do.

    Args:
        content: Of the file, which has passed `check_coco`.
        path: Of the file, for messages.
    """
    files = Counter(str(image['file_name']) for image in content['images'] if 'file_name' in image)
    objects = Counter(
        (item['image_id'], item['category_id'], *item['bbox'])
        for item in content.get('annotations') or []
        if not item.get('ignore') and min(item['bbox'][2:]) > 0
    )
    warnings = []
    images = [file for file, count in files.items() if count > 1]
    if images:
        warnings.append(
            f'{path} lists {len(images)} images more than once, each time under another id (first: '
            f'{images[0]}). If the annotations of an image are spread over them, the network '
            'learns each time that the other objects are background: merge the entries.'
        )
    extra = sum(objects.values()) - len(objects)
    if extra:
        (image, *_), _ = objects.most_common(1)[0]
        warnings.append(
            f'{path} holds {extra} objects that repeat another one, with the same image, class and '
            f'box (first: in image {image!r}). They count twice in training, and each detection '
            'misses one of them in tests: remove them.'
        )
    return warnings


def _broken(name: str, items: Items, rules: list[Rule], path: str) -> list[str]:
    odd = [item for item in items if not isinstance(item, dict)]
    if odd:
        return [f'{path}: every item of `{name}` must be an object, but one is {odd[0]!r}.']
    sentences = []
    for rule in rules:
        broken = [item for item in items if rule.broken(item)]
        if broken:
            first = _call(name, broken[0])
            if rule.key in broken[0]:
                first += f', {rule.key} {broken[0][rule.key]!r}'
            sentences.append(
                f'{path}: {len(broken)} of {len(items)} {name} {rule.problem} (first: {first}). '
                f'{rule.remedy}'
            )
    return sentences


def _call(name: str, item: dict[str, Any]) -> str:
    """What to call an item in a message."""
    shown = item.get('name') if name == 'categories' else item.get('file_name')
    number = f'id {item.get("id")!r}'
    return f'{number}, {shown}' if shown else number


def _category_rules(classes: Collection[str]) -> list[Rule]:
    repeats_name = _repeats('name')
    return [
        Rule(_lacks('id'), "have no 'id'", 'Give each a number of its own.'),
        Rule(
            lambda item: not isinstance(item.get('name'), str),
            "have no 'name' that is a text, as the names in `metainfo.classes` are",
            'Name them, and write numbers in quotes.',
        ),
        Rule(_repeats('id'), 'have the id of another one', REMEDY_IDS),
        Rule(
            lambda item: repeats_name(item) and item['name'] in classes,
            'have the name of another one, so that the host numbers all later classes wrongly',
            'Merge them into one category, or rename the one without objects.',
        ),
    ]


def _image_rules(is_lvis: bool) -> list[Rule]:
    file_keys = ('file_name', 'coco_url') if is_lvis else ('file_name',)
    return [
        Rule(_lacks('id'), "have no 'id'", 'Give each a number of its own.'),
        Rule(_repeats('id'), 'have the id of another one', REMEDY_IDS),
        Rule(
            lambda item: not any(isinstance(item.get(key), str) for key in file_keys),
            "have no 'file_name'",
            'Write the path of each image, relative to the prefix that the config names.',
        ),
        *(
            Rule(
                _lacks_length(key),
                f"have no '{key}' above 0",
                'Write the size of each image in pixels: exporters often have an option for it.',
                key,
            )
            for key in ('width', 'height')
        ),
    ]


def _annotation_rules(content: dict[str, Any]) -> list[Rule]:
    known = {
        item['id'] for item in content['categories'] if isinstance(item, dict) and _has(item, 'id')
    }

    def asked(item: Any) -> bool:
        return not item.get('ignore')

    return [
        *(
            Rule(_lacks(key), f"have no '{key}'", 'Add it to each of them.')
            for key in ('id', 'image_id', 'category_id')
        ),
        Rule(
            _repeats('id'),
            "have the id of another one (the host: 'Annotation ids are not unique')",
            REMEDY_IDS,
        ),
        Rule(
            lambda item: _has(item, 'category_id') and item['category_id'] not in known,
            'have a `category_id` that is not among the categories of the file',
            'Add the category, or correct them: a text is never the id of a number.',
            'category_id',
        ),
        Rule(
            lambda item: asked(item) and not _is_box(item.get('bbox')),
            'have no `bbox` of four numbers [x, y, width, height]',
            'Write one, or remove them.',
            'bbox',
        ),
        Rule(
            lambda item: asked(item) and not _is_number(item.get('area')),
            "have no 'area' that is a number, which the host needs",
            'Write width * height of the box, or the area of the mask.',
            'area',
        ),
    ]


def _has(item: dict[str, Any], key: str) -> bool:
    """Whether an item has a whole number or a name of this kind; pandas writes 7 as 7.0."""
    value = item.get(key)
    return isinstance(value, (int, str)) or (isinstance(value, float) and value.is_integer())


def _lacks(key: str) -> Callable[[Any], bool]:
    return lambda item: not _has(item, key)


def _lacks_length(key: str) -> Callable[[Any], bool]:
    return lambda item: not _is_number(item.get(key)) or item[key] <= 0


def _repeats(key: str) -> Callable[[Any], bool]:
    """Whether an item has the same entry as one that was asked about before."""
    seen: set[Any] = set()

    def repeats(item: dict[str, Any]) -> bool:
        if not _has(item, key):
            return False
        is_new = item[key] not in seen
        seen.add(item[key])
        return not is_new

    return repeats


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    is_numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_numeric and math.isfinite(value)
