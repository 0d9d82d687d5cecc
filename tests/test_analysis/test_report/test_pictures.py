"""Crops of objects, pixel by pixel."""

from __future__ import annotations

import base64
import io

import mmcv
import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from mmdet_ols.analysis.annotations import Annotation
from mmdet_ols.analysis.report.pictures import CROP_SIZE, crop, crop_of, png


def test_crop_shows_the_object_and_its_box(tmp_path):
    pixels = np.full((50, 80, 3), 255, dtype=np.uint8)
    pixels[20:40, 60:80] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    uri = crop(str(tmp_path / 'image.png'), (60, 20, 80, 40))
    shown = pixels_of(uri)
    assert shown.shape == (CROP_SIZE, CROP_SIZE, 3)
    # The square around the object is 28 pixels wide, from (56, 16): 6 pixels of it a pixel.
    assert_allclose(shown[84, 84], [255, 0, 0], atol=12)
    assert_allclose(shown[84, 10], [255, 255, 255], atol=12)
    assert_allclose(shown[84, 160], [0x8A, 0x86, 0x80], atol=12)  # beyond the image
    assert shown[84, 22:25].sum(1).min() < 250  # the frame's left edge, at 24


def pixels_of(uri):
    seen = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix('data:image/jpeg;base64,'))))
    return np.asarray(seen).astype(int)


@pytest.mark.parametrize('corner', [(100, 5), (-60, 5), (5, 100), (5, -60)])
def test_crop_beyond_the_image_is_grey(tmp_path, corner):
    Image.new('RGB', (20, 20), 'red').save(tmp_path / 'image.png')
    x, y = corner
    shown = pixels_of(crop(str(tmp_path / 'image.png'), (x, y, x + 30, y + 30)))
    assert_allclose(shown[84, 84], [0x8A, 0x86, 0x80], atol=3)
    assert_allclose(shown[3, 3], [0x8A, 0x86, 0x80], atol=3)


@pytest.mark.parametrize('shape', [(20, 20, 3), (20, 20)])
def test_crop_of_an_array(shape):
    shown = pixels_of(crop(np.full(shape, 200, dtype=np.uint8), None))
    assert_allclose(shown, np.full((168, 168, 3), 200), atol=2)
    assert crop(np.zeros((2, 2, 7)), None) is None


def test_16_bits_are_shown_as_the_network_sees_them(tmp_path):
    path = str(tmp_path / 'image.png')
    Image.fromarray(np.full((20, 20), 100 << 8, dtype=np.uint16)).save(path)
    assert (mmcv.imread(path) == 100).all()
    assert_allclose(pixels_of(crop(path, None)), np.full((168, 168, 3), 100), atol=2)


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>
</rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize('kind', ['jpg', 'webp'])
@pytest.mark.parametrize('place', ['exif', 'xmp'])
def test_a_box_lies_where_the_network_has_it_in_images_that_say_they_are_turned(
    tmp_path, kind, place
):
    path = str(tmp_path / f'image.{kind}')
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (80, 40), 'red').save(path, **{place: exif if place == 'exif' else XMP})
    loaded = mmcv.imread(path)[..., ::-1]
    box = (0, 0, loaded.shape[1], loaded.shape[0])
    assert_allclose(pixels_of(crop(path, box)), pixels_of(crop(loaded, box)), atol=3)


def test_an_image_that_is_loaded_unturned_is_shown_so(tmp_path):
    path = str(tmp_path / 'image.jpg')
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (80, 40), 'red').save(path, exif=exif)
    stored = Annotation('', 0, (0, 0, 80, 40), 0, 0, np.asarray(Image.open(path)))
    assert crop_of(stored._replace(image=path, pixels=None, is_turned=False)) == crop_of(stored)


def test_an_image_of_more_pixels_than_pillow_opens_is_shown(tmp_path, monkeypatch):
    Image.new('RGB', (20, 20)).save(tmp_path / 'image.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    assert crop(str(tmp_path / 'image.png'), None).startswith('data:image/jpeg')


def test_boxes_without_area_and_files_that_are_gone(tmp_path):
    Image.new('RGB', (20, 20)).save(tmp_path / 'image.png')
    assert crop(str(tmp_path / 'image.png'), (5, 5, 5, 5)).startswith('data:image/jpeg')
    assert crop(str(tmp_path / 'image.png'), None).startswith('data:image/jpeg')
    assert crop(str(tmp_path / 'absent.png'), (0, 0, 5, 5)) is None


def test_arrays_are_kept_exactly():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    uri = png(pixels).removeprefix('data:image/png;base64,')
    np.testing.assert_array_equal(Image.open(io.BytesIO(base64.b64decode(uri))), pixels)
