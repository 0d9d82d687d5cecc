"""Making the demo data set in a new folder, as a whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_ols.core.arguments import check_integer, check_number
from mmdet_ols.datasets.demo_voc.layout import DEFAULT_NUM_IMAGES, write_image, write_split
from mmdet_ols.datasets.demo_voc.scenes import draw_image
from mmdet_ols.datasets.demo_voc.shapes import CLASSES
from mmdet_ols.datasets.demo_voc.wrong_labels import write_wrong_labels

MANIFEST = 'demo.json'
FORMAT_VERSION = 2  # increase it whenever the same seed would draw something else


def make_demo_voc(
    root: str | os.PathLike[str],
    num_images: Mapping[str, int] | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = False,
    wrong_labels: float = 0.0,
) -> None:
    """Draw the demo data set into a new folder; the same set that is already there is used again.

    An image depends only on seed, split and index, not on the number of images and workers (with
    the same versions of Pillow and NumPy). Everything is drawn next to `root` and moved there at
    the end, so an interrupted run leaves no half-made set. `demo.json` in `root` holds the
    parameters, and the number of objects by split and class.

    Args:
        root: Folder to make, a VOCdevkit that will hold `VOC2007` and `VOC2012`.
        num_images: Number of images by split, at least 1. Splits that are left out have the number
            of `DEFAULT_NUM_IMAGES`.
        seed: Seed of everything that is drawn; not negative.
        workers: Number of processes, at least 1; None is one for each CPU core.
        progress: Whether to show a progress bar (needs rich).
        wrong_labels: Share of the trainval objects, in [0, 1], that are annotated as another class,
            chosen uniformly, for testing what finds such mistakes. The images and the test split
            stay as they are. `wrong_labels.json` in `root` lists them by image (as
            'VOC2007/000001') and object (its position in the annotation, from 0).

    Raises:
        ValueError: An argument is outside its range, or a split is unknown.
        FileExistsError: `root` holds something else, which is left as it is.
    """
    root = Path(root).resolve()  # a link to an empty folder may be filled
    _check_arguments(num_images or {}, seed, workers, wrong_labels)
    counts = {**DEFAULT_NUM_IMAGES, **(num_images or {})}
    parameters: dict[str, Any] = dict(format_version=FORMAT_VERSION, seed=seed, num_images=counts)
    if wrong_labels:
        parameters['wrong_labels'] = wrong_labels
    if _is_made(root, parameters):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f'.{root.name}-', dir=root.parent))
    try:
        objects = _make_splits(unfinished, counts, seed, workers, progress)
        if wrong_labels:
            write_wrong_labels(unfinished, counts, seed, wrong_labels, objects)
        manifest = {**parameters, 'num_objects': objects}
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')
        _move_into_place(unfinished, root, parameters)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _check_arguments(
    num_images: Mapping[str, int], seed: int, workers: int | None, wrong_labels: float
) -> None:
    unknown = set(num_images) - set(DEFAULT_NUM_IMAGES)
    if unknown:
        raise ValueError(
            f'num_images must name splits of {list(DEFAULT_NUM_IMAGES)}, but got {sorted(unknown)}.'
        )
    for split, count in num_images.items():
        if not 1 <= count <= 99_999:
            raise ValueError(f'num_images[{split!r}] must be in [1, 99999], but got {count!r}.')
    check_integer('seed', seed, least=0)
    check_integer('workers', workers, optional=True, remedy='None takes all cores')
    check_number('wrong_labels', wrong_labels, 'in [0, 1]', note=', the share of wrong labels,')


def _is_made(root: Path, parameters: dict[str, Any]) -> bool:
    """Whether this very set is in `root`; an error if anything else is."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    advice = 'Name another folder, or move this one away yourself.'
    manifest = root / MANIFEST
    if not manifest.is_file():
        raise FileExistsError(
            f'root must be a new folder or a finished demo set, but {root} exists without a '
            f'{MANIFEST}. {advice}'
        )
    # A set without wrong labels does not mention them.
    wanted = {'wrong_labels': 0.0, **parameters}
    try:
        content = {'wrong_labels': 0.0, **json.loads(manifest.read_text())}
        made = {key: content[key] for key in wanted}
    except (ValueError, KeyError, TypeError) as error:
        raise FileExistsError(f'{manifest} is not a manifest of a demo set. {advice}') from error
    if made != wanted:
        differs = [key for key in wanted if made[key] != wanted[key]]
        raise FileExistsError(
            f'root must be a new folder or hold the same demo set, but {root} was made with '
            f'{ {key: made[key] for key in differs} } instead of '
            f'{ {key: wanted[key] for key in differs} }. {advice}'
        )
    return True


def _move_into_place(unfinished: Path, root: Path, parameters: dict[str, Any]) -> None:
    unfinished.chmod(0o755)  # only their owner can read the folders that mkdtemp makes
    try:
        unfinished.rename(root)
    except OSError:
        # Another process (a second rank, say) may have made the same set in the meantime.
        if not _is_made(root, parameters):
            raise


def _make_splits(
    root: Path, counts: Mapping[str, int], seed: int, workers: int | None, progress: bool
) -> dict[str, dict[str, int]]:
    """Draw all splits into `root`; returns the number of objects of each split and class."""
    for split, count in counts.items():
        write_split(root, split, count)
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    make_image = partial(_make_image, root, seed)
    if workers == 1:
        return _count_objects(jobs, map(make_image, jobs), progress)
    with ProcessPoolExecutor(workers) as pool:
        return _count_objects(jobs, pool.map(make_image, jobs, chunksize=16), progress)


def _make_image(root: Path, seed: int, job: tuple[str, int]) -> Counter[str]:
    """Draw and write one image; returns the number of objects of each class."""
    split, index = job
    rng = np.random.default_rng([seed, list(DEFAULT_NUM_IMAGES).index(split), index])
    image, objects = draw_image(rng)
    write_image(root, split, index, image, objects)
    return Counter(item.name for item in objects)


def _count_objects(
    jobs: list[tuple[str, int]], made: Iterable[Counter[str]], progress: bool
) -> dict[str, dict[str, int]]:
    if progress:
        try:
            from rich.progress import track
        except ImportError as error:
            raise ImportError(
                "The progress bar needs rich: pip install 'mmdet_ols[demo]'."
            ) from error

        made = track(made, description='Drawing', total=len(jobs))
    totals: dict[str, Counter[str]] = {}
    for (split, _), objects in zip(jobs, made):
        totals.setdefault(split, Counter()).update(objects)
    return {split: {name: total[name] for name in CLASSES} for split, total in totals.items()}
