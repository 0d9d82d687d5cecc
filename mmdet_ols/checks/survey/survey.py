"""Surveying all data sets of a config: their files, and what the host makes of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from mmdet_ols.checks.downloads import downloads_itself
from mmdet_ols.checks.folders import is_local, remedy_of_missing
from mmdet_ols.checks.images import check_images
from mmdet_ols.checks.progress import waiting
from mmdet_ols.checks.public_data import SOURCES, instructions
from mmdet_ols.checks.survey.fingerprints import fingerprints
from mmdet_ols.checks.survey.formats import reader_of, reads_as_known
from mmdet_ols.checks.survey.image_folders import class_folders
from mmdet_ols.checks.survey.kept import keep, kept_path, read_kept
from mmdet_ols.checks.survey.loaded import (
    Decoding,
    build_around,
    build_unloaded,
    count_loaded,
    decoding,
    image_sizes,
    load,
    plain_config,
)
from mmdet_ols.checks.survey.masks import check_masks
from mmdet_ols.checks.survey.records import DatasetSurvey, SplitSurvey
from mmdet_ols.config_tree import is_a, registered_class, type_name
from mmdet_ols.datasets.tree import LABEL_FILE, NOISY, leaf_datasets, walk_datasets


def survey_data(cfg: Config, splits: Sequence[str]) -> list[SplitSurvey]:
    """Survey the data sets of a config, in the default scope that holds.

    Each is built as the run will build it, without its pipeline, so that no image is read. What was
    surveyed before is not read again as long as its files are the same. Data sets that lie
    elsewhere, that download themselves, or that have a million images are left out.

    Args:
        cfg: The config.
        splits: Of 'train', 'val' and 'test'.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A data set cannot be built or read.
    """
    surveys: list[tuple[Any, SplitSurvey]] = []
    for split in splits:
        config = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if not config:
            continue
        plain = plain_config(config)
        same = next((survey for known, survey in surveys if known == plain), None)
        if same is not None:  # the same images often serve to validate and to test
            same.splits.append(split)
            continue
        decodings = [decoding(leaf) for leaf in leaf_datasets(config)]
        path = kept_path(plain, decodings)
        survey = read_kept(path)
        if survey is None:
            survey = _survey_split(plain, decodings, split)
            keep(path, survey)
        survey.splits = [split]
        survey.notes = _notes(config, survey)
        surveys.append((plain, survey))
    return [survey for _, survey in surveys]


def _survey_split(config: Any, decodings: Sequence[Decoding], split: str) -> SplitSurvey:
    """Survey the data sets of one split."""
    survey = SplitSurvey([split])
    built: dict[int, Any] = {}
    leaves = list(leaf_datasets(config))
    for leaf, decoded in zip(leaves, decodings):
        surveyed = DatasetSurvey(type_name(leaf), is_part=leaf.get('indices') is not None)
        survey.datasets.append(surveyed)
        cls = registered_class(DATASETS, leaf)
        where = survey.where(surveyed)
        if is_a(cls, 'CIFAR10') or is_a(cls, 'ImageNet'):  # whose samples are not listed
            surveyed.named = _named_classes(leaf, cls)
        if _is_whole_imagenet(leaf, cls):
            surveyed.note = 'too many images to be listed'
            _read_class_folders(leaf, surveyed, where)
        elif downloads_itself(cls):
            surveyed.note = 'fetches its own files'
        elif not is_local(leaf):
            surveyed.note = 'not on this machine'
        else:
            built[id(leaf)] = _survey_leaf(leaf, surveyed, where)
            if decoded.is_known and surveyed.loaded is not None:
                _examine_images(built[id(leaf)], surveyed, where, decoded.are_turned)
            if decoded.with_masks and surveyed.loaded is not None:
                problems = check_masks(built[id(leaf)])
                _raise(problems.errors, where)
                surveyed.warnings = surveyed.warnings + problems.warnings
    if all(dataset.loaded for dataset in survey.datasets):
        survey.loaded = _load_whole(config, built, survey)
    return survey


def _survey_leaf(config: Any, surveyed: DatasetSurvey, where: str) -> Any:
    """Read the files of one data set, and let the host load it; return what the host built."""
    root = config.get('data_root') or ''
    if registered_class(DATASETS, config) is None:
        raise ValueError(
            f'{where}: no data set is registered under this name: correct its `type`, or import '
            "the module of its class with custom_imports=dict(imports=['MODULE'])."
        )
    try:
        dataset = build_unloaded(config)
    except Exception as error:  # whatever its code raises
        raise ValueError(_cannot_be_read(where, config, error)) from error
    _read_files(dataset, surveyed)
    if surveyed.contents:
        _raise(surveyed.contents.errors, where)
    if not hasattr(dataset, '__len__'):
        surveyed.note = 'does not know its length'
        return dataset
    try:
        with waiting(str(getattr(dataset, 'ann_file', ''))):
            load(dataset)
            surveyed.loaded = count_loaded(dataset)
    except Exception as error:
        raise ValueError(_cannot_be_read(where, config, error)) from error
    paths = surveyed.loaded.paths
    missing = [path for path in paths if '://' not in path and not os.path.isfile(path)]
    if missing:
        remedy = instructions(surveyed.kind, root) or remedy_of_missing(missing[0])
        raise FileNotFoundError(
            f'{where}: {len(missing)} of {len(paths)} images are not there, first {missing[0]}. '
            f'{remedy}'
        )
    surveyed.fingerprints = fingerprints(paths)
    return dataset


def _read_files(dataset: Any, surveyed: DatasetSurvey) -> None:
    """Read what the files say, if their format is known here."""
    reader = reader_of(dataset)
    if reader is None:
        if surveyed.kind not in SOURCES:
            surveyed.note = 'counts as it was loaded, since its files are not known here'
        return
    try:
        surveyed.contents = reader(dataset)
        surveyed.contents.complete = reads_as_known(dataset)
    except (ValueError, OSError):
        raise
    except Exception as error:  # the host is asked next, and may be able to read them
        surveyed.note = f'counts as it was loaded, since its files could not be read: {error!r}'


def _examine_images(dataset: Any, surveyed: DatasetSurvey, where: str, are_turned: bool) -> None:
    """Find images that cannot be decoded, or that come out otherwise than they were annotated."""
    assert surveyed.loaded is not None  # whose images are examined
    paths = [path for path in surveyed.loaded.paths if '://' not in path]
    problems = check_images(paths, image_sizes(dataset, are_turned), are_turned)
    _raise(problems.errors, where)
    surveyed.warnings = problems.warnings


def _raise(errors: Sequence[str], where: str) -> None:
    if errors:
        raise ValueError('\n'.join(f'{where}: {error}' for error in errors))


def _cannot_be_read(where: str, config: Any, error: Exception) -> str:
    root = Path(config.get('data_root') or '').expanduser().absolute()
    remedy = instructions(type_name(config), str(root))
    remedy = remedy or 'Correct the data, or name others in the config.'
    return f'{where}: the data in {root} cannot be read: {error!r}. {remedy}'


def _load_whole(config: Any, built: dict[int, Any], survey: SplitSurvey) -> Any:
    """Count what the wrappers of a split make of its data sets."""
    if len(built) == 1 and id(config) in built:
        return survey.datasets[0].loaded
    names = ', '.join(type_name(node) for node in walk_datasets(config))
    try:
        return count_loaded(build_around(config, built))
    except Exception as error:
        raise ValueError(
            f'{survey.splits[0]}_dataloader: its data sets ({names}) cannot be put together: '
            f'{error!r}. Correct the wrapper in the config.'
        ) from error


def _is_whole_imagenet(config: Any, cls: Any) -> bool:
    """Whether this is ImageNet itself, and not the data of a user who took its class for them."""
    if is_a(cls, 'ImageNet21k'):
        return True
    classes = _classes_in(config)
    return is_a(cls, 'ImageNet') and (classes is None or len(classes) >= 1000)


def _named_classes(config: Any, cls: Any) -> list[str]:
    """The classes of a data set by its config or its class; none where a file names them."""
    classes = _classes_in(config) or cls.METAINFO.get('classes')
    return [] if isinstance(classes, str) else list(classes or ())


def _classes_in(config: Any) -> Any:
    return (config.get('metainfo') or {}).get('classes') or config.get('classes')


def _read_class_folders(config: Any, surveyed: DatasetSurvey, where: str) -> None:
    """Read only the names of the folders, and only where the host takes the classes from them."""
    split = config.get('split') or ''
    root = Path(config.get('data_root') or '').expanduser().absolute()
    has_list = config.get('ann_file') or (root / 'meta' / f'{split}.txt').is_file()
    if not is_local(config) or not split or has_list or not (root / split).is_dir():
        return
    surveyed.contents = class_folders(str(root / split))
    _raise(surveyed.contents.errors, where)
    count = len(surveyed.contents.category_names)
    is_labelled = surveyed.kind == 'ImageNet' and split in ('train', 'val')
    if is_labelled and count != 1000 and not config.get('metainfo'):
        raise ValueError(
            f'{where}: {root / split} must hold 1000 folders, one for each class, but holds '
            f'{count}, and there is no {root / "meta" / f"{split}.txt"}. '
            + instructions('ImageNet', str(root))
        )


def _notes(config: Any, survey: SplitSurvey) -> list[str]:
    """What the wrappers of a split do to what they wrap, where the table cannot show it."""
    notes = []
    for node in walk_datasets(config):
        kind = type_name(node)
        if kind == NOISY and node.get('rate'):
            mapped = ' of the classes in its map' if node.get('class_map') else ''
            notes.append(
                f'{kind} makes {node["rate"]:.0%} of these labels{mapped} wrong on purpose'
            )
        elif kind == LABEL_FILE:
            column, file = node.get('column'), Path(str(node.get('file'))).name
            notes.append(f'the labels are those in column {column!r} of {file} instead of these')
        elif kind == 'RepeatDataset':
            notes.append(f'{kind} repeats its images {node.get("times")} times an epoch')
    total = sum(dataset.loaded.images for dataset in survey.datasets if dataset.loaded)
    if survey.loaded is not None and survey.loaded.images < total:
        left_out = any(d.contents and d.contents.objects_left_out for d in survey.datasets)
        of_all = '; what is left out is counted in all of them' if left_out else ''
        notes.append(f'{survey.loaded.images:,} of {total:,} images are taken{of_all}')
    return notes
