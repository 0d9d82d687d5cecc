"""How a method is written on a command line: `ols:alpha=0.3,start=zeros`, `cutout+ols`."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmdet_ols.core.suggestions import did_you_mean

#: Where the next method begins: '1e+3' and a path with a '+' in it are no methods.
_NEXT_METHOD = re.compile(r'[a-z_][a-z0-9_]*(?=[:+]|$)')
#: Names of folders and files may have 255 bytes, and others are made from a slug.
LONGEST_SLUG = 120
_OPENING, _CLOSING = '([', ')]'


@dataclass(frozen=True)
class MethodSpec:
    """A method, or several that are combined, with the options that were given.

    Attributes:
        parts: Name and given options of each method, in the order in which they are applied.
        text: The canonical form: two texts of one meaning have the same.
        slug: The same for names of folders.
    """

    parts: tuple[tuple[str, Mapping[str, Any]], ...]

    @property
    def text(self) -> str:
        texts = []
        for name, options in self.parts:
            given = ','.join(f'{key}={_as_text(value)}' for key, value in options.items())
            texts.append(f'{name}:{given}' if given else name)
        return '+'.join(texts)

    @property
    def slug(self) -> str:
        texts = []
        for name, options in self.parts:
            given = ''.join(f'_{key}{_as_text(value)}' for key, value in options.items())
            texts.append(re.sub(r'[^\w.+-]+', '-', f'{name}{given}').rstrip('-'))
        slug = '+'.join(texts)
        if len(slug) > LONGEST_SLUG:  # such as with the path of a teacher
            digest = hashlib.sha256(slug.encode()).hexdigest()[:8]
            slug = f'{slug[: LONGEST_SLUG - len(digest) - 1]}-{digest}'
        return slug


def split_methods(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The methods of a text, each with its options, as they are written.

    Raises:
        ValueError: The text is not of the form NAME or NAME:OPTION=VALUE,..., joined by '+'.
    """
    for part in _split(text.strip(), '+'):
        name, colon, rest = part.strip().partition(':')
        if not name or (colon and not rest.strip()):
            raise ValueError(
                f'A method must be NAME or NAME:OPTION=VALUE,OPTION=VALUE, and several are joined '
                f"by '+', but got {text!r}: for example ols:alpha=0.3,start=zeros or cutout+ols."
            )
        options: dict[str, Any] = {}
        for option in _split(rest, ',') if colon else ():
            key, equals, value = option.partition('=')
            key = key.strip()
            if not key or not equals or not value.strip():
                raise ValueError(
                    f'An option of the method {name!r} must be OPTION=VALUE, but got {option!r} in '
                    f'{text!r}.'
                )
            if key in options:
                raise ValueError(f'The option `{key}` of {name!r} is given twice in {text!r}.')
            options[key] = _parse_value(value.strip(), key, text)
        yield name, options


def unknown(what: str, name: str, known: Mapping[str, Any]) -> str:
    """The message about a name that is not among the known ones, with those that are like it."""
    names = ', '.join(known) if known else 'none'
    return f'{what}, but got {name!r}{did_you_mean(name, known)}. Known: {names}.'


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts between separators that stand outside of brackets and quotation marks."""
    depth, quote, start = 0, '', 0
    for i, character in enumerate(text):
        if quote:
            quote = '' if character == quote else quote
        elif character in '\'"':
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == separator and depth == 0:
            if separator == '+' and not _NEXT_METHOD.match(text[i + 1 :].lstrip()):
                continue
            yield text[start:i]
            start = i + 1
    if depth or quote:
        raise ValueError(f'A bracket or quotation mark is not closed in {text!r}.')
    yield text[start:]


def _parse_value(value: str, option: str, text: str) -> Any:
    """A value as in `--cfg-options`: a number, True, False, None, a list in brackets, or a text."""
    if value[0] in _OPENING:
        return [_parse_value(item.strip(), option, text) for item in _split(value[1:-1], ',')]
    if value[0] in '\'"':
        try:
            return ast.literal_eval(value)
        except (SyntaxError, ValueError) as error:
            raise ValueError(
                f'The value of `{option}` must be one text in quotation marks, but got {value} in '
                f'{text!r}.'
            ) from error
    constants = dict(true=True, false=False, none=None)
    if value.lower() in constants:
        return constants[value.lower()]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            pass
    return value


def _as_text(value: Any) -> str:
    """A value such that it is read back as what it is."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return f'[{",".join(map(_as_text, value))}]'
    if isinstance(value, str) and (
        not re.fullmatch(r'[^\s,+:=\'"()\[\]]+', value)
        or not isinstance(_parse_value(value, '', ''), str)
    ):
        return repr(value)
    return str(value)
