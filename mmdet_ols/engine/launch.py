"""Building MMEngine's Runner, on GPUs and on machines that have none."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn


def build_runner(cfg: Config) -> Runner:
    """Build the Runner that the config asks for; several processes work without a GPU too.

    `channels_last = True` in the config stores the weights in that memory format, in which
    convolutions on CPUs (and in mixed precision on GPUs) run faster. The results are the same.
    """
    if cfg.get('launcher', 'none') == 'pytorch' and get_device() == 'cpu':
        _use_cpu_processes(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if cfg.get('channels_last') and isinstance(runner.model, nn.Module):
        runner.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return runner


def _use_cpu_processes(cfg: Config) -> None:
    """MMEngine's launcher and its DDP wrapper expect CUDA; start gloo and say so to the wrapper."""
    if not dist.is_initialized():
        dist.init_process_group('gloo')
    wrapper: dict[str, Any] = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    wrapper.update(cfg.get('model_wrapper_cfg') or {})
    wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper
