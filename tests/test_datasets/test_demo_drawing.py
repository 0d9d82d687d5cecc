"""The pictures of the demo data set: boxes around the objects, traits that tell the class."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmdet_ols.datasets.demo_voc import (
    CLASSES,
    FAMILIES,
    TRAIT_MEANS,
    draw_image,
    draw_object,
    scenes,
    shapes,
)


@pytest.mark.parametrize('name', CLASSES)
def test_pixels_change_where_the_box_says(name, monkeypatch):
    green = (0, 255, 0)
    monkeypatch.setattr(
        scenes, '_draw_background', lambda rng, *size: Image.new('RGB', size, green)
    )
    monkeypatch.setattr(scenes, 'CLASSES', (name,))
    monkeypatch.setattr(scenes, 'MAX_OBJECTS', 1)
    monkeypatch.setattr(scenes, 'TRUNCATED_SHARE', 0.5)
    drawn = [draw_image(np.random.default_rng(seed)) for seed in range(12)]
    for image, (item,) in drawn:
        changed = np.abs(np.asarray(image, dtype=int) - green).max(axis=2) > 30
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        actual = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(actual, item.box, rtol=0, atol=1.5)
    assert {item.truncated for _, (item,) in drawn} == {False, True}


def test_enough_of_every_object_is_seen(monkeypatch):
    colours = []

    def draw_rectangle(name, size, rng):
        colours.append(len(colours) + 1)
        return Image.new(
            'RGBA', (size, int(rng.integers(size // 2, size + 1))), (colours[-1], 0, 0)
        )

    monkeypatch.setattr(scenes, '_draw_background', lambda rng, *size: Image.new('RGB', size))
    monkeypatch.setattr(scenes, 'draw_object', draw_rectangle)
    monkeypatch.setattr(scenes, 'MAX_OBJECTS', 12)
    shares = []
    for seed in range(30):
        colours.clear()
        image, objects = draw_image(np.random.default_rng(seed))
        seen = np.bincount(np.asarray(image)[..., 0].ravel())[1:]
        areas = [(x1 - x0) * (y1 - y0) for _, (x0, y0, x1, y1), _, _ in objects]
        shares += list(seen[seen > 0] / areas)
    assert 0.3 <= min(shares) < 0.5
    assert max(shares) == 1


@pytest.mark.parametrize('family', FAMILIES)
def test_best_classifier_is_right_86_to_88_times_in_100(family):
    rng = np.random.default_rng(0)
    means = np.array([TRAIT_MEANS[name] for name in FAMILIES[family]])
    right = [
        np.linalg.norm(rng.normal(mean, size=(20_000, 2))[:, None] - means, axis=2).argmin(1) == i
        for i, mean in enumerate(means)
    ]
    assert 0.855 < np.mean(right) < 0.885


def test_traits_alone_tell_the_class(monkeypatch):
    monkeypatch.setattr(shapes, 'TRAIT_MEANS', dict.fromkeys(CLASSES, (0.3, -0.4)))
    for names in FAMILIES.values():
        first, *others = (draw_object(name, 60, np.random.default_rng(5)) for name in names)
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_families_differ_in_colour():
    """The mean colour alone tells the family: what confuses a detector lies within the families."""
    rng = np.random.default_rng(0)
    colours = {
        family: np.array(
            [
                np.average(pixels[..., :3], axis=(0, 1), weights=pixels[..., 3:].repeat(3, axis=2))
                for name in names
                for pixels in (np.asarray(draw_object(name, 40, rng), float) for _ in range(30))
            ]
        )
        for family, names in FAMILIES.items()
    }
    # One centre a class, since a family of fruit runs from purple to yellow.
    centres = np.concatenate([c.reshape(3, 30, 3).mean(axis=1) for c in colours.values()])
    right = [
        np.linalg.norm(actual[:, None] - centres, axis=2).argmin(axis=1) // 3 == i
        for i, actual in enumerate(colours.values())
    ]
    assert np.mean(right) > 0.9
