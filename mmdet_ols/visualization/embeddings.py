"""Embeddings in two dimensions, coloured by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmdet_ols.visualization.figures import new_figure, require_matplotlib
from mmdet_ols.visualization.texts import drawn_texts

if TYPE_CHECKING:
    import numpy as np

#: With more classes than this, several of them share a colour.
NUM_COLORS = 10
#: Of the legend, if they have room.
MAX_COLUMNS = 5


def draw_embeddings(
    embeddings: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    titles: Sequence[str],
    class_names: Sequence[str] = (),
) -> Any:
    """Draw embeddings side by side; a colour is a class, or every tenth one.

    Args:
        embeddings: (n, 2) for each panel.
        labels: (n,) for each panel, the class of each point.
        titles: Title of each panel.
        class_names: Names of the classes, for the legend; numbers where there are none.

    Returns:
        A matplotlib figure.

    Raises:
        ImportError: matplotlib is missing.
    """
    require_matplotlib()
    present = sorted({int(label) for classes in labels for label in classes})
    named = present if present[-1] < NUM_COLORS else []
    names = [class_names[label] if label < len(class_names) else str(label) for label in named]
    with drawn_texts([*titles, *names]) as texts:
        figure, colors = _draw_panels(embeddings, labels, texts[: len(titles)])
        if named:
            panel = figure.axes[0]  # dots that only the legend shows
            dots = [panel.scatter([], [], s=30, color=colors[label]) for label in named]
            _add_legend(figure, dots, texts[len(titles) :])
    return figure


def _add_legend(figure: Any, dots: Sequence[Any], names: Sequence[str]) -> None:
    """Add a legend below the panels, in as many columns as have room, and give it its height."""
    for columns in range(MAX_COLUMNS, 0, -1):
        place: Any = dict(loc='outside lower center', ncols=columns, frameon=False)
        legend = figure.legend(dots, [str(number) for number in range(len(dots))], **place)
        # Afterwards: matplotlib before 3.10 leaves out what begins with an underscore.
        for entry, name in zip(legend.get_texts(), names):
            entry.set_text(name)
        extent = legend.get_window_extent(figure.canvas.get_renderer())
        if columns == 1 or extent.width <= figure.bbox.width:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + extent.height / figure.dpi)


def _draw_panels(
    embeddings: Sequence[np.ndarray], labels: Sequence[np.ndarray], titles: Sequence[str]
) -> tuple[Any, np.ndarray]:
    """A figure with a panel for each embedding, and the colours of the classes."""
    import numpy as np  # not at the top: without a host, torch is all that the package needs
    from matplotlib import colormaps

    figure = new_figure(5 * len(titles), 5.4, dpi=130)
    colors = colormaps['tab10'](np.arange(NUM_COLORS))
    panels = figure.subplots(1, len(titles), squeeze=False)[0]
    for panel, points, classes, title in zip(panels, embeddings, labels, titles):
        size = min(20, max(2, 15000 / len(points)))
        panel.scatter(*points.T, s=size, c=colors[classes % NUM_COLORS], alpha=0.7, linewidths=0)
        panel.set_title(title)
        panel.set(xticks=[], yticks=[], box_aspect=1)
        panel.set_aspect('equal', adjustable='datalim')
    return figure, colors
