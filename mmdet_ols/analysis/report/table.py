"""The table of all suspicious annotations, as a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from mmdet_ols.analysis.report.suspects import AnnotationAudit

TABLE = 'suspicious_annotations.csv'
COLUMNS = (
    'rank', 'image', 'object', 'x0', 'y0', 'x1', 'y1',
    'written', 'suggested', 'disagreement', 'share_written', 'share_suggested',
)  # fmt: skip


def write_table(audit: AnnotationAudit, path: Path) -> None:
    """Write all suspects, and after them the objects that were not found.

    Objects are counted from 1, and images without boxes have none.

    Args:
        audit: The comparison of annotations and scores.
        path: The file.
    """
    rows: list[list[Any]] = []
    for row, suggestion, disagreement in audit.ranking.suspects:
        seen, label = audit.shares[row], audit.annotations[row].label
        values = (disagreement, seen[label], seen[suggestion])
        verdict = [audit.classes[suggestion], *(f'{value:.3f}' for value in values)]
        rows.append([*_place(audit, row), *verdict])
    rows += [[*_place(audit, row), '(not found)', '', '', ''] for row in audit.ranking.missed]
    # A name of a file need not be text.
    with path.open('w', newline='', encoding='utf-8', errors='backslashreplace') as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows([rank, *row] for rank, row in enumerate(rows, 1))


def _place(audit: AnnotationAudit, row: int) -> list[Any]:
    """Image, object, box and class of an annotation."""
    annotation = audit.annotations[row]
    number = annotation.number + 1 if annotation.box else ''
    box = [f'{edge:g}' for edge in annotation.box] if annotation.box else [''] * 4
    return [annotation.image, number, *box, audit.classes[annotation.label]]
