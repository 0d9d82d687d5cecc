"""The options that several tools share, and the messages about wrong input."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config

from mmdet_ols.checks.building import StartError, starting_errors
from mmdet_ols.engine.run_config import parse_options, read_config


def add_config_options(
    parser: argparse.ArgumentParser, method: bool = False, parsed: bool = True
) -> None:
    """Add what changes a config that is read: `--cfg-options`, `--data-root` and `--method`.

    Args:
        parser: Of the tool.
        method: Whether the tool takes one `--method`.
        parsed: Whether `cfg_options` becomes a dict, or stays a list of words `KEY=VALUE` to be
            handed on to other commands. `read_config` takes both.
    """
    if method:
        parser.add_argument(
            '--method',
            metavar='NAME[:OPTION=VALUE,...]',
            help='train or test with this method, whatever the loss of the config, as in ols or '
            'ols:alpha=0.3,start=zeros',
        )
    parser.add_argument(
        '--data-root',
        metavar='PATH',
        help='where the data lie: replaces the root of every data set of the config',
    )
    collected: dict[str, Any] = (
        dict(action=_ParsedOptions, default={}) if parsed else dict(action='extend', default=[])
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        help='override entries of the config, as in optim_wrapper.optimizer.lr=1e-3',
        **collected,
    )


class _ParsedOptions(argparse.Action):
    """Collect words `KEY=VALUE` in a dict."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        try:
            parsed = parse_options(values)
        except ValueError as error:
            parser.error(str(error))
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), **parsed})


def add_seeds_option(parser: argparse.ArgumentParser) -> None:
    """Add `--seeds`, for `check_seeds`."""
    parser.add_argument('--seeds', nargs='+', type=int, action='extend', help='(0 1 2)')


def check_seeds(parser: argparse.ArgumentParser, seeds: Sequence[int]) -> None:
    """Refuse seeds that are the same, or that NumPy does not take."""
    if len(set(seeds)) < len(seeds):
        parser.error(f'--seeds must differ from each other, but got {seeds}')
    if not all(0 <= seed < 2**32 for seed in seeds):
        parser.error(f'--seeds must be from 0 to {2**32 - 1}, as NumPy takes them: {seeds}')


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add `--trust-checkpoint`, for `loading_rules(args.trust_checkpoint)`."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that hold more than data; they can run code on this machine',
    )


def add_strict_option(parser: argparse.ArgumentParser) -> None:
    """Add `--strict`, for everything that is checked before a run."""
    parser.add_argument(
        '--strict',
        '--strict-classes',  # its name when it knew only objects of unnamed classes
        action='store_true',
        help='turn the warnings of the checks before a run into errors: objects that are left out, '
        'classes without objects or with similar names, images of train in val, and so on; train '
        'then also ends once the weights are not finite',
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what training and testing share; MMDetection's users know these options."""
    parser.add_argument(
        '--work-dir', help='where logs and results go (work_dirs/CONFIG, or CONFIG_METHOD)'
    )
    add_config_options(parser, method=True)
    add_trust_option(parser)
    add_strict_option(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes',
    )
    parser.add_argument(  # older launchers pass it; newer ones set the environment variable
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
    )


def config_of(args: argparse.Namespace) -> Config:
    """Read the config that a command line with `add_run_options` names."""
    return read_config(
        args.config,
        options=args.cfg_options,
        method=args.method,
        data_root=args.data_root,
        work_dir=args.work_dir,
        launcher=args.launcher,
    )


def pickle_file(path: str) -> str:
    """Check a command-line argument that must end in .pkl or .pickle."""
    if not path.endswith(('.pkl', '.pickle')):
        raise argparse.ArgumentTypeError(f'the file must end in .pkl or .pickle, but got {path}')
    return path


def command_line() -> list[str]:
    """The words that started this process, as a user would type them."""
    program, *words = sys.argv
    if program.startswith('mmdet-ols '):  # the package's own command
        return [*program.split(), *words]
    return ['python', program, *words]


def escape_unprintable() -> None:
    """Let a tool print what its terminal has no characters for, as escapes, instead of ending.

    Class names and paths may be in any script, and a terminal or a pipe in ASCII or Latin-1.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


@contextmanager
def user_errors(
    kinds: tuple[type[Exception], ...] = (ValueError, OSError, ImportError),
) -> Iterator[None]:
    """Report what is wrong with the user's input as a message and an exit code, not a traceback.

    Args:
        kinds: The errors that say it; others pass.
    """
    try:
        yield
    except kinds as error:
        sys.exit(f'error: {error}')


@contextmanager
def errors_before_first_step(cfg: Config) -> Iterator[None]:
    """Report what a run objects to before its first step, as `user_errors` does, and nothing else.

    Later errors are no longer only the user's to mend: they keep their traceback.
    """
    with user_errors((StartError,)), starting_errors(cfg):
        yield
