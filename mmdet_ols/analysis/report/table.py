"""Tables next to the page, as CSV files, such as that of all suspicious annotations."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmdet_ols.analysis.report.suspects import AnnotationAudit

TABLE = 'suspicious_annotations.csv'
COLUMNS = (
    'image', 'object', 'x0', 'y0', 'x1', 'y1',
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
    write_ranked(path, COLUMNS, rows)


def write_ranked(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows as a CSV file in UTF-8, with their rank, from 1, in front.

    A byte-order mark tells Excel the encoding, which plain ASCII does not need.
    """
    text = io.StringIO(newline='')
    table = csv.writer(text)
    table.writerow(['rank', *columns])
    table.writerows([rank, *row] for rank, row in enumerate(rows, 1))
    content = text.getvalue()
    encoding = 'utf-8' if content.isascii() else 'utf-8-sig'
    # A name of a file need not be text.
    path.write_bytes(content.encode(encoding, errors='backslashreplace'))


def _place(audit: AnnotationAudit, row: int) -> list[Any]:
    """Image, object, box and class of an annotation."""
    annotation = audit.annotations[row]
    number = annotation.number + 1 if annotation.box else ''
    box = [f'{edge:g}' for edge in annotation.box] if annotation.box else [''] * 4
    return [annotation.image, number, *box, audit.classes[annotation.label]]
