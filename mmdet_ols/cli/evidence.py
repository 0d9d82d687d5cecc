"""Print tables from the rows that `tools/compare.py --record` wrote, or fill pages with them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mmdet_ols.cli.options import escape_unprintable, user_errors
from mmdet_ols.experiments.evidence import read_rows
from mmdet_ols.experiments.evidence_page import Selection, evidence_tables, fill_page


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    _add_selection(parser)
    parser.add_argument(
        '--page',
        metavar='PAGE.md',
        help='make the tables of this page again, between its comments <!-- evidence: FILE.csv ... '
        '--> (with the options above) and <!-- end of evidence -->',
    )
    parser.add_argument(
        '--check', action='store_true', help='only say whether --page agrees with the rows'
    )
    args = parser.parse_args()
    if bool(args.files) == bool(args.page):
        parser.error('name either FILE.csv ..., in front of the options, or --page PAGE.md')
    if args.check and not args.page:
        parser.error('--check needs --page PAGE.md')
    if args.page and _selection(args) != Selection(metrics=[]):
        parser.error('the comments of --page PAGE.md say what its tables show: leave it out here')
    return args


def _add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the files, and what to show of them."""
    parser.add_argument('files', nargs='*', metavar='FILE.csv', help='files of rows')
    parser.add_argument(
        '--reference', metavar='NAME', help='the row to compare the others with (the first)'
    )
    parser.add_argument(
        '--metrics',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY',
        help='show only these metrics',
    )
    parser.add_argument('--classes', action='store_true', help='add the AP of each class')
    parser.add_argument(
        '--across',
        metavar='KEY',
        help='a table with a column for each value of this option, to choose it by, as in '
        'optim_wrapper.optimizer.lr',
    )
    parser.add_argument(
        '--together',
        action='store_true',
        help='one table for rows that differ in more than their methods',
    )


def _selection(args: argparse.Namespace) -> Selection:
    return Selection(args.reference, args.metrics, args.classes, args.together, args.across)


def filled_page(page: str | Path) -> str:
    """The text of a page with its tables made again from the rows that its comments name.

    Raises:
        ValueError: A comment cannot be understood, or a file has no rows.
        OSError: The page or a file cannot be read.
    """
    return fill_page(page, _parse_comment)


def _parse_comment(words: Sequence[str]) -> tuple[list[str], Selection]:
    parser = _CommentParser(add_help=False)
    _add_selection(parser)
    args = parser.parse_args(words)
    return args.files, _selection(args)


class _CommentParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def main() -> None:
    escape_unprintable()
    args = parse_args()
    with user_errors():
        if args.page:
            _fill(Path(args.page), args.check)
            return
        rows = [row for file in args.files for row in read_rows(file)]
        print(evidence_tables(rows, _selection(args)), end='')


def _fill(page: Path, check: bool) -> None:
    filled = filled_page(page)
    if filled == page.read_text(encoding='utf-8'):
        print(f'{page} agrees with its rows')
    elif check:
        sys.exit(f'error: {page} differs from its rows: run mmdet-ols evidence --page {page}')
    else:
        page.write_text(filled, encoding='utf-8')
        print(f'Written: {page}')


if __name__ == '__main__':
    main()
