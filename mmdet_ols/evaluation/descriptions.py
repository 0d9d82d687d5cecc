"""What a logged number means: its title, its unit, and which way is better."""

from __future__ import annotations

from typing import NamedTuple


class MetricDescription(NamedTuple):
    """How to show what a metric or a hook logs.

    A class that measures something lists these in its attribute `logged_metrics`. Tables and
    reports find them through MMEngine's registries, so that a metric of your own is described by
    its class as well.

    Args:
        key: Regular expression that matches the whole key under which the value is logged. A group
            called `class_name` marks the metric of a single class.
        title: What tables call it; `{name}` stands for what the group `name` of `key` matched.
        unit: Unit of the value as it is shown.
        lower_is_better: Whether a lower value, as it is shown, is better; None if unknown.
        scale: Factor from the logged value to the shown one.
        offset: Added after scaling. An accuracy is shown as an error with -1 and 100.
        main: Whether tables begin with it.
    """

    key: str
    title: str
    unit: str = ''
    lower_is_better: bool | None = None
    scale: float = 1.0
    offset: float = 0.0
    main: bool = False
