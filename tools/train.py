#!/usr/bin/env python
"""Train a detector or a classifier from a config of MMDetection or MMPretrain."""

from __future__ import annotations

import argparse

from mmdet_ols import engine


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from CHECKPOINT, or from the latest one in the work directory',
    )
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by total batch size / auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--strict-classes',
        action='store_true',
        help='objects of classes that the config does not name are an error, not a warning',
    )
    engine.add_common_arguments(parser)
    return parser.parse_args()


def train(args: argparse.Namespace) -> None:
    with engine.clear_errors():
        cfg = engine.read_config(args)
        if args.amp:
            engine.use_amp(cfg)
        if args.auto_scale_lr:
            engine.use_auto_scale_lr(cfg)
        if args.resume:
            cfg.resume = True
            cfg.load_from = None if args.resume == 'auto' else args.resume
        engine.check_losses(cfg)
        engine.check_datasets(cfg, ('train', 'val'), strict=args.strict_classes)
        engine.fetch_datasets(cfg, ('train', 'val'))
        engine.check_pretrained(cfg)
        runner = engine.build_runner(cfg)
        engine.check_start(runner)
    runner.train()


def main() -> None:
    train(parse_args())
    engine.leave_processes()


if __name__ == '__main__':
    main()
