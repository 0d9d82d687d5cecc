"""Write one HTML page about a run: its curves, what it confuses, and which labels look wrong."""

from __future__ import annotations

import argparse

from mmengine.config import Config

from mmdet_ols.analysis.report import PAGE, TABLE, write_report
from mmdet_ols.checks.checkpoints import loading_rules
from mmdet_ols.checks.data import describe_datasets
from mmdet_ols.cli.options import (
    add_config_options,
    add_trust_option,
    escape_unprintable,
    user_errors,
)
from mmdet_ols.engine.data_root import replace_data_root


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dir', help='work directory of a training, finished or not')
    parser.add_argument(
        '--out', help=f'the page (WORK_DIR/{PAGE}); {TABLE} is written to the same folder'
    )
    parser.add_argument('--checkpoint', help='the checkpoint to run over the images (the last one)')
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default='train',
        help='the split whose annotations are examined (train)',
    )
    parser.add_argument(
        '--max-images', type=int, default=0, help='examine at most this many images (0: all)'
    )
    parser.add_argument(
        '--top', type=int, default=50, help='how many suspicious annotations to show (50)'
    )
    add_config_options(parser)
    add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    escape_unprintable()
    args = parse_args()

    def move_data(cfg: Config) -> None:
        if args.data_root is not None:
            replace_data_root(cfg, args.data_root)
        describe_datasets(cfg)

    with user_errors(), loading_rules(args.trust_checkpoint):
        page = write_report(
            args.work_dir,
            args.out,
            args.checkpoint,
            args.split,
            args.max_images,
            args.top,
            args.cfg_options,
            move_data,
        )
        print(f'Report: {page}')


if __name__ == '__main__':
    main()
