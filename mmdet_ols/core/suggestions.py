"""Which name was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A clause that suggests similar names; empty if there are none."""
    known = list(dict.fromkeys(known))
    similar = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if not similar:  # written in capitals, for example
        plain = {other.lower(): other for other in known}
        similar = [plain[name.lower()]] if name.lower() in plain else []
    return f' (did you mean {" or ".join(f"`{other}`" for other in similar)}?)' if similar else ''
