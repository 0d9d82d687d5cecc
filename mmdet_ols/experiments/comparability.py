"""What may be compared: the same config, data and options, with only the method differing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmdet_ols.experiments.identity import WRITING
from mmdet_ols.experiments.settings import (
    ABSENT,
    Differences,
    Settings,
    describe,
    differences,
    flat_settings,
    is_below,
    is_default,
)
from mmdet_ols.results.run_folder import dumped_configs


class Forms(NamedTuple):
    """The settings of one row of a comparison, in three forms.

    Args:
        trained: As it trains.
        plain: Without the method that the command line adds to its config.
        hard: With every method undone, those that the config names itself included; None where
            the method `hard` cannot tell what belongs to one.
    """

    trained: Settings
    plain: Settings
    hard: Settings | None


def check_comparable(
    forms: Mapping[str, Forms], allowed: Sequence[str] = ()
) -> dict[str, Differences]:
    """Make sure that rows differ only in their methods.

    Two rows are comparable if they are equal once their methods are undone. Where that is not
    possible for one of the two, their configs are compared as they are.

    Args:
        forms: By the names of the rows; the others are compared with the first.
        allowed: Keys in which they may differ on purpose, each with everything below it.

    Returns:
        In what each row but the first differs as it trains: dotted key, the first's value, its own.

    Raises:
        ValueError: They differ in something else, such as schedule, data or backbone; or no row
            has an allowed key.
    """
    _check_allowed(forms, allowed)
    first, *others = forms
    for name in others:
        a, b = forms[first], forms[name]
        if a.hard is None or b.hard is None:
            remaining, how = differences(a.plain, b.plain), ' (no method of theirs can be undone)'
        else:
            remaining, how = differences(a.hard, b.hard), ''
        wrong = {key: pair for key, pair in remaining.items() if not is_below(key, allowed)}
        if wrong:
            raise ValueError(
                f'{name} cannot be compared with {first}, since they differ in more than the '
                f'method{how}:\n{describe(wrong, first, name)}\nMake these equal (--cfg-options '
                'changes all configs alike), or name the keys that differ on purpose with --allow.'
            )
    return {name: differences(forms[first].trained, forms[name].trained) for name in others}


def _check_allowed(forms: Mapping[str, Forms], allowed: Sequence[str]) -> None:
    known = {key for form in forms.values() for key in (*form.plain, *form.trained)}
    for name in allowed:
        if not any(is_below(key, [name]) for key in known):
            # Inner keys as well, as in model.backbone.
            parts = [key.split('.') for key in known]
            inner = {'.'.join(part[: n + 1]) for part in parts for n in range(len(part))}
            similar = ', '.join(difflib.get_close_matches(name, sorted(inner))) or 'nothing'
            raise ValueError(
                f'--allow must name config entries that decide what a training does, but no config '
                f'has {name!r}; similar are: {similar}.'
            )


def check_same_config(folder: str | Path, settings: Settings, besides: Sequence[str] = ()) -> None:
    """Make sure that what lies in a work directory was made with these settings.

    How many checkpoints it keeps, and what it logs, may be different.

    Args:
        folder: A work directory; every start of its training counts.
        settings: As `flat_settings` gives them.
        besides: Keys that may differ.

    Raises:
        ValueError: It was made with others; the message says what differs.
    """
    from mmengine.config import Config

    for dumped in dumped_configs(folder):
        made_with = Config.fromfile(dumped, import_custom_modules=False)
        before = flat_settings(made_with)
        differing = {
            key: (old, new)
            for key, (old, new) in differences(before, settings).items()
            # An option of ours that was made, and left at its default, since then.
            if not (old == ABSENT and is_default(key, new, settings))
            and key not in besides
            and not is_below(key, WRITING)
        }
        if made_with.get('resume'):
            differing.pop('load_from', None)  # MMEngine forgets it when it resumes
        if differing:
            raise ValueError(
                f'The run in {folder} was made with another config:\n'
                f'{describe(differing, "made with", "asked for")}\n'
                f'Ask for what it was made with, name another --work-dir, or remove {folder}.'
            )
