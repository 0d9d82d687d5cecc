"""Figures of matplotlib that need neither a display nor pyplot's global state."""

from __future__ import annotations

from typing import Any


def new_figure(width: float, height: float, dpi: int = 110) -> Any:
    """An empty figure of this size in inches, with the canvas that renders it.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: pip install 'mmdet_ols[plot]'.") from error
    figure = Figure(figsize=(width, height), dpi=dpi, layout='constrained')
    FigureCanvasAgg(figure)
    return figure
