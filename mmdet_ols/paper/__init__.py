"""The paper's figures as data, and its cells: which command makes which figure."""

from mmdet_ols.paper.tables import (
    Cell,
    Figure,
    SmallCell,
    all_figures,
    cells,
    figures,
    paper_results,
    same_method,
    small_cells,
)

__all__ = [
    'Cell',
    'Figure',
    'SmallCell',
    'all_figures',
    'cells',
    'figures',
    'paper_results',
    'same_method',
    'small_cells',
]
