"""Print tables from the rows that `tools/compare.py --record` wrote, or fill pages with them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmdet_ols.cli.options import user_errors
from mmdet_ols.experiments.evidence import read_rows
from mmdet_ols.experiments.evidence_page import (
    add_selection,
    evidence_tables,
    fill_page,
    selection_of,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_selection(parser)
    parser.add_argument(
        '--page',
        metavar='PAGE.md',
        help='make the tables of this page anew, between its comments <!-- evidence: ... --> and '
        '<!-- end of evidence -->',
    )
    parser.add_argument(
        '--check', action='store_true', help='only say whether --page agrees with the rows'
    )
    args = parser.parse_args()
    if bool(args.files) == bool(args.page):
        parser.error('name either FILE.csv ... or --page PAGE.md')
    if args.check and not args.page:
        parser.error('--check needs --page PAGE.md')
    return args


def main() -> None:
    args = parse_args()
    with user_errors():
        if args.page:
            _fill(Path(args.page), args.check)
            return
        rows = [row for file in args.files for row in read_rows(file)]
        print(evidence_tables(rows, selection_of(args)), end='')


def _fill(page: Path, check: bool) -> None:
    filled = fill_page(page)
    if filled == page.read_text(encoding='utf-8'):
        print(f'{page} agrees with its rows')
    elif check:
        sys.exit(f'error: {page} differs from its rows: run mmdet-ols evidence --page {page}')
    else:
        page.write_text(filled, encoding='utf-8')
        print(f'Written: {page}')


if __name__ == '__main__':
    main()
