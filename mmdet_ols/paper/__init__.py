"""The paper's figures as data, its cells (which command makes which), and what it leaves open."""

from mmdet_ols.paper.open_questions import (
    OpenQuestion,
    apply_choices,
    check_choices,
    choice_of,
    open_questions,
    questions_about,
)
from mmdet_ols.paper.tables import (
    Cell,
    DataSet,
    Figure,
    SmallCell,
    all_figures,
    cells,
    data_sets,
    figures,
    method_parts,
    paper_results,
    same_method,
    small_cells,
)

__all__ = [
    'Cell',
    'DataSet',
    'Figure',
    'OpenQuestion',
    'SmallCell',
    'all_figures',
    'apply_choices',
    'cells',
    'check_choices',
    'choice_of',
    'data_sets',
    'figures',
    'method_parts',
    'open_questions',
    'paper_results',
    'questions_about',
    'same_method',
    'small_cells',
]
