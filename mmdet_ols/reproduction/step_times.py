"""How long training takes by the time of its steps, for runs like which none is finished yet."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmdet_ols import losses
from mmdet_ols.config_tree import type_name
from mmdet_ols.datasets.tree import CLEAN_PART, leaf_datasets, walk_datasets
from mmdet_ols.experiments.identity import portable_settings
from mmdet_ols.experiments.settings import settings_key
from mmdet_ols.experiments.specification import Variant
from mmdet_ols.paper import data_sets
from mmdet_ols.reproduction.image_sides import training_side

#: The parts of a config that a step is made of.
PARTS = re.compile(r'(model|optim_wrapper|train_cfg)\.|data_preprocessor\.batch_augments\.')
#: Entries of these that cost nothing to change: losses and what smooths labels, weights to start
#: from, the number of classes (under 1 % of any of the networks), tests, numbers of optimizers (a
#: loop may have one of its own), and how long the training is.
FREE = re.compile(
    r'(^|\.)(loss|loss_\w+|one_hot_smoother|init_cfg|num_classes|test_cfg)(\.|$)'
    r'|^(optim_wrapper|train_cfg)\..*\.(lr|momentum|weight_decay)$'
    r'|^train_cfg\.(by_epoch|max_epochs|val_begin|val_interval|dynamic_intervals)\b'
)
#: What a loss with passes over all images does between epochs, and its steps before and after.
PASS, BEFORE, AFTER = 'pass', 'before', 'after'
#: The columns of a file of step times that are read; the others say how it was made.
READ = ('step', 'device', 'machine', 'threads', 'n', 'median_s')


class StepRow(NamedTuple):
    """What was measured of one kind of step.

    Attributes:
        step: The kind, as `phases` gives it.
        device: 'cpu' or 'cuda'.
        machine: The processor or GPU.
        threads: Of the CPU.
        n: How many steps were timed.
        seconds: Median seconds of a step, for each training image.
    """

    step: str
    device: str
    machine: str
    threads: int
    n: int
    seconds: float

    @property
    def place(self) -> str:
        """Where it was measured, for people."""
        if self.device != 'cpu':
            return f'one {self.machine}'
        if self.threads == 1:
            return f'one {self.machine} core'
        return f'{self.threads} {self.machine} cores'


class Phase(NamedTuple):
    """Epochs of a training that do the same for each image.

    Attributes:
        kind: Key of what is done: steps that compute the same have the same one.
        epochs: How many of them there are.
        name: `BEFORE`, `AFTER` or `PASS`; empty where all epochs are alike.
    """

    kind: str
    epochs: int
    name: str = ''


def phases(variant: Variant) -> list[Phase]:
    """What a training does for each image, and in how many epochs.

    Methods that change only the loss share a kind of step. Data, batch size and the numbers of the
    optimizer do not count. A loss with passes (`SampleLoss.has_pass`) makes three phases: the
    epochs before labels are corrected, those after, and the passes at the ends of epochs.

    Args:
        variant: A config with its method.

    Returns:
        The phases; none where the config does not say how large the images are or when a loss
        begins to correct, or where the length is not in epochs.
    """
    side = training_side(variant.cfg)
    if side is None or not variant.by_epoch:
        return []
    kept = {**step_settings(variant), 'side': side}
    return [
        Phase(settings_key(dict(kept, phase=name) if name else kept), number, name)
        for name, number in phase_epochs(variant.forms.trained, variant.length).items()
    ]


def step_settings(variant: Variant) -> dict[str, Any]:
    """What of the settings of a training a step is made of, the size of the images excepted."""
    settings = portable_settings(variant.forms.trained)
    kept: dict[str, Any] = {
        key: value for key, value in settings.items() if PARTS.match(key) and not FREE.search(key)
    }
    passing = _loss_with_passes(variant.forms.trained)
    if passing:
        kept['loss'] = settings[passing]
    return kept


def phase_epochs(settings: Mapping[str, Any], length: int) -> dict[str, int]:
    """In how many epochs of a training each of its phases is.

    Args:
        settings: As `flat_settings` gives them.
        length: Of the training, in epochs.

    Returns:
        By the name of each `Phase`; empty where a loss does not say when it begins to correct.
    """
    passing = _loss_with_passes(settings)
    if passing is None:
        return {'': length}
    first = settings.get(passing.removesuffix('type') + 'correct_from')
    if not isinstance(first, int):
        return {}
    first = min(first, length)
    # There is a pass before the first epoch that corrects, and after each of them.
    return {BEFORE: first, AFTER: length - first, PASS: length - first + 1}


def _loss_with_passes(settings: Mapping[str, Any]) -> str | None:
    """The key of the type of a loss with passes over all images; None where there is none."""
    for key, value in settings.items():
        kind = getattr(losses, str(value), None) if key.endswith('.type') else None
        if getattr(kind, 'has_pass', False):
            return key
    return None


def training_images(variant: Variant, data: str) -> int | None:
    """How many images an epoch of one of the paper's data sets has; None for other data.

    Args:
        variant: A config with its method, which may hold a clean part out.
        data: Name of the data.
    """
    dataset = variant.cfg.train_dataloader['dataset']
    splits = {leaf.get('split') for leaf in leaf_datasets(dataset)}
    for row in data_sets():
        if row.data == data and (not row.split or {row.split} == splits):
            held_out = [
                node['samples_per_class'] * row.classes
                for node in walk_datasets(dataset)
                if type_name(node) == CLEAN_PART
            ]
            return row.training_images - sum(held_out)
    return None


class StepTimes:
    """The seconds that steps take for each image on one device.

    Args:
        rows: As `benchmarks/step_times.py` writes them.
        name: What to call their file in errors.

    Raises:
        ValueError: There are none, or they are from several devices.
    """

    def __init__(self, rows: Iterable[StepRow], name: str = 'The file') -> None:
        rows = list(rows)
        places = sorted({row.place for row in rows})
        if len(places) != 1:
            raise ValueError(
                f'{name} must hold the step times of one device, but has those of '
                f'{", ".join(places) or "none"}: keep a file for each.'
            )
        (self.place,) = places
        #: The fewest steps that a median is of.
        self.n = min(row.n for row in rows)
        self._seconds = {row.step: row.seconds for row in rows}

    def whole(self, variant: Variant, data: str) -> float | None:
        """Seconds of all training steps and passes of a run; None where nothing tells.

        Args:
            variant: A config with its method.
            data: Name of its data.
        """
        images = training_images(variant, data)
        parts = phases(variant)
        if images is None or not parts or any(part.kind not in self._seconds for part in parts):
            return None
        return images * sum(self._seconds[part.kind] * part.epochs for part in parts)


def read_step_rows(path: str | Path) -> list[StepRow]:
    """Read a CSV file of `benchmarks/step_times.py`.

    Raises:
        OSError: It cannot be read.
        ValueError: A column is missing, or a value is no number.
    """
    with Path(path).open(encoding='utf-8', newline='') as file:
        reader = csv.DictReader(file)
        missing = [name for name in READ if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f'{path} must be a CSV file of benchmarks/step_times.py, but lacks the columns '
                f'{", ".join(missing)}: name another file.'
            )
        rows = list(reader)
    try:
        return [
            StepRow(
                row['step'],
                row['device'],
                row['machine'],
                int(row['threads']),
                int(row['n']),
                float(row['median_s']),
            )
            for row in rows
        ]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'{path} must be a CSV file of benchmarks/step_times.py, but a value is no number '
            f'({error}): remove the row and measure it again.'
        ) from error


def read_step_times(path: str | Path) -> StepTimes:
    """Read the step times of a device; see `read_step_rows` and `StepTimes` for errors."""
    return StepTimes(read_step_rows(path), str(path))
