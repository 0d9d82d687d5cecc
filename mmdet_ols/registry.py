"""The only door to the host registries.

Everything is registered once, in MMEngine's root registries, where every host's scope finds it.
Without MMEngine nothing is registered; losses and networks work all the same.
"""

from __future__ import annotations

from typing import Any, Callable

from mmdet_ols.host_imports import HOW_TO_INSTALL, host_import_errors

try:
    from mmengine.evaluator import BaseMetric
    from mmengine.hooks import Hook
    from mmengine.model import BaseModule
    from mmengine.registry import (
        DATASETS,
        FUNCTIONS,
        HOOKS,
        LOOPS,
        METRICS,
        MODELS,
        OPTIM_WRAPPERS,
        TRANSFORMS,
    )
    from mmengine.runner import EpochBasedTrainLoop
except ImportError as error:
    if error.name != 'mmengine':  # MMEngine is there but broken: hiding that would not help
        with host_import_errors():
            raise

    from torch import nn

    class _NeedsMMEngine:
        """Stands in for MMEngine's base classes: ours can be imported, and say what they lack."""

        instead = ''

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            raise ImportError(
                f'{type(self).__name__} runs inside MMEngine, which is not installed: '
                f'{HOW_TO_INSTALL}.{self.instead}'
            )

    class Hook(_NeedsMMEngine):  # type: ignore[no-redef]
        instead = ' Without it, call update_soft_labels() after every epoch of your own loop.'

    class BaseMetric(_NeedsMMEngine):  # type: ignore[no-redef]
        pass

    class EpochBasedTrainLoop(_NeedsMMEngine):  # type: ignore[no-redef]
        pass

    class BaseModule(nn.Module):  # type: ignore[no-redef]
        def __init__(self, init_cfg: Any = None) -> None:
            super().__init__()
            if init_cfg is not None:
                raise ImportError(
                    f'`init_cfg` of {type(self).__name__} needs MMEngine, which is not installed. '
                    'Remedy: leave it out, and call load_state_dict() on the network.'
                )

    def _no_registry(cls: Any) -> Any:
        return cls

    register_model: Callable[[type], type] = _no_registry
    register_hook: Callable[[type], type] = _no_registry
    register_loop: Callable[[type], type] = _no_registry
    register_optim_wrapper: Callable[[type], type] = _no_registry
    register_metric: Callable[[type], type] = _no_registry
    register_dataset: Callable[[type], type] = _no_registry
    register_transform: Callable[[type], type] = _no_registry
    register_function: Callable[[Callable], Callable] = _no_registry
else:
    register_model = MODELS.register_module()
    register_hook = HOOKS.register_module()
    register_loop = LOOPS.register_module()
    register_optim_wrapper = OPTIM_WRAPPERS.register_module()
    register_metric = METRICS.register_module()
    register_dataset = DATASETS.register_module()
    register_transform = TRANSFORMS.register_module()
    register_function = FUNCTIONS.register_module()

__all__ = [
    'BaseMetric',
    'BaseModule',
    'EpochBasedTrainLoop',
    'Hook',
    'register_dataset',
    'register_function',
    'register_hook',
    'register_loop',
    'register_metric',
    'register_model',
    'register_optim_wrapper',
    'register_transform',
]
