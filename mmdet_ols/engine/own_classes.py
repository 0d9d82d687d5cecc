"""Filling the classes of annotations in where a config asks for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DATASETS, DefaultScope

from mmdet_ols.checks.class_lists import check_class_lists
from mmdet_ols.checks.folders import listing
from mmdet_ols.checks.logs import warn
from mmdet_ols.checks.problems import listed
from mmdet_ols.checks.processes import is_first_process
from mmdet_ols.checks.progress import progress, waiting
from mmdet_ols.checks.survey.coco import category_names, read_json
from mmdet_ols.checks.survey.coco_rules import check_coco
from mmdet_ols.config_tree import is_a, registered_class, type_name
from mmdet_ols.datasets.tree import datasets_of_config
from mmdet_ols.datasets.voc_files import VOCFolder, count_classes, no_annotations

#: The entry by which a config asks for it.
MARKER = 'classes_from_annotations'


def fill_in_classes(cfg: Config) -> None:
    """Fill in the classes of a config that has `classes_from_annotations = True`.

    They are those of the XML annotations that the lists of its data sets name (where a list is not
    there, of all annotations), sorted and cleaned of blanks; or the categories of COCO's files that
    have objects, in the order of the files, by which the host numbers them. Where data sets name
    their classes themselves, those count instead. Each data set gets them as `metainfo.classes`,
    each head, loss and assigner of the model their number as `num_classes`; the marker goes, so
    that the config says from then on what it was trained with.

    Args:
        cfg: The config, which is changed.

    Raises:
        FileNotFoundError: There are no annotations.
        ValueError: An annotation is broken, a data set reads neither VOC's nor COCO's, none holds
            an object, or the model has no `num_classes` to fill in.
    """
    if not cfg.pop(MARKER, False):
        return
    datasets = list(datasets_of_config(cfg))
    if not datasets:
        raise ValueError(f'{MARKER} needs a data set whose annotations name the classes.')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        coco, xml = _annotation_files(datasets)
    classes = _named_classes(datasets) or _classes_of(coco, xml)
    for _, dataset in datasets:
        dataset.metainfo = dict(dataset.get('metainfo') or {}, classes=classes)
    if not _fill_in(cfg.get('model') or {}, len(classes), inside=False):
        raise ValueError(
            f'{MARKER} needs `num_classes` in the head of the model, but there is none: write it '
            'there, with any number.'
        )


def _named_classes(datasets: Sequence[tuple[str, ConfigDict]]) -> tuple[str, ...]:
    """The classes that the data sets name themselves, which then count; empty where none does.

    Raises:
        ValueError: They are no tuple of names, or the data sets name different ones.
    """
    named: dict[tuple[str, ...], str] = {}
    for split, dataset in datasets:
        where = f'{split}_dataloader, {type_name(dataset)}'
        check_class_lists(dataset, where)
        classes = (dataset.get('metainfo') or {}).get('classes')
        if isinstance(classes, (list, tuple)):
            named.setdefault(tuple(classes), where)
    if len(named) > 1:
        (one, place), (other, elsewhere) = list(named.items())[:2]
        raise ValueError(
            f'`metainfo.classes` must be the same in all data sets, but is {one} in {place} and '
            f'{other} in {elsewhere}: write the same there, or leave both out to take the classes '
            'from the annotations.'
        )
    if named and is_first_process():
        print_log(
            'The config names the classes itself, so that no others are taken from the '
            f'annotations: {", ".join(next(iter(named)))}.',
            logger='current',
        )
    return next(iter(named), ())


def _classes_of(coco: Collection[str], xml: Collection[str]) -> tuple[str, ...]:
    """All classes of annotation files: categories in COCO's order, then names of XML, sorted.

    Raises:
        ValueError: A file is broken, or none holds an object.
    """
    counts: Counter[str] = Counter()
    for path in coco:
        counts.update(_count_categories(path))
    names = count_classes(progress(sorted(xml), 'Reading the classes'))
    counts.update({name: names[name] for name in sorted(names)})
    classes = tuple(name for name, count in counts.items() if count)
    if not classes:
        raise ValueError(
            f'{MARKER} needs objects, but none of the {len(coco) + len(xml)} annotation files '
            'holds one.'
        )
    _say(counts)
    return classes


def _count_categories(path: str) -> dict[str, int]:
    """The number of objects of each category of a COCO file, in its order."""
    with waiting(path):
        content = read_json(path)
    problems = check_coco(content, path)
    if problems:
        raise ValueError('\n'.join(problems))
    names = category_names(content)
    counts = dict.fromkeys(names.values(), 0)
    for item in content.get('annotations') or []:
        counts[names[item['category_id']]] += 1
    return counts


def _annotation_files(
    datasets: Sequence[tuple[str, ConfigDict]],
) -> tuple[Collection[str], Collection[str]]:
    """The files of data sets in COCO's format, in their order, and those in VOC's."""
    coco: dict[str, None] = {}
    xml: set[str] = set()
    for split, dataset in datasets:
        cls = registered_class(DATASETS, dataset)
        if is_a(cls, 'CocoDataset'):
            coco[_coco_file(dataset, split)] = None
        elif is_a(cls, 'XMLDataset'):
            xml.update(_xml_files(dataset))
        else:
            raise ValueError(
                f"{MARKER} needs XML annotations in VOC's layout (type='LenientVOCDataset') or "
                f"JSON in COCO's format (type='CocoDataset'), but got {split}_dataloader, "
                f'{type_name(dataset)}: name the classes in metainfo=dict(classes=...) instead.'
            )
    return coco, xml


def _coco_file(dataset: ConfigDict, split: str) -> str:
    where = f'{split}_dataloader, {type_name(dataset)}'
    if not dataset.get('ann_file'):
        raise ValueError(
            f'`ann_file` of {where} must name the JSON file of the annotations, but is empty: set '
            f'{split}_dataloader.dataset.ann_file=FILE.'
        )
    path = Path(dataset.get('data_root') or '', dataset['ann_file'])
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}, the `ann_file` of {where}, is not there: '
            f'correct it, or name the folder of the data with --data-root: {listing(path)}.'
        )
    return str(path)


def _xml_files(dataset: ConfigDict) -> list[str]:
    """The annotations of a data set's list, or all of its folder where the list is not there."""
    data_root = dataset.get('data_root') or ''
    prefix = dataset.get('data_prefix') or {}
    root = Path(data_root, prefix.get('sub_data_root') or '')
    subdirs = {key: dataset[key] for key in ('ann_subdir', 'img_subdir') if key in dataset}
    folder = VOCFolder(str(root), **subdirs)
    files = folder.all_annotations()
    if not files:
        raise no_annotations(root, subdirs.get('ann_subdir', 'Annotations'))
    split_file = Path(data_root, dataset.get('ann_file') or '')
    if split_file.is_file():
        files = [image.annotation for image in folder.read_split(split_file)[0]]
    return files


def _say(counts: Counter[str]) -> None:
    """Log the classes and their objects, and which names may be wrong or of no use."""
    if not is_first_process():
        return
    each = ', '.join(f'{name} ({count})' for name, count in (+counts).most_common())
    print_log(f'Objects of each class in the annotations: {each}.', logger='current')
    empty = [name for name, count in counts.items() if not count]
    if empty:
        print_log(f'Categories without an object are left out: {listed(empty)}.', logger='current')
    single = sorted(name for name, count in counts.items() if count == 1)
    if single:
        warn(
            f'Names with a single object in all annotations: {listed(single)}. '
            'Correct them in the annotations if they are typing errors: the network gets an output '
            'for every name.',
        )


def _fill_in(node: Any, count: int, inside: bool) -> int:
    """Set each `num_classes` of a model's heads and of what is inside; return how many there are.

    MMYOLO's assigners, which lie in `train_cfg`, belong to its heads. The head of a region proposal
    network tells objects from background, whatever their classes.
    """
    if isinstance(node, (list, tuple)):
        return sum(_fill_in(item, count, inside) for item in node)
    if not isinstance(node, dict):
        return 0
    filled = 0
    if inside and 'num_classes' in node:
        node['num_classes'] = count
        filled = 1
    for key, child in node.items():
        if key != 'rpn_head':
            of_head = key.endswith('head') or key == 'train_cfg'
            filled += _fill_in(child, count, inside or of_head)
    return filled
