"""Drawing one object, a fruit, a vehicle or an animal, from the two traits of its class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageOps

FAMILIES: dict[str, tuple[str, ...]] = {
    'fruit': ('apple', 'peach', 'plum'),
    'vehicle': ('car', 'van', 'bus'),
    'animal': ('cat', 'dog', 'fox'),
}
CLASSES: tuple[str, ...] = tuple(name for names in FAMILIES.values() for name in names)

# The two traits of an object are drawn from a unit normal distribution around the mean of its
# class, and decide how it looks. The class influences nothing else, so no classifier beats the one
# that picks the nearest mean, which is right 86 to 88 times in 100 within a family.
TRAIT_MEANS: dict[str, tuple[float, float]] = {
    # (colour: purple - red - orange; shape: wide and dented - tall and plain)
    "apple": (0.0, -1.2), "peach": (1.6, 0.9), "plum": (-1.6, 0.9),
    # (length; bonnet: none - long)
    "car": (-0.8, 1.9), "van": (-0.7, -0.8), "bus": (2.0, -1.1),
    # (ears: upright - hanging; coat: grey and round - russet and pointed)
    "cat": (-1.2, -1.2), "dog": (1.6, 0.0), "fox": (-1.0, 1.5),
}  # fmt: skip

_SUPERSAMPLING = 4
OPAQUE = 128  # alpha from which a pixel belongs to its object

_RGB = tuple[int, int, int]
_Point = tuple[float, float]


def draw_object(name: str, size: int, rng: np.random.Generator) -> Image.Image:
    """Draw one object of a class.

    Args:
        name: One of `CLASSES`.
        size: Length in pixels of the longer side, before a small rotation.
        rng: Source of its traits, and of everything that says nothing about its class.

    Returns:
        An RGBA image that is cut to the object's extent (alpha of at least one half).
    """
    first, second = rng.normal(TRAIT_MEANS[name])
    family = next(family for family, names in FAMILIES.items() if name in names)
    sprite = _DRAW[family](size * _SUPERSAMPLING, first, second, rng)
    if rng.random() < 0.5:
        sprite = ImageOps.mirror(sprite)
    tilt = rng.uniform(-6, 6) if family == 'vehicle' else rng.uniform(-15, 15)
    # The large canvas can be rotated without interpolation: averaging smooths it.
    sprite = sprite.rotate(tilt, expand=True).reduce(_SUPERSAMPLING)

    # Light from above, and a coat for the animals, at the final size because that is cheap.
    pixels = np.array(sprite, dtype=np.float32)
    down = np.linspace(1.12, 0.8, sprite.height)[:, None, None]
    across = np.linspace(1.05, 0.92, sprite.width)[:, None]
    grain = rng.normal(0, 16 if family == 'animal' else 3, (sprite.height, sprite.width, 1))
    pixels[..., :3] = pixels[..., :3] * down * across + grain
    return crop_to_extent(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def crop_to_extent(sprite: Image.Image) -> Image.Image:
    """Crop a sprite to its opaque extent, which becomes its box."""
    opaque = sprite.getchannel('A').point(lambda alpha: 255 if alpha >= OPAQUE else 0)
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
