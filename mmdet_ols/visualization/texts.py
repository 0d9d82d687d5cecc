"""Texts of users in pictures: letters of any script, and nothing that is read as mathematics."""

from __future__ import annotations

import string
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

#: A longer text is drawn without its middle: the axes need some of the picture, too.
MAX_LENGTH = 28
#: Stands for a letter that no font has.
NO_LETTER = '\N{WHITE SQUARE}'
#: Parts of the names of fonts that have a picture for every letter, but not the letter.
NOT_FOR_TEXT = ('Last Resort', 'LastResort', 'Adobe Blank', 'Emoji')


@contextmanager
def drawn_texts(texts: Sequence[str], max_length: int = MAX_LENGTH) -> Iterator[list[str]]:
    """Give texts the form in which matplotlib draws them as they are, and fonts for their letters.

    Dollar signs would start mathematics otherwise, and the default font has no Chinese, for
    example. Long texts lose their middle. What is drawn has to be made and rendered inside of the
    context. Letters that no installed font has are drawn as squares, and a warning names them.

    Args:
        texts: Such as class names and a title.
        max_length: The most letters that one of them keeps.
    """
    from matplotlib import rc_context, rcParams

    plain = [_one_line(text, max_length) for text in texts]
    fonts, absent = _fonts_for(frozenset(''.join(plain)), tuple(rcParams['font.family']))
    if absent:
        _warn_of_absent(absent)
    squares = {ord(letter): NO_LETTER for letter in absent}
    with rc_context({'font.family': [*rcParams['font.family'], *fonts]}):
        yield [text.translate(squares).replace('$', r'\$') for text in plain]


@contextmanager
def hosts_texts(texts: Sequence[str]) -> Iterator[None]:
    """Let pictures that the hosts draw show texts as they are.

    The hosts name one font, so that another one takes its place where it has all the letters.

    Args:
        texts: Such as class names.
    """
    from matplotlib import rc_context, rcParams
    from matplotlib.font_manager import FontProperties, findfont

    settings: Any = {'text.parse_math': False} if 'text.parse_math' in rcParams else {}
    letters = frozenset(''.join(map(_one_line, texts))).union(string.printable.strip())
    if _lacking(findfont(FontProperties(family=['sans-serif'])), letters):
        whole = _font_with(letters)
        if whole is not None:
            settings['font.sans-serif'] = [whole, *rcParams['font.sans-serif']]
    with rc_context(settings):
        yield


@cache  # once in a process, as every picture of a run has the same names
def _warn_of_absent(letters: frozenset[str]) -> None:
    warnings.warn(
        f'No installed font has {len(letters)} of the letters in the names '
        f'({" ".join(sorted(letters)[:20])}): pictures show squares in their place. Install a font '
        'of that script, such as Noto Sans CJK for Chinese, Japanese and Korean.',
        stacklevel=2,
    )


def _one_line(text: str, max_length: int = MAX_LENGTH) -> str:
    """A text without line breaks, characters that have no shape, and the middle of a long one."""
    text = ' '.join(str(text).split())
    text = ''.join(letter for letter in text if unicodedata.category(letter) not in ('Cc', 'Cf'))
    if len(text) <= max_length:
        return text
    end = max_length // 3
    return f'{text[: max_length - end - 1]}…{text[-end:]}'


@lru_cache(maxsize=32)  # looking through many fonts takes seconds
def _fonts_for(
    letters: frozenset[str], families: tuple[str, ...]
) -> tuple[tuple[str, ...], frozenset[str]]:
    """Fonts that have the letters which the default one lacks, and the letters that none has."""
    from matplotlib.font_manager import FontProperties, findfont

    absent = _lacking(findfont(FontProperties(family=list(families))), letters)
    chosen: list[str] = []
    for font in _fonts_for_text():
        if not absent:
            break
        still_absent = _lacking(font.fname, absent)
        if still_absent != absent and font.name not in chosen:
            chosen.append(font.name)
            absent = still_absent
    return tuple(chosen), absent


@lru_cache(maxsize=32)
def _font_with(letters: frozenset[str]) -> str | None:
    """A font that has all of the letters; None if there is none."""
    return next((f.name for f in _fonts_for_text() if not _lacking(f.fname, letters)), None)


def _fonts_for_text() -> list[Any]:
    """The fonts at hand that have pictures of letters, those that look most usual first."""
    from matplotlib.font_manager import fontManager

    fonts = sorted(fontManager.ttflist, key=_oddness)
    return [font for font in fonts if not any(part in font.name for part in NOT_FOR_TEXT)]


def _oddness(font: Any) -> tuple[bool, bool, str]:
    """Upright fonts of normal weight come first, and then those whose name comes first."""
    return font.style != 'normal', font.weight not in (400, 'normal', 'regular'), font.name


def _lacking(path: str, letters: frozenset[str]) -> frozenset[str]:
    """Those of the letters that a font file does not have; all if it cannot be read."""
    from matplotlib.font_manager import get_font

    try:
        font = get_font(path)
    except (OSError, RuntimeError):
        return letters
    return frozenset(letter for letter in letters if not font.get_char_index(ord(letter)))
