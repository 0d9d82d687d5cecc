"""Checking the data sets of a config before a run starts, so that no hours are lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmdet_ols.checks.class_lists import check_class_lists
from mmdet_ols.checks.downloads import downloads_itself
from mmdet_ols.checks.folders import dataset_paths, is_local, listing
from mmdet_ols.checks.head_classes import check_head_classes
from mmdet_ols.checks.option_names import option_names
from mmdet_ols.checks.problems import Problems
from mmdet_ols.checks.processes import is_first_process
from mmdet_ols.checks.public_data import SOURCES, check_files
from mmdet_ols.checks.survey.records import SplitSurvey
from mmdet_ols.checks.survey.rules import judge
from mmdet_ols.checks.survey.survey import survey_data
from mmdet_ols.checks.survey.table import print_survey
from mmdet_ols.config_tree import is_a, registered_class, type_name
from mmdet_ols.datasets.tree import SPLITS, datasets_of_config
from mmdet_ols.datasets.voc_files import LAYOUT


def check_datasets(cfg: Config, splits: Sequence[str] = SPLITS, strict: bool = False) -> None:
    """Survey the data of a run, print what there is, and stop where it cannot be right.

    Paths must exist. Every data set is built as the run will build it, but no image is decoded, and
    what it loaded is held against what its files say. The table that is printed and the rules that
    it has to pass are explained in the documentation ('Train on your own data'). Remote data and
    data sets that download themselves are left to their own code.

    Args:
        cfg: A config for MMDetection or MMPretrain.
        splits: Which data loaders to check, of 'train', 'val' and 'test'.
        strict: Whether what may be wrong is an error rather than a warning.

    Raises:
        FileNotFoundError: A path does not exist; the message says what was expected and found.
        ValueError: A data set cannot be read, or cannot be right: it numbers its classes otherwise
            than the config, the head or another split, or nothing is left to learn from.
    """
    if not is_first_process():
        return  # the first process checks for all
    surveys, problems = survey_datasets(cfg, splits)
    print_survey(surveys)
    problems.report(strict)


def describe_datasets(cfg: Config) -> None:
    """Print the survey of the data of a run that is over; nothing is an error any more."""
    try:
        surveys, problems = survey_datasets(cfg)
    except (OSError, ValueError) as error:  # such as data that have moved
        surveys, problems = [], Problems(errors=[f'The data cannot be described: {error}'])
    print_survey(surveys)
    Problems(warnings=problems.errors + problems.warnings).report()


def survey_datasets(
    cfg: Config, splits: Sequence[str] = SPLITS
) -> tuple[list[SplitSurvey], Problems]:
    """Survey the data of a run, and judge them; nothing is printed.

    Args:
        cfg: A config for MMDetection or MMPretrain.
        splits: Which data loaders to check, of 'train', 'val' and 'test'.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: A data set cannot be read.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        seen: set[str] = set()
        for split, dataset in datasets_of_config(cfg, splits):
            check_class_lists(dataset, f'{split}_dataloader, {type_name(dataset)}')
            keys = ('data_root', 'ann_file', 'data_prefix', 'split')
            places = str({key: dataset.get(key) for key in keys})
            if places not in seen:  # the same images often serve to validate and to test
                seen.add(places)
                _check_places(dataset, f'{split}_dataloader, {type_name(dataset)}')
        surveys = survey_data(cfg, splits)
    problems = judge(surveys)
    problems += check_head_classes(surveys, cfg)
    return surveys, problems


def _check_places(dataset: Mapping[str, Any], where: str) -> None:
    """Make sure that everything lies where the config of a data set says."""
    cls = registered_class(DATASETS, dataset)
    if not is_local(dataset) or downloads_itself(cls):
        return
    if type_name(dataset) in SOURCES:
        check_files(dataset, where)
    else:
        _check_paths(dataset_paths(dataset), where, is_a(cls, 'XMLDataset'))


def _check_paths(paths: dict[str, Any], where: str, is_xml: bool) -> None:
    layout = f'Expected this layout below the ROOT of each data set:\n{LAYOUT}\n' if is_xml else ''
    root = paths['data_root']
    if root and not Path(root).is_dir():
        message = (
            f'`data_root` of {where} must be a folder, but {root} does not exist. {layout}'
            'Put the data there, or name the folder that holds them with '
            f'{option_names().data_root}.'
        )
        if 'demo' in str(root):
            message += ' The demo data are made by `python tools/make_demo_data.py`.'
        raise FileNotFoundError(message)
    for name, path in paths.items():
        if path and name != 'data_root' and not Path(root, path).exists():
            raise FileNotFoundError(
                f'`{name}` of {where} does not exist: {Path(root, path)}. {layout}'
                f'Found: {listing(Path(root, path))}.'
            )
