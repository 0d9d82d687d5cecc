"""Broken and odd images are named before a training starts."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from toy_voc_folder import SIZE, write_image

from mmdet_ols.checks.images import check_images
from mmdet_ols.datasets.image_header import read_image_header


def picture(mode='RGB', size=SIZE):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def deep(suffix):
    pixels = np.random.default_rng(0).integers(0, 4096, (*SIZE[::-1], 3), dtype=np.uint16)
    return cv2.imencode(suffix, pixels)[1].tobytes()


@pytest.fixture
def check(tmp_path):
    def check(content, name='a.jpg', size=None):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        write_image(tmp_path / 'good.jpg')
        sizes = {} if size is None else {str(path): size}
        return check_images([str(tmp_path / 'good.jpg'), str(path)], sizes)

    return check


@pytest.mark.parametrize(
    ('kind', 'name', 'mode'),
    [
        ('JPEG', 'a.jpg', 'RGB'),
        ('JPEG', 'a.JPEG', 'L'),
        ('PNG', 'a.png', 'RGBA'),
        ('PNG', 'a.png', 'P'),
        ('WEBP', 'a.webp', 'RGB'),
        ('BMP', 'a.bmp', 'RGB'),
        ('BMP', 'a.dib', 'RGB'),
        ('MPO', 'a.jpg', 'RGB'),
        ('TIFF', 'a.tif', 'RGB'),
        ('PPM', 'a.ppm', 'RGB'),
    ],
)
def test_good_images_pass(check, kind, name, mode):
    problems = check(encoded(picture(mode), kind), name, SIZE)
    assert (problems.errors, problems.warnings) == ([], [])


def test_animated_images_are_decoded(check, monkeypatch):
    content = encoded(picture(), 'WEBP', save_all=True, append_images=[picture('L')])
    # OpenCV 4.12 reads the first picture, OpenCV 4.10 none.
    can_be_read = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None
    assert (check(content, 'a.webp').errors == []) is can_be_read
    monkeypatch.setattr(cv2, 'imdecode', lambda pixels, flags: None)
    (message,) = check(content, 'a.webp').errors
    assert 'a.webp' in message and 'cannot be decoded by OpenCV' in message


def test_what_follows_the_end_of_an_image_does_not_matter(check):
    for tail in (b'\0\0', b'\r\n', b'made by a camera'):
        assert check(encoded(picture(), 'JPEG') + tail).warnings == []


@pytest.mark.parametrize(
    ('content', 'text'),
    [
        (None, 'are not there'),
        (b'', 'are empty files'),
        (b'version https://git-lfs.github.com/spec/v1\nsize 4711\n', "run 'git lfs pull'"),
        (b'\n<!DOCTYPE html><html></html>', 'a page of HTML'),
        (b'{"error": "not found"}', 'a JSON file'),
        (b'\0\x05\x16\x07\0\x02', "a Mac's hidden file"),
        (bytes(500), 'cannot be decoded by OpenCV'),
        (b'\0\0\0\x18ftypheic' + bytes(500), 'cannot be decoded by OpenCV'),
        (encoded(picture(), 'JPEG')[:40], 'cannot be decoded by OpenCV'),
        (b'\xff\xd8\xff' + bytes(500) + b'\xff\xd9', 'cannot be decoded by OpenCV'),
    ],
)
def test_files_that_are_no_images_are_errors(check, content, text):
    problems = check(content)
    (message,) = problems.errors
    assert message.startswith('1 of 2 images ') and text in message and 'a.jpg' in message
    assert problems.warnings == []


@pytest.mark.parametrize(('kind', 'name'), [('JPEG', 'a.jpg'), ('PNG', 'a.png')])
def test_images_that_are_cut_off_are_named(check, kind, name):
    content = encoded(picture(size=(200, 150)), kind)
    for cut in (len(content) // 2, 9 * len(content) // 10):
        problems = check(content[:cut], name)
        # Versions of OpenCV differ in whether they decode what is there.
        (message,) = problems.errors + problems.warnings
        assert 'cut off' in message and name in message


@pytest.mark.parametrize(
    ('content', 'name', 'text'),
    [
        (encoded(picture('CMYK'), 'JPEG'), 'a.jpg', 'are in CMYK'),
        (encoded(picture('I;16'), 'PNG'), 'a.png', 'have 16 bits a channel'),
        (deep('.png'), 'a.png', 'have 16 bits a channel'),
        (deep('.tif'), 'a.tif', 'have 16 bits a channel'),
        (encoded(picture(), 'PNG'), 'a.jpg', 'in another format than their names say'),
    ],
)
def test_odd_images_are_warnings(check, content, name, text):
    problems = check(content, name)
    assert problems.errors == []
    (message,) = problems.warnings
    assert text in message and name in message


def test_sizes_are_compared_with_those_of_the_annotations(check):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(picture(), 'JPEG', exif=exif)
    assert check(turned, size=(30, 40)).warnings == []  # annotated as it is loaded
    (message,) = check(turned, size=SIZE).warnings
    assert 'annotated unturned' in message and 'color_ignore_orientation' in message
    (message,) = check(encoded(picture(), 'JPEG'), size=(80, 60)).warnings
    assert 'a.jpg (40 x 30, not 80 x 60)' in message
    assert check(encoded(picture(), 'JPEG'), size=(0, 0)).warnings == []  # no size at all


def test_images_may_be_loaded_unturned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    path = str(tmp_path / 'a.jpg')
    picture().save(path, exif=exif)
    assert len(check_images([path], {path: SIZE}).warnings) == 1
    assert check_images([path], {path: SIZE}, are_turned=False).warnings == []
    (message,) = check_images([path], {path: SIZE[::-1]}, are_turned=False).warnings
    assert 'are loaded unturned' in message and "color_type='color'" in message
    (message,) = check_images([path], {path: (80, 60)}, are_turned=False).warnings
    assert 'a.jpg (40 x 30, not 80 x 60)' in message


@pytest.mark.parametrize('kind', ['JPEG', 'MPO', 'PNG', 'WEBP'])
def test_images_are_turned_as_opencv_turns_them(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = str(tmp_path / 'a')
    picture().save(path, kind, exif=exif)
    height, width = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    assert read_image_header(path).loaded == (width, height)


def test_an_image_of_more_pixels_than_pillow_opens_has_a_header(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    path = str(tmp_path / 'a.png')
    picture().save(path)
    assert read_image_header(path).loaded == SIZE
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_damaged_exif_is_passed_over_without_a_word(tmp_path, recwarn):
    path = tmp_path / 'a.jpg'
    for tail in (b'', b'II*\0', b'garbage', b'II*\0\x08\0\0\0', b'II*\0\x08\0\0\0\1\0\x12\1'):
        path.write_bytes(encoded(picture(), 'JPEG', exif=b'Exif\0\0' + tail))
        assert read_image_header(str(path)).loaded == SIZE
    assert len(recwarn) == 0


def test_an_orientation_in_xmp_alone_turns_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = 'the maker of the camera'
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    path = tmp_path / 'a.jpg'
    path.write_bytes(encoded(picture(), 'JPEG', exif=exif, xmp=xmp))
    assert cv2.imread(str(path)).shape[:2] == SIZE[::-1]
    assert read_image_header(str(path)).loaded == SIZE


def test_many_files_are_counted_and_the_first_named(tmp_path):
    paths = [str(tmp_path / f'{number}.jpg') for number in range(7)]
    (message,) = check_images([*paths, *paths]).errors
    assert message.startswith('7 of 7 images ')
    assert f'{paths[4]} and 2 more.' in message and paths[5] not in message
