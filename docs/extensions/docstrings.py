"""Turn the reStructuredText in our docstrings, which is what PyTorch's use, into Markdown.

Formulas become MathML, which browsers draw by themselves: no script has to be loaded for them.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe
from latex2mathml.converter import convert

MATH_BLOCK = re.compile(r'^( *)\.\. math::[ \t]*(.*)\n((?:\1 +\S.*\n?|[ \t]*\n)*)', re.MULTILINE)
INLINE_MATH = re.compile(r':math:`([^`]+)`')
LINK = re.compile(r'`([^`<]+?)\s*<(https?://[^>]+)>`_')
CODE_BLOCK = re.compile(r'(\S)::\n\n((?: +\S.*\n?|[ \t]*\n)+)')


def math_block(match: re.Match[str]) -> str:
    indent, first, more = match.groups()
    # A line of a docstring's formula is a line of the formula where `\\` says so.
    latex = ' '.join(f'{first} {textwrap.dedent(more)}'.split())
    return f'\n{indent}<div class="formula">{convert(latex, display="block")}</div>\n\n'


def code_block(match: re.Match[str]) -> str:
    code = textwrap.dedent(match[2]).strip('\n')
    return f'{match[1]}:\n\n```python\n{code}\n```\n\n'


def to_markdown(docstring: str) -> str:
    """Rewrite formulas, links and code blocks; all else in our docstrings is Markdown already."""
    # The parser of Google's style knows examples only under this title; else they are a quotation.
    docstring = re.sub(r'^Example:$', 'Examples:', docstring, flags=re.MULTILINE)
    docstring = docstring.replace(r'\arg\max', r'\operatorname{argmax}')
    docstring = MATH_BLOCK.sub(math_block, docstring)
    docstring = INLINE_MATH.sub(lambda match: convert(match[1]), docstring)
    docstring = LINK.sub(lambda match: f'[{" ".join(match[1].split())}]({match[2]})', docstring)
    return CODE_BLOCK.sub(code_block, docstring)


class Docstrings(griffe.Extension):
    """Rewrite each docstring as soon as it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if not obj.docstring:
            return
        text = to_markdown(obj.docstring.value)
        if isinstance(obj, griffe.Class) and 'NamedTuple' in map(str, obj.bases):
            # Griffe sees no constructor, whose arguments these would be.
            text = re.sub(r'^Args:$', 'Attributes:', text, flags=re.MULTILINE)
        obj.docstring.value = text
