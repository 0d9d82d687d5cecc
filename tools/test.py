#!/usr/bin/env python
"""Test a trained detector or classifier."""

from __future__ import annotations

import argparse

from mmdet_ols import engine


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument(
        '--out', type=engine.pickle_file, metavar='FILE.pkl', help='save the predictions'
    )
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', help='save images with the predictions drawn in')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between shown images')
    parser.add_argument(
        '--tta', action='store_true', help="test-time augmentation: the config's, or flips"
    )
    engine.add_common_arguments(parser)
    return parser.parse_args()


def test(args: argparse.Namespace) -> None:
    with engine.clear_errors():
        cfg = engine.read_config(args)
        cfg.load_from, cfg.resume = args.checkpoint, False
        if args.show or args.show_dir:
            engine.use_visualization(cfg, args.show, args.show_dir, args.wait_time)
        if args.tta:
            engine.use_tta(cfg)
        engine.check_datasets(cfg, ('test',))
        engine.fetch_datasets(cfg, ('test',))
        runner = engine.build_runner(cfg)
        engine.check_start(runner, trained=True)
        if args.out:
            engine.save_predictions(runner, args.out)
    runner.test()


def main() -> None:
    test(parse_args())
    engine.leave_processes()


if __name__ == '__main__':
    main()
