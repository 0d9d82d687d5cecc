"""Figures of matplotlib that need neither a display nor pyplot's global state."""

from __future__ import annotations

from typing import Any


def require_matplotlib() -> None:
    """Say how to get matplotlib where it is missing.

    Raises:
        ImportError: It is missing.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib: pip install 'mmdet_ols[plot]'.") from error


def new_figure(width: float, height: float, dpi: int = 110) -> Any:
    """An empty figure of this size in inches, with the canvas that renders it.

    Raises:
        ImportError: matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout='constrained')
    FigureCanvasAgg(figure)
    return figure
