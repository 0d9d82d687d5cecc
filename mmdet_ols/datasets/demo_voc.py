"""A detection data set drawn on the spot, in VOCdevkit's layout: three families of look-alikes."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

try:
    from PIL import Image, ImageDraw, ImageFilter, ImageOps
except ImportError as error:
    raise ImportError(
        'The demo data set is drawn with Pillow: run `pip install pillow`.'
    ) from error

FAMILIES: dict[str, tuple[str, ...]] = {
    'fruit': ('apple', 'peach', 'plum'),
    'vehicle': ('car', 'van', 'bus'),
    'animal': ('cat', 'dog', 'fox'),
}
CLASSES: tuple[str, ...] = tuple(name for names in FAMILIES.values() for name in names)

# An object looks the way its two traits say, and they are drawn from a unit normal around the mean
# of its class. The look depends on the class through the traits alone, so no classifier beats the
# one that picks the nearest mean; here it is right 86 to 88 times in 100 within a family.
TRAIT_MEANS: dict[str, tuple[float, float]] = {
    # (colour: purple - red - orange; shape: wide and dented - tall and plain)
    "apple": (0.0, -1.2), "peach": (1.6, 0.9), "plum": (-1.6, 0.9),
    # (length; bonnet: none - long)
    "car": (-0.8, 1.9), "van": (-0.7, -0.8), "bus": (2.0, -1.1),
    # (ears: upright - hanging; coat: grey and round - russet and pointed)
    "cat": (-1.2, -1.2), "dog": (1.6, 0.0), "fox": (-1.0, 1.5),
}  # fmt: skip

DEFAULT_NUM_IMAGES: dict[str, int] = {
    'VOC2007/trainval': 600,
    'VOC2012/trainval': 600,
    'VOC2007/test': 250,
}
MANIFEST = 'demo.json'
WRONG_LABELS = 'wrong_labels.json'
FORMAT_VERSION = 2  # raise it whenever the same seed would draw something else

MAX_OBJECTS = 5
DIFFICULT_SHARE = 0.05
TRUNCATED_SHARE = 0.12
MAX_HIDDEN = 0.7  # an object that would cover more than this of an earlier one is not drawn
_SUPERSAMPLING = 4
_OPAQUE = 128  # alpha from which a pixel belongs to its object

_RGB = tuple[int, int, int]
_Point = tuple[float, float]
_Box = tuple[int, int, int, int]


class DemoObject(NamedTuple):
    """An object of an image; `box` is (x0, y0, x1, y1) in pixels from 0, x1 and y1 exclusive."""

    name: str
    box: _Box
    truncated: bool
    difficult: bool


def make_demo_voc(
    root: str | os.PathLike[str],
    num_images: Mapping[str, int] | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = False,
    wrong_labels: float = 0.0,
) -> None:
    """Draw the demo data set into a new folder, or re-use the same set where it already lies there.

    An image is a function of seed, split and index alone, not of the number of images and workers
    (on the same versions of Pillow and numpy). Everything is drawn beside `root` and moved there at
    the end, so an interrupted run leaves no half-made set. `demo.json` in `root` holds the
    parameters, and the number of objects by split and class.

    Args:
        root: Folder to make, a VOCdevkit: `VOC2007` and `VOC2012` will lie in it.
        num_images: Number of images by split, at least 1; a split without a number keeps its own in
            `DEFAULT_NUM_IMAGES`.
        seed: Not negative.
        workers: Number of processes, at least 1; None is one a CPU core.
        progress: Show a progress bar (needs rich).
        wrong_labels: Share of the trainval objects, in [0, 1], whose written class is one of the
            other classes, each as likely, for looking at what finds such mistakes. The images and
            the test split stay as they are. `wrong_labels.json` in `root` lists them: image (as
            'VOC2007/000001'), object (its place in the annotation, from 0), true and written class.

    Raises:
        ValueError: An argument is outside its range, or a split is unknown.
        FileExistsError: `root` holds something else, which is left as it is.
    """
    root = Path(root).resolve()  # a link to an empty folder may be filled
    unknown = set(num_images or ()) - set(DEFAULT_NUM_IMAGES)
    if unknown:
        raise ValueError(
            f'num_images must name splits of {list(DEFAULT_NUM_IMAGES)}, but got {sorted(unknown)}.'
        )
    counts = {**DEFAULT_NUM_IMAGES, **(num_images or {})}
    for split, count in counts.items():
        if not 1 <= count <= 99_999:
            raise ValueError(f'num_images[{split!r}] must be in [1, 99999], but got {count!r}.')
    if seed < 0:
        raise ValueError(f'seed must not be negative, but got {seed!r}.')
    if workers is not None and workers < 1:
        raise ValueError(f'workers must be at least 1, or None for all cores, but got {workers!r}.')
    if not 0 <= wrong_labels <= 1:
        raise ValueError(f'wrong_labels must be a share in [0, 1], but got {wrong_labels!r}.')

    parameters = {'format_version': FORMAT_VERSION, 'seed': seed, 'num_images': counts}
    if wrong_labels:
        parameters['wrong_labels'] = wrong_labels
    if _is_made(root, parameters):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    partial_root = Path(tempfile.mkdtemp(prefix=f'.{root.name}-', dir=root.parent))
    try:
        objects = _make_splits(partial_root, counts, seed, workers, progress)
        if wrong_labels:
            _write_wrong_labels(partial_root, counts, seed, wrong_labels, objects)
        manifest = {**parameters, 'num_objects': objects}
        (partial_root / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')
        partial_root.chmod(0o755)  # mkdtemp's folders are for their owner alone
        try:
            partial_root.rename(root)
        except OSError:
            # Another process (a second rank, say) may have made the same set in the meantime.
            if not _is_made(root, parameters):
                raise
    finally:
        shutil.rmtree(partial_root, ignore_errors=True)


def _is_made(root: Path, parameters: dict) -> bool:
    """Whether this very set lies in `root`; an error if anything else does."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    advice = 'Name another folder, or move this one away yourself.'
    manifest = root / MANIFEST
    if not manifest.is_file():
        raise FileExistsError(
            f'root must be a new folder or a finished demo set, but {root} exists without a '
            f'{MANIFEST}. {advice}'
        )
    try:
        found = json.loads(manifest.read_text())
        # A set with right labels alone does not mention wrong ones.
        wanted, found = ({'wrong_labels': 0.0, **values} for values in (parameters, found))
        made = {key: found[key] for key in wanted}
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


def _make_splits(
    root: Path, counts: Mapping[str, int], seed: int, workers: int | None, progress: bool
) -> dict[str, dict[str, int]]:
    """Draw all splits into `root`; returns the number of objects of each split and class."""
    jobs = []
    for split, count in counts.items():
        year, subset = split.split('/')
        for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
            (root / year / folder).mkdir(parents=True, exist_ok=True)
        names = [_image_name(split, index) for index in range(count)]
        (root / year / 'ImageSets/Main' / f'{subset}.txt').write_text('\n'.join(names) + '\n')
        jobs += [(split, index) for index in range(count)]

    make_image = partial(_make_image, root, seed)
    if workers == 1:
        return _tally(jobs, map(make_image, jobs), progress)
    with ProcessPoolExecutor(workers) as pool:
        return _tally(jobs, pool.map(make_image, jobs, chunksize=16), progress)


def _tally(
    jobs: list[tuple[str, int]], made: Iterable[Counter[str]], progress: bool
) -> dict[str, dict[str, int]]:
    if progress:
        from rich.progress import track

        made = track(made, description='Drawing', total=len(jobs))
    totals: dict[str, Counter[str]] = {}
    for (split, _), objects in zip(jobs, made):
        totals.setdefault(split, Counter()).update(objects)
    return {split: {name: total[name] for name in CLASSES} for split, total in totals.items()}


def _write_wrong_labels(
    root: Path,
    counts: Mapping[str, int],
    seed: int,
    share: float,
    objects: dict[str, dict[str, int]],
) -> None:
    """Give objects of the trainval splits another class, list them, and keep `objects` right."""
    splits = [split for split in counts if split.endswith('/trainval')]
    paths = {
        root / split.split('/')[0] / 'Annotations' / f'{_image_name(split, index)}.xml': split
        for split in splits
        for index in range(counts[split])
    }
    trees = {path: ET.parse(path) for path in paths}
    places = [
        (path, place)
        for path, tree in trees.items()
        for place in range(len(tree.findall('object')))
    ]
    rng = np.random.default_rng([seed, len(DEFAULT_NUM_IMAGES)])  # a stream that no image has
    chosen = sorted(rng.choice(len(places), round(share * len(places)), replace=False))
    mistakes = []
    for path, place in (places[index] for index in chosen):
        node = trees[path].findall('object')[place].find('name')
        assert node is not None and node.text
        true = node.text
        node.text = str(rng.choice([name for name in CLASSES if name != true]))
        objects[paths[path]][true] -= 1
        objects[paths[path]][node.text] += 1
        image = f'{path.parts[-3]}/{path.stem}'
        mistakes.append({'image': image, 'object': place, 'true': true, 'written': node.text})
        trees[path].write(path, encoding='utf-8')
    (root / WRONG_LABELS).write_text(json.dumps(mistakes, indent=1) + '\n')


def _image_name(split: str, index: int) -> str:
    """Name in VOC's manner; trainval and test share a folder, so test names start with 1."""
    year, subset = split.split('/')
    number = f'{int(subset == "test")}{index + 1:05d}'
    return number if year == 'VOC2007' else f'2012_{number}'


def _make_image(root: Path, seed: int, job: tuple[str, int]) -> Counter[str]:
    split, index = job
    rng = np.random.default_rng([seed, list(DEFAULT_NUM_IMAGES).index(split), index])
    image, objects = draw_image(rng)
    year, name = split.split('/')[0], _image_name(split, index)
    image.save(root / year / 'JPEGImages' / f'{name}.jpg', quality=92)
    annotation = _annotation(year, f'{name}.jpg', image.size, objects)
    annotation.write(root / year / 'Annotations' / f'{name}.xml', encoding='utf-8')
    return Counter(item.name for item in objects)


def _annotation(
    folder: str, filename: str, size: tuple[int, int], objects: Iterable[DemoObject]
) -> ET.ElementTree:
    root = ET.Element('annotation')

    def add(parent: ET.Element, **texts: object) -> None:
        for tag, text in texts.items():
            ET.SubElement(parent, tag).text = str(text)

    add(root, folder=folder, filename=filename)
    add(ET.SubElement(root, 'size'), width=size[0], height=size[1], depth=3)
    add(root, segmented=0)
    for item in objects:
        node = ET.SubElement(root, 'object')
        add(node, name=item.name, pose='Unspecified')
        add(node, truncated=int(item.truncated), difficult=int(item.difficult))
        x0, y0, x1, y1 = item.box
        # VOC counts pixels from 1, and the last one belongs to the box. MMDetection's reader takes
        # 1 off all four numbers, so it sees (x0, y0, x1 - 1, y1 - 1): one pixel short on the right
        # and below, here as on the real VOC.
        add(ET.SubElement(node, 'bndbox'), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
    ET.indent(root)
    return ET.ElementTree(root)


def draw_image(rng: np.random.Generator) -> tuple[Image.Image, list[DemoObject]]:
    """Draw one image: a background and 1 to `MAX_OBJECTS` objects, later ones in front.

    Returns:
        The RGB image, 160 to 240 pixels a side, and its objects. A box is the full extent of its
        object within the image, whatever lies in front of it.
    """
    width, height = (int(side) for side in rng.integers(160, 241, 2))
    image = _draw_background(rng, width, height)
    front = np.full((height, width), -1)  # which object each pixel shows
    objects: list[DemoObject] = []
    masks: list[np.ndarray] = []
    for _ in range(rng.integers(1, MAX_OBJECTS + 1)):
        name = CLASSES[rng.integers(len(CLASSES))]
        difficult = bool(rng.random() < DIFFICULT_SHARE)
        share = rng.uniform(0.12, 0.16) if difficult else rng.uniform(0.22, 0.5)
        sprite = draw_object(name, round(share * min(width, height)), rng)
        if difficult:  # small, and out of focus
            small = (max(4, sprite.width // 3), max(4, sprite.height // 3))
            sprite = _cut(sprite.resize(small).resize(sprite.size, Image.Resampling.BILINEAR))
        max_hidden = rng.uniform(0, MAX_HIDDEN)
        for _ in range(10):
            x, y = _draw_position(rng, sprite, width, height)
            mask, box = _visible(sprite, x, y, width, height)
            touched = np.unique(front[mask])
            left = [np.count_nonzero((front == i) & ~mask) for i in touched if i >= 0]
            areas = [np.count_nonzero(masks[i]) for i in touched if i >= 0]
            if all(pixels >= (1 - max_hidden) * area for pixels, area in zip(left, areas)):
                image.paste(sprite, (x, y), sprite)
                front[mask] = len(objects)
                truncated = (box[2] - box[0], box[3] - box[1]) != sprite.size
                objects.append(DemoObject(name, box, truncated, difficult))
                masks.append(mask)
                break
    return image, objects


def _draw_position(
    rng: np.random.Generator, sprite: Image.Image, width: int, height: int
) -> tuple[int, int]:
    """Upper left corner of an object: inside the image, or at times up to 40 % beyond a border."""
    x = int(rng.integers(0, width - sprite.width + 1))
    y = int(rng.integers(0, height - sprite.height + 1))
    if rng.random() < TRUNCATED_SHARE:
        side, out = rng.integers(4), rng.uniform(0.1, 0.4)
        across, down = round(out * sprite.width), round(out * sprite.height)
        if side < 2:
            x = -across if side == 0 else width - sprite.width + across
        else:
            y = -down if side == 2 else height - sprite.height + down
    return x, y


def _visible(
    sprite: Image.Image, x: int, y: int, width: int, height: int
) -> tuple[np.ndarray, _Box]:
    """Pixels (height, width) that a sprite at (x, y) takes within the image, and their extent."""
    alpha = Image.new('L', (width, height))
    alpha.paste(sprite.getchannel('A'), (x, y))
    mask = np.asarray(alpha) >= _OPAQUE
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return mask, (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def draw_object(name: str, size: int, rng: np.random.Generator) -> Image.Image:
    """Draw one object of a class.

    Args:
        name: One of `CLASSES`.
        size: Length in pixels of the longer side, before a small rotation.
        rng: Source of its traits and of all that says nothing about its class.

    Returns:
        An RGBA image that is cut to the object's extent (alpha of at least one half).
    """
    first, second = rng.normal(TRAIT_MEANS[name])
    family = next(family for family, names in FAMILIES.items() if name in names)
    sprite = _DRAW[family](size * _SUPERSAMPLING, first, second, rng)
    if rng.random() < 0.5:
        sprite = ImageOps.mirror(sprite)
    tilt = rng.uniform(-6, 6) if family == 'vehicle' else rng.uniform(-15, 15)
    # Whole pixels of the large canvas may turn: averaging smooths them.
    sprite = sprite.rotate(tilt, expand=True).reduce(_SUPERSAMPLING)

    # Light from above, and a coat for the animals: at the final size, so that it costs little.
    pixels = np.array(sprite, dtype=np.float32)
    down = np.linspace(1.12, 0.8, sprite.height)[:, None, None]
    across = np.linspace(1.05, 0.92, sprite.width)[:, None]
    grain = rng.normal(0, 16 if family == 'animal' else 3, (sprite.height, sprite.width, 1))
    pixels[..., :3] = pixels[..., :3] * down * across + grain
    return _cut(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def _cut(sprite: Image.Image) -> Image.Image:
    """Cut a sprite to its opaque extent, which is then its box."""
    opaque = sprite.getchannel('A').point(lambda alpha: 255 * (alpha >= _OPAQUE))
    return sprite.crop(opaque.getbbox())


class _Pen:
    """Draws on a square transparent canvas of `size` pixels, in units of its side."""

    def __init__(self, size: int) -> None:
        self.image = Image.new('RGBA', (size, size))
        self._draw = ImageDraw.Draw(self.image)
        self._size = size

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: _RGB) -> None:
        corners = [(x - rx) * self._size, (y - ry) * self._size]
        self._draw.ellipse([*corners, (x + rx) * self._size, (y + ry) * self._size], fill=fill)

    def polygon(self, points: Iterable[_Point], fill: _RGB) -> None:
        self._draw.polygon(self._scaled(points), fill=fill)

    def line(self, points: Iterable[_Point], width: float, fill: _RGB) -> None:
        width = max(1, round(width * self._size))
        self._draw.line(self._scaled(points), fill=fill, width=width, joint='curve')

    def _scaled(self, points: Iterable[_Point]) -> list[_Point]:
        return [(x * self._size, y * self._size) for x, y in points]


def _mix(position: float, stops: Mapping[float, _RGB]) -> _RGB:
    """Colour at a position between colours (held beyond the ends)."""
    red, green, blue = (
        round(float(np.interp(position, list(stops), channel))) for channel in zip(*stops.values())
    )
    return red, green, blue


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _draw_fruit(size: int, colour: float, shape: float, rng: np.random.Generator) -> Image.Image:
    pen = _Pen(size)
    purple, red, orange = (105, 40, 120), (205, 32, 42), (250, 160, 85)
    skin = _mix(colour, {-4: (40, 25, 90), -1.6: purple, 0: red, 1.6: orange, 4: (255, 225, 120)})
    ratio = _clip(1 + 0.11 * shape, 0.7, 1.35)  # height by width
    half_height = 0.42 * min(1, ratio)
    half_width = half_height / ratio
    dent = _clip(0.16 - 0.1 * shape, 0, 0.4)
    angle = np.linspace(0, 2 * np.pi, 90)
    x, y = np.cos(angle), np.sin(angle)
    hollow = dent * np.exp(-((x / 0.3) ** 2)) * np.where(y < 0, 1, 0.5)
    x = 0.5 + half_width * x * (1 - 0.6 * dent * np.maximum(y, 0))
    y = 0.57 + half_height * y * (1 - hollow)
    top = 0.57 - half_height * (1 - dent)

    bend = rng.uniform(-0.05, 0.05)
    pen.line([(0.5, top + 0.05), (0.5 + bend, top - 0.13)], 0.035, (85, 60, 35))
    pen.polygon(zip(x, y), skin)
    for step in range(10):  # a soft highlight
        reach = 0.5 - 0.05 * step
        light = (0.5 - 0.35 * half_width, 0.57 - 0.3 * half_height)
        lit = _mix(step, {0: skin, 18: (255, 255, 255)})
        pen.ellipse(*light, reach * half_width, reach * half_height, lit)
    crease = _mix(shape, {-0.5: skin, 1.5: _mix(0.3, {0: skin, 1: (60, 0, 30)})})
    down = np.linspace(0, 0.8, 12)
    crease_x = 0.5 + 0.5 * half_width * np.sin(4 * down)
    pen.line(zip(crease_x, top + 0.01 + 1.7 * half_height * down), 0.02, crease)
    if rng.random() < 0.6:
        leaf = np.linspace(0, np.pi, 12)
        along, up = 0.15 * (1 - np.cos(leaf)), 0.07 * np.sin(leaf)
        leaf_x = 0.5 + bend + np.concatenate([along, along[::-1]])
        middle = top - 0.11 - 0.3 * along
        leaf_y = np.concatenate([middle - up, (middle + up)[::-1]])
        pen.polygon(zip(leaf_x, leaf_y), (80, 150, 60))
    return pen.image


def _draw_vehicle(size: int, length: float, bonnet: float, rng: np.random.Generator) -> Image.Image:
    pen = _Pen(size)
    paint = _mix(rng.uniform(), {0: (25, 140, 140), 0.5: (45, 120, 205), 1: (50, 60, 160)})
    height = 1 / _clip(1.75 + 0.3 * length + 0.12 * bonnet, 1.2, 3.2)
    radius = 0.17 * height
    nose = _clip(0.12 + 0.08 * bonnet, 0.02, 0.36)  # the front is to the right
    tail = 0.3 * nose
    sill, waist, roof = 0.84 * height, 0.5 * height, 0.02
    slope = 0.5 * nose
    cabin = [(tail, waist), (tail * 0.6 + 0.02, roof), (1 - nose - slope, roof), (1 - nose, waist)]
    pen.polygon([(0, sill), (0.01, waist), *cabin, (0.99, waist + 0.03), (1, sill)], paint)

    left, right = tail * 0.6 + 0.06, 1 - nose - 0.5 * slope - 0.03
    panes = max(1, round((right - left) / (0.55 * height)))
    edges = np.linspace(left, right, panes + 1)
    for start, end in zip(edges, edges[1:]):
        lean = 0.5 * slope if end == right else 0
        pane = [(start, 0.44), (start, 0.12), (end - 0.02 - lean, 0.12), (end - 0.02 + lean, 0.44)]
        pen.polygon([(x, y * height) for x, y in pane], (215, 235, 245))
    stripe = _mix(rng.uniform(0.2, 0.8), {0: paint, 1: (255, 255, 255)})
    pen.line([(0.02, 0.6 * height), (0.98, 0.6 * height)], 0.05 * height, stripe)
    pen.ellipse(0.965, 0.68 * height, 0.02, 0.06 * height, (255, 235, 130))
    pen.ellipse(0.025, 0.68 * height, 0.015, 0.06 * height, (215, 50, 40))
    for x in (0.2, 0.8):
        pen.ellipse(x, sill, radius, radius, (30, 30, 35))
        pen.ellipse(x, sill, 0.5 * radius, 0.5 * radius, (175, 180, 185))
    return pen.image


def _draw_animal(size: int, ears: float, coat: float, rng: np.random.Generator) -> Image.Image:
    pen = _Pen(size)
    grey, brown, russet = (150, 145, 140), (150, 118, 85), (185, 105, 60)
    fur = _mix(coat, {-4: (120, 125, 135), -1.2: grey, 0: brown, 1.5: russet, 4: (215, 105, 40)})
    dark = _mix(0.25, {0: fur, 1: (20, 10, 10)})
    pale = _mix(0.65, {0: fur, 1: (255, 250, 240)})
    chin = _clip(0.1 + 0.13 * coat, 0, 0.55)  # how far the face narrows downwards
    droop = _clip(0.5 + 0.24 * ears, -0.2, 1.3)  # 0 upright, 1 hanging

    angle = np.linspace(0, 2 * np.pi, 90)
    x, y = np.cos(angle), np.sin(angle)
    face = list(zip(0.5 + 0.36 * x * (1 - chin * np.maximum(y, 0)), 0.6 + 0.34 * y))
    direction = math.radians(-80 + 160 * droop)
    for side in (-1, 1):
        # An ear is a row of shrinking circles, and its end is round when it hangs.
        for step in np.linspace(0, 1, 30):
            x_ear = 0.5 + side * (0.23 + 0.22 * math.cos(direction) * step)
            y_ear = 0.4 + 0.37 * math.sin(direction) * step
            radius = 0.13 - (0.12 - 0.07 * _clip(droop, 0, 1)) * step
            pen.ellipse(x_ear, y_ear, radius, radius, dark)
    pen.polygon(face, fur)
    pen.ellipse(0.5, 0.775, 0.18 - 0.14 * chin, 0.14, pale)
    for side in (-1, 1):
        pen.ellipse(0.5 + side * 0.16, 0.54, 0.055, 0.06, (25, 22, 20))
        pen.ellipse(0.5 + side * 0.16 - 0.015, 0.52, 0.018, 0.02, (255, 255, 255))
        pen.line([(0.5, 0.76), (0.5 + side * 0.07, 0.83)], 0.02, (60, 40, 40))
    pen.ellipse(0.5, 0.72, 0.06, 0.045, (40, 25, 28))
    return pen.image


_DRAW: dict[str, Callable[[int, float, float, np.random.Generator], Image.Image]] = {
    'fruit': _draw_fruit,
    'vehicle': _draw_vehicle,
    'animal': _draw_animal,
}


def _draw_background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A gradient between two pale colours, with stripes, blobs, grain or nothing on it."""
    first, second, third = rng.integers(130, 236, 3)[:, None] + rng.integers(-28, 29, (3, 3))
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:height, 0:width]
    along = (columns * np.cos(angle) + rows * np.sin(angle)) / max(width, height)
    ramp = (along - along.min()) / np.ptp(along)
    pixels = first + (second - first) * ramp[..., None]
    kind = rng.integers(4)
    if kind == 0:
        pattern = (np.sin(along * 2 * np.pi * rng.uniform(4, 14)) > 0.2) * 0.45
    elif kind == 1:
        # A few pixels blown up with smooth steps are blobs.
        blobs = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
        pattern = np.asarray(blobs.resize((width, height), Image.Resampling.BICUBIC)) / 300
    else:
        pattern = rng.normal(0, 0.25 if kind == 2 else 0.03, (height, width))
    pixels += (third - pixels) * pattern[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).filter(ImageFilter.SMOOTH)
