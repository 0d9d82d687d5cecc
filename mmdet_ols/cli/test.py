"""Test a trained detector or classifier."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config

from mmdet_ols.checks.checkpoints import loading_rules
from mmdet_ols.checks.data import check_datasets
from mmdet_ols.checks.downloads import fetch_datasets
from mmdet_ols.checks.entries import check_parts
from mmdet_ols.checks.evaluation import check_evaluation
from mmdet_ols.checks.folders import check_path
from mmdet_ols.checks.start import (
    check_checkpoint_exists,
    check_folder,
    check_start,
    check_work_dir,
)
from mmdet_ols.cli.options import (
    add_run_options,
    config_of,
    errors_before_first_step,
    escape_unprintable,
    pickle_file,
    user_errors,
)
from mmdet_ols.engine.launch import (
    build_runner,
    drawing_names_as_written,
    leave_processes,
    set_local_rank,
)
from mmdet_ols.engine.loops import build_for_testing
from mmdet_ols.engine.run_config import renamed_config, save_predictions, use_visualization
from mmdet_ols.engine.tta import use_tta
from mmdet_ols.results.run_folder import training_folders


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument('--out', type=pickle_file, metavar='FILE.pkl', help='save the predictions')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', help='save images with the predictions drawn in')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between shown images')
    parser.add_argument(
        '--tta',
        action='store_true',
        help="test-time augmentation: the config's, or flips and, for detectors, three sizes",
    )
    add_run_options(parser)
    return parser.parse_args()


def test(args: argparse.Namespace) -> None:
    set_local_rank(args.local_rank, args.launcher)
    with loading_rules(args.trust_checkpoint):
        with user_errors():
            runner = build_runner(checked_config(args))
            build_for_testing(runner)
            check_start(runner, trained=True, strict=args.strict)
            if args.out:
                save_predictions(runner, args.out)
        with drawing_names_as_written(runner.cfg), errors_before_first_step(runner.cfg):
            runner.test()


def checked_config(args: argparse.Namespace) -> Config:
    """Read the config of a command line and look at everything that could stop the test later."""
    check_path('CHECKPOINT', args.checkpoint)
    check_path('--show-dir', args.show_dir)
    cfg = config_of(args)
    check_parts(cfg, 'test')
    cfg.load_from, cfg.resume = args.checkpoint, False
    check_checkpoint_exists(cfg)
    check_work_dir(cfg)
    if args.out:
        check_folder(Path(args.out).parent, 'The folder of the predictions', '--out')
    if args.show or args.show_dir:
        use_visualization(cfg, args.show, args.show_dir, args.wait_time)
    if args.tta:
        use_tta(cfg)
    check_datasets(cfg, ('test',), strict=args.strict)
    fetch_datasets(cfg, ('test',))
    check_evaluation(cfg, ('test',))
    if training_folders(cfg.work_dir):  # where its dump would take the place of the training's
        name = Path(cfg.filename)
        cfg = renamed_config(cfg, name.with_name(f'{name.stem}_test.py'))
    return cfg


def main() -> None:
    escape_unprintable()
    test(parse_args())
    leave_processes()


if __name__ == '__main__':
    main()
