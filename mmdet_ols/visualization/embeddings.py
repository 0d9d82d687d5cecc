"""Embeddings in two dimensions, coloured by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmdet_ols.visualization.figures import new_figure

if TYPE_CHECKING:
    import numpy as np

#: With more classes than this, several of them share a colour.
NUM_COLORS = 10


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
    figure = new_figure(5 * len(titles), 5.6, dpi=130)
    import numpy as np  # not at the top: without a host, torch is all that the package needs
    from matplotlib import colormaps

    colors = colormaps['tab10'](np.arange(NUM_COLORS))
    panels = figure.subplots(1, len(titles), squeeze=False)[0]
    for panel, points, classes, title in zip(panels, embeddings, labels, titles):
        size = min(20, max(2, 15000 / len(points)))
        panel.scatter(*points.T, s=size, c=colors[classes % NUM_COLORS], alpha=0.7, linewidths=0)
        panel.set_title(title)
        panel.set(xticks=[], yticks=[], box_aspect=1)
        panel.set_aspect('equal', adjustable='datalim')
    present = sorted({int(label) for classes in labels for label in classes})
    if present[-1] < NUM_COLORS:
        for label in present:  # dots that only the legend shows
            name = class_names[label] if label < len(class_names) else str(label)
            panels[0].scatter([], [], s=30, color=colors[label % NUM_COLORS], label=name)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc='outside lower center', ncols=5, frameon=False)
    return figure
