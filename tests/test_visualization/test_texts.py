"""Names of any kind in pictures."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from matplotlib import rcParams
from matplotlib.font_manager import findfont, fontManager, get_font

from mmdet_ols.visualization import draw_embeddings, draw_soft_labels, save_target, texts
from mmdet_ols.visualization.figures import new_figure
from mmdet_ols.visualization.texts import MAX_LENGTH, NO_LETTER, drawn_texts, hosts_texts

#: A letter of a script that none of the fonts has which come with matplotlib.
CAT = '\N{CJK UNIFIED IDEOGRAPH-732B}'
ODD = (
    '$5_$ bill',
    r'a\$b',
    "driver's",
    'a/b',
    'x|y',
    'R&D <b>',
    '_back_',
    'w' * 150,
    'two\nlines',
    '',
)


@pytest.fixture(autouse=True)
def bundled_fonts(monkeypatch):
    """The fonts of matplotlib, whatever the machine has, and nothing remembered about others."""
    bundled = [font for font in fontManager.ttflist if 'mpl-data' in font.fname]
    monkeypatch.setattr(fontManager, 'ttflist', bundled)
    for cached in (texts._fonts_for, texts._font_with, texts._warn_of_absent):
        cached.cache_clear()
    yield
    for cached in (texts._fonts_for, texts._font_with, texts._warn_of_absent):
        cached.cache_clear()


def rendered(text, **style):
    figure = new_figure(4, 1)
    figure.text(0.1, 0.4, text, **style)
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).copy()


@pytest.mark.parametrize('name', ['$5_$ bill', '$x$', 'US$', r'a\$b', '$$', 'a_b^c'])
def test_nothing_is_taken_for_mathematics(name):
    with drawn_texts([name]) as (text,):
        drawn = rendered(text)
    np.testing.assert_array_equal(drawn, rendered(name, parse_math=False))


def test_a_long_text_keeps_its_ends():
    with drawn_texts(['a' * 80 + 'b' * 80, 'short']) as (long, short):
        assert len(long) == MAX_LENGTH and long.startswith('aaa') and long.endswith('bbb')
        assert short == 'short'


def test_line_breaks_and_shapeless_characters_are_left_out():
    with drawn_texts(['two\r\nlines\tand\x00 \u200bmore']) as (text,):
        assert text == 'two lines and more'


def test_a_font_that_has_the_letter_is_found_and_put_back():
    """Script capitals lack in the default font, and STIX, which comes with matplotlib, has them."""
    letter = letter_of_stix()
    before = list(rcParams['font.family'])
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # matplotlib warns of each letter that is not there
        with drawn_texts([letter]) as (text,):
            assert text == letter and rcParams['font.family'][: len(before)] == before
            rendered(text)
    assert rcParams['font.family'] == before


def letter_of_stix():
    """A letter that STIX has, and the default font has not."""
    default, stix = (get_font(findfont(family)) for family in ('DejaVu Sans', 'STIXGeneral'))
    return next(
        chr(code)
        for code in range(0x2100, 0x2BFF)
        if not default.get_char_index(code) and stix.get_char_index(code)
    )


def test_letters_without_a_font_are_squares_and_said_once():
    with pytest.warns(UserWarning, match=f'1 of the letters in the names .{CAT}.*Install a font'):
        image = draw_soft_labels(torch.eye(2), [CAT, 'dog'], 'title')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        np.testing.assert_array_equal(
            image, draw_soft_labels(torch.eye(2), [NO_LETTER, 'dog'], 'title')
        )
        draw_soft_labels(torch.eye(2), [CAT, 'dog'], 'title')


def test_every_picture_takes_every_name(tmp_path):
    size = len(ODD)
    matrix = torch.full((size, size), 1 / size)
    assert draw_soft_labels(matrix, ODD, ODD[0]).shape[2] == 3
    save_target(tmp_path / 'target.png', matrix, ODD[0], ODD)
    points, labels = np.random.rand(size, 2), np.arange(size)
    figure = draw_embeddings([points], [labels], [ODD[0]], ODD)
    figure.canvas.draw()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == size
    assert '_back_' in [entry.get_text() for entry in legend.get_texts()]


def test_the_hosts_draw_names_as_they_are_written():
    """Their Visualizer hands texts to matplotlib as they are."""
    from mmengine.visualization import Visualizer

    def drawn(text):
        visualizer = Visualizer(image=np.full((40, 200, 3), 255, np.uint8))
        visualizer.draw_texts(text, np.array([5, 5]), font_sizes=14)
        return visualizer.get_image()

    before = dict(rcParams)
    with pytest.raises(ValueError, match='ParseException|Expected'):
        drawn('$5_$ bill')
    with hosts_texts(['$5_$ bill', CAT]):
        assert drawn('$5_$ bill').min() < 100
    assert dict(rcParams) == before


def test_the_hosts_get_a_font_that_has_all_the_letters(monkeypatch):
    """Of the fonts at hand STIX has them; another one has no Latin letters and would not do."""
    letter = letter_of_stix()
    with hosts_texts([letter]):
        assert rcParams['font.sans-serif'][0] == 'STIXGeneral'
    for names in (['cat'], [CAT], [letter, CAT]):  # nothing to do, or nothing to be done
        with hosts_texts(names):
            assert rcParams['font.sans-serif'][0] == 'DejaVu Sans'
