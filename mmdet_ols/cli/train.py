"""Train a detector or a classifier from a config of MMDetection or MMPretrain."""

from __future__ import annotations

import argparse
import sys
from errno import EDQUOT, ENOSPC
from pathlib import Path
from zipfile import is_zipfile

from mmengine.config import Config
from mmengine.runner import Runner, find_latest_checkpoint

from mmdet_ols.checks.checkpoints import loading_rules
from mmdet_ols.checks.data import check_datasets
from mmdet_ols.checks.downloads import fetch_datasets
from mmdet_ols.checks.entries import check_parts
from mmdet_ols.checks.evaluation import check_evaluation
from mmdet_ols.checks.folders import check_path
from mmdet_ols.checks.logs import warn
from mmdet_ols.checks.losses import check_losses
from mmdet_ols.checks.pretrained import check_pretrained
from mmdet_ols.checks.processes import is_first_process
from mmdet_ols.checks.schedules import check_schedules
from mmdet_ols.checks.start import (
    check_checkpoint_exists,
    check_same_method,
    check_start,
    check_teacher_exists,
    check_work_dir,
    checkpoint_to_resume,
    resumes_by_itself,
    warn_of_earlier_run,
)
from mmdet_ols.cli.options import (
    add_run_options,
    config_of,
    errors_before_first_step,
    escape_unprintable,
    user_errors,
)
from mmdet_ols.engine.hooks import DivergenceError, DivergenceHook
from mmdet_ols.engine.launch import (
    build_runner,
    drawing_names_as_written,
    leave_processes,
    set_local_rank,
)
from mmdet_ols.engine.loops import build_for_training
from mmdet_ols.engine.run_config import use_amp, use_auto_scale_lr, use_quicker_precision


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
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument('--amp', action='store_true', help='automatic mixed precision')
    precision.add_argument(
        '--auto-amp',
        action='store_true',
        help='bfloat16 on a CPU that has instructions for it, float32 otherwise; says which',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by total batch size / auto_scale_lr.base_batch_size',
    )
    add_run_options(parser)
    return parser.parse_args()


def train(args: argparse.Namespace) -> None:
    set_local_rank(args.local_rank, args.launcher)
    with loading_rules(args.trust_checkpoint):
        with user_errors():
            runner = build_runner(checked_config(args))
            build_for_training(runner)
            check_start(runner, strict=args.strict)
            runner.register_hook(DivergenceHook(strict=args.strict))
        with drawing_names_as_written(runner.cfg), errors_before_first_step(runner.cfg):
            try:
                runner.train()
            except KeyboardInterrupt:
                print(_interrupted(runner), file=sys.stderr)
                sys.exit(130)  # as shells have it
            except DivergenceError as error:
                sys.exit(f'error: {error}')
            except OSError as error:
                if error.errno not in (ENOSPC, EDQUOT):
                    raise
                sys.exit(f'error: {_out_of_space(runner, error)}')


def _interrupted(runner: Runner) -> str:
    """Say what an interrupted training leaves, and how to go on with it."""
    checkpoint = find_latest_checkpoint(runner.work_dir)
    if checkpoint is None:
        return f'Interrupted before the first checkpoint, at iteration {runner.iter}: start again.'
    return (
        f'Interrupted in epoch {runner.epoch + 1}, at iteration {runner.iter}. The newest '
        f'checkpoint is {checkpoint}: the same command with --resume goes on from there.'
    )


def _out_of_space(runner: Runner, error: OSError) -> str:
    """Say what a training leaves that has filled its disk, and how to go on with it.

    The checkpoint that is cut short is removed: it would be in the way of the next one.
    """
    cut = runner.message_hub.runtime_info.get('last_ckpt')
    if cut is not None and Path(cut).is_file() and not is_zipfile(cut):
        Path(cut).unlink()
    checkpoint = find_latest_checkpoint(runner.work_dir)
    if checkpoint is None or not is_zipfile(checkpoint):
        # With `max_keep_ckpts`, MMEngine removes an old checkpoint before it writes the new one.
        left = 'no whole checkpoint is left: start again.'
    else:
        left = (
            f'the newest whole checkpoint is {checkpoint}: the same command with --resume goes on '
            'from there.'
        )
    return (
        f'{error.strerror} at iteration {runner.iter}, in epoch {runner.epoch + 1}. Make room for '
        f'{runner.work_dir}; {left}'
    )


def checked_config(args: argparse.Namespace) -> Config:
    """Read the config of a command line and look at everything that could stop the run later."""
    check_path('--resume', args.resume)
    cfg = config_of(args)
    check_parts(cfg, 'train')
    if args.amp:
        use_amp(cfg)
    if args.auto_amp:
        print(f'Training in {use_quicker_precision(cfg)}.')
    if args.auto_scale_lr:
        use_auto_scale_lr(cfg)
    if args.resume:
        go_on(cfg, args.resume)
    elif resumes_by_itself(cfg) and is_first_process():
        warn(resumes_by_itself(cfg))
    check_checkpoint_exists(cfg)
    check_work_dir(cfg)
    warn_of_earlier_run(cfg)
    check_teacher_exists(cfg)
    check_same_method(cfg)
    check_losses(cfg)
    check_schedules(cfg)
    check_datasets(cfg, ('train', 'val'), strict=args.strict)
    fetch_datasets(cfg, ('train', 'val'))
    check_evaluation(cfg, ('val',))
    check_pretrained(cfg)
    return cfg


def go_on(cfg: Config, checkpoint: str) -> None:
    """Let a config resume its training.

    Args:
        cfg: The config; it is changed.
        checkpoint: The file, or 'auto' for the latest one in the work directory. As long as there
            is none, the config stays as it is: MMEngine would leave `load_from` out.
    """
    if checkpoint != 'auto':
        cfg.resume, cfg.load_from = True, checkpoint
    elif Path(cfg.work_dir, 'last_checkpoint').is_file():
        cfg.resume, cfg.load_from = True, checkpoint_to_resume(cfg.work_dir)


def main() -> None:
    escape_unprintable()
    train(parse_args())
    leave_processes()


if __name__ == '__main__':
    main()
