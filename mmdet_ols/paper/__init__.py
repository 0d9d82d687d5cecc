"""The paper's figures as data, and its cells: which command makes which figure."""

from mmdet_ols.paper.tables import Cell, Figure, all_figures, cells, figures, paper_results

__all__ = ['Cell', 'Figure', 'all_figures', 'cells', 'figures', 'paper_results']
