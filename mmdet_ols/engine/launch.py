"""Building MMEngine's runners, on GPUs and on machines that have none."""

from __future__ import annotations

import ast
import builtins
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from mmdet_ols.checks.building import building_errors
from mmdet_ols.config_tree import type_name
from mmdet_ols.datasets.host_subsets import mend_subsets
from mmdet_ols.datasets.tree import datasets_of_config
from mmdet_ols.visualization import hosts_texts

#: What each launcher sets in every process, and how it is called.
STARTED_BY = {
    'pytorch': ('RANK', 'torchrun --nproc_per_node N'),
    'slurm': ('SLURM_PROCID', 'srun'),
    'mpi': ('OMPI_COMM_WORLD_LOCAL_RANK', 'mpirun'),
}
#: Where other launchers than PyTorch's say which process of a machine one is.
LOCAL_RANK_OF = {'slurm': 'SLURM_LOCALID', 'mpi': 'OMPI_COMM_WORLD_LOCAL_RANK'}


def set_local_rank(rank: int, launcher: str) -> None:
    """Tell MMEngine which process of this machine this one is, unless a launcher has.

    Newer launchers of PyTorch set the environment variable, older ones pass `--local_rank`; others
    have variables of their own.

    Args:
        rank: What was passed.
        launcher: As in a config.
    """
    variable = LOCAL_RANK_OF.get(launcher, 'LOCAL_RANK')
    os.environ.setdefault('LOCAL_RANK', os.environ.get(variable, str(rank)))


def build_runner(cfg: Config) -> Runner | FlexibleRunner:
    """Build the runner that the config asks for; several processes work without a GPU too.

    `channels_last = True` in the config stores the weights in that memory format, in which
    convolutions on CPUs (and in mixed precision on GPUs) run faster. The results are the same.

    Raises:
        ValueError: Something that the config asks for cannot be built, or an entry cannot be
            dumped; or its strategy or launcher needs a GPU, and there is none.
    """
    _check_launcher(cfg)
    _check_dump(cfg)
    mend_subsets()
    with building_errors(cfg):
        if cfg.get('launcher', 'none') != 'none':
            _prepare_processes(cfg)
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        # FlexibleRunner leaves the model to its strategy, later than its checkpoint can be checked.
        # A strategy that skips the initialization builds it in its own way, without memory.
        if isinstance(runner, FlexibleRunner) and not getattr(
            runner.strategy, 'skip_init_weights', False
        ):
            runner.model = runner.strategy.build_model(runner.model)
    if cfg.get('channels_last') and isinstance(runner.model, nn.Module):
        runner.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return runner


def _check_launcher(cfg: Config) -> None:
    """Make sure that a launcher has started this process, if the config says so.

    Raises:
        ValueError: The variables that it sets are not there.
    """
    launcher = cfg.get('launcher', 'none')
    variable, command = STARTED_BY.get(launcher, ('', ''))
    is_started = dist.is_available() and dist.is_initialized()
    if variable and variable not in os.environ and not is_started:
        raise ValueError(
            f'--launcher {launcher} is for processes that {command} starts, but {variable}, which '
            f'it sets, is not set: start them with `{command}`, or leave --launcher out to train '
            'in this process.'
        )


def _check_dump(cfg: Config) -> None:
    """Make sure that what the run dumps of its config can be read again.

    Raises:
        ValueError: An entry is an object that the dump does not write as Python code, or by a name
            that means nothing there.
    """
    try:
        nodes = ast.walk(ast.parse(cfg.pretty_text))
    except SyntaxError as error:
        written = (error.text or str(error)).strip()
    else:
        loaded = (n for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
        unknown = [node.id for node in loaded if not hasattr(builtins, node.id)]
        if not unknown:
            return
        written = unknown[0]
    raise ValueError(
        'Entries of the config must be finite numbers, strings, lists and dicts, so that its copy '
        f"in the run's folder can be read, but one of them is written as {written!r} there: make "
        'it a string or a large number, or leave it out.'
    )


@contextmanager
def drawing_names_as_written(cfg: Config) -> Iterator[None]:
    """Let the hosts' pictures of a run show its class names as they are.

    A dollar sign would start mathematics otherwise, and end a run that only wants to draw.
    """
    names = [
        str(name)
        for _, dataset in datasets_of_config(cfg)
        for name in (dataset.get('metainfo') or {}).get('classes') or ()
    ]
    with hosts_texts(names):
        yield


def leave_processes() -> None:
    """End the process group, if there is one, and its threads, before this process ends.

    Gloo aborts a process whose partner is gone, so they leave together. It also aborts one that
    ends while a thread of the group still has a tensor to give back to Python. The threads end
    with the last reference to the group, and a model in DDP holds one: call this where no runner is
    in reach any more.
    """
    if dist.is_available() and dist.is_initialized():
        group = dist.group.WORLD
        dist.barrier()
        dist.destroy_process_group()
        gc.collect()  # runners are cycles
        # Ours has to be the last reference: it waits for the threads without holding Python's lock,
        # for which they may be waiting. DDP's would hold it.
        del group


def _prepare_processes(cfg: Config) -> None:
    """Start gloo where there is no GPU, and tell DDP what MMEngine does not.

    MMEngine starts nccl and wraps the model for CUDA. Only Runner hands `find_unused_parameters`
    on, a strategy does not.

    Raises:
        ValueError: The launcher or the strategy needs a GPU, and there is none.
    """
    on_cpu = get_device() == 'cpu'
    if on_cpu and cfg.launcher != 'pytorch':
        raise ValueError(
            f'--launcher {cfg.launcher} gives each process a GPU, and this machine shows none: '
            f'start them with `{STARTED_BY["pytorch"][1]}`, and pass --launcher pytorch.'
        )
    unused = cfg.get('find_unused_parameters', False)
    by_strategy = str(cfg.get('runner_type')).endswith('FlexibleRunner')
    if not on_cpu and not (by_strategy and unused):
        return
    strategy = cfg.get('strategy') or dict(type='DDPStrategy')
    if by_strategy and type_name(strategy) != 'DDPStrategy':
        if not on_cpu:
            return
        raise ValueError(
            f'`strategy` of type {type_name(strategy)} needs a GPU, and this machine shows none: '
            "train without it, or with strategy=dict(type='DDPStrategy')."
        )
    own = strategy.get('model_wrapper') if by_strategy else cfg.get('model_wrapper_cfg')
    wrapper: dict[str, Any] = dict(type='MMDistributedDataParallel', find_unused_parameters=unused)
    wrapper |= own or dict(broadcast_buffers=False)  # as MMEngine has it
    if on_cpu:
        wrapper['device_ids'] = None
        if not dist.is_initialized():
            dist.init_process_group('gloo')
    if by_strategy:
        cfg.strategy = dict(strategy, model_wrapper=wrapper)
    else:
        cfg.model_wrapper_cfg = wrapper
