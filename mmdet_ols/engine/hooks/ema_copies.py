"""Averaged copies of a model, which have to follow when the model gets another loss."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable
from typing import Any

from torch import nn

from mmdet_ols.core import state_name, state_paths


def copy_changed_losses(hooks: Iterable[Any], model: nn.Module, names: set[str]) -> None:
    """Put the losses that a model has now into the copies that `EMAHook` keeps of it.

    EMAHook copies the model once, before the run, and pairs the buffers of the two by their order
    and by their names. A state that one of them lacks would make it fail, or average the wrong
    ones.

    Args:
        hooks: Those of the runner.
        model: The model in training, not wrapped.
        names: Of the losses that have changed, come or gone.
    """
    from mmengine.hooks import EMAHook

    for hook in hooks:
        averaged = getattr(hook, 'ema_model', None)
        if isinstance(hook, EMAHook) and averaged is not None:
            _replace(averaged.module, model, names)
            if averaged.update_buffers:
                averaged.avg_parameters = averaged.module.state_dict()
            else:
                averaged.avg_parameters = dict(averaged.module.named_parameters())


def _replace(target: nn.Module, model: nn.Module, names: set[str]) -> None:
    there = state_paths(target)
    # A state that a new loss shares with an old one is not copied again.
    memo: dict[int, Any] = {
        id(state): there[path]
        for path, state in state_paths(model).items()
        if path in there and state_name(path) not in names
    }
    for name in sorted(names):
        parent, _, own = name.rpartition('.')
        with contextlib.suppress(AttributeError):  # no such head: EMAHook cannot follow that
            module = getattr(model.get_submodule(parent), own, None)
            if isinstance(module, nn.Module):
                module = copy.deepcopy(module, memo).requires_grad_(False)
            setattr(target.get_submodule(parent), own, module)
