"""Reading text files whose encoding is not known."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

#: UTF-32 before UTF-16, whose mark its own begins with.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, 'utf-8-sig'),
    (codecs.BOM_UTF32_LE, 'utf-32'),
    (codecs.BOM_UTF32_BE, 'utf-32'),
    (codecs.BOM_UTF16_LE, 'utf-16'),
    (codecs.BOM_UTF16_BE, 'utf-16'),
)
_ALONE = re.compile(rb'(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])')


class DecodedText(NamedTuple):
    """The text of a file, and what its bytes were taken for.

    Attributes:
        text: The text, without a byte-order mark.
        encoding: Python's name of the encoding.
    """

    text: str
    encoding: str


def decode_text(content: bytes, declared: str = '') -> DecodedText:
    """Decode bytes by their byte-order mark, the declared encoding, or else by what they look like.

    Without a mark and a declaration that can be right, the text is UTF-8 if it can be. Else it is
    Chinese (GB 18030, which includes GBK and GB 2312) where the bytes beyond ASCII come in pairs,
    and Western European (Windows-1252) where most of them stand alone.

    Args:
        content: The bytes of the file.
        declared: The encoding that the file itself names, if it does.

    Raises:
        ValueError: The bytes are not text.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return DecodedText(_decode(content, encoding), encoding)
    if b'\0' in content:
        raise ValueError('it is not text, since it holds zero bytes.')
    if re.match('utf.?(16|32)', declared, re.IGNORECASE):
        declared = ''  # its letters would hold zero bytes; .NET's writers say so of any text
    for encoding in (declared or 'utf-8', 'utf-8', *_guesses(content)):
        try:
            return DecodedText(content.decode(encoding), encoding)
        except (UnicodeDecodeError, LookupError):  # another encoding, or one unknown to Python
            continue
    return DecodedText(content.decode('latin-1'), 'latin-1')


def _decode(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f'its byte-order mark says {encoding}, but {error}.') from error


def _guesses(content: bytes) -> tuple[str, ...]:
    beyond_ascii = sum(byte >= 0x80 for byte in content)
    if 2 * len(_ALONE.findall(content)) > beyond_ascii:
        return ('cp1252', 'gb18030')
    return ('gb18030', 'cp1252')
