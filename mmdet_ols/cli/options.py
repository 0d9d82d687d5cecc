"""The options that several tools share, and their errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import DictAction


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that MMDetection's users know, where training and testing share them."""
    parser.add_argument('--work-dir', help='where logs and results go (work_dirs/CONFIG)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override entries of the config, as in optim_wrapper.optimizer.lr=1e-3',
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that hold more than data; they can run code on this machine',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='who started the processes',
    )
    parser.add_argument(  # older launchers pass it; newer ones set the environment variable
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
    )


def pickle_file(path: str) -> str:
    """Type of a command-line argument that must end in .pkl or .pickle."""
    if not path.endswith(('.pkl', '.pickle')):
        raise argparse.ArgumentTypeError(f'the file must end in .pkl or .pickle, but got {path}')
    return path


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what is wrong with the input into a message and an exit code, without a traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')
