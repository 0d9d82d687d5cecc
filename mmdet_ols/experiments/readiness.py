"""Finding what would stop a run before hours are spent on the others."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS, DefaultScope
from mmengine.utils import is_method_overridden
from torch import nn

from mmdet_ols.checks.building import building_errors
from mmdet_ols.checks.data import check_datasets
from mmdet_ols.checks.downloads import fetch_datasets
from mmdet_ols.checks.evaluation import check_evaluation
from mmdet_ols.checks.logs import warn
from mmdet_ols.checks.losses import check_losses
from mmdet_ols.checks.pretrained import check_pretrained
from mmdet_ols.checks.schedules import schedule_warnings
from mmdet_ols.checks.start import resumes_by_itself, weights_at_start
from mmdet_ols.config_tree import all_hooks, hooks_of_kind
from mmdet_ols.datasets.tree import SPLITS
from mmdet_ols.engine.tta import use_tta


def check_ready(
    configs: Iterable[tuple[str, Config]], strict: bool = False, tta: bool = False
) -> None:
    """Make sure that runs can start: hooks, losses, model, data and pretrained weights.

    Args:
        configs: Resolved configs, each with the name to give in errors.
        strict: Whether what may be wrong with the data is an error rather than a warning.
        tta: Whether they are tested with test-time augmentation.

    Raises:
        ValueError: A model cannot be built, or a data set is wrong.
    """
    checked_data: list[Any] = []
    reported: list[Any] = []
    warned: list[str] = []
    for name, cfg in configs:
        try:
            _check_scalars(cfg)
            _check_places(cfg)
            _check_length(cfg)
            if resumes_by_itself(cfg):  # with every seed from the same checkpoint
                raise ValueError(resumes_by_itself(cfg))
            hooks_of_tests(cfg)
            check_losses(cfg)
            for warning in schedule_warnings(cfg):
                if warning not in warned:
                    warned.append(warning)
                    warn(warning)
            model = _built_model(cfg)
            if tta:
                tested = deepcopy(cfg)
                use_tta(tested)
                _built_model(tested)
            parts = ('dataloader', 'evaluator')
            data = [cfg.get(f'{split}_{part}') for split in SPLITS for part in parts]
            if data not in checked_data:  # mostly the same for all
                checked_data.append(data)
                check_datasets(cfg, strict=strict)
                fetch_datasets(cfg)  # once here, rather than in several runs at a time
                check_evaluation(cfg)
            check_pretrained(cfg)
            report = weights_at_start(model, cfg.get('load_from'))
            if report.rows not in reported:
                reported.append(report.rows)
                report.say()
            report.raise_errors(strict)
        except (ValueError, TypeError, OSError, ImportError) as error:
            raise ValueError(f'{name}: {error}') from error


def hooks_of_tests(cfg: Config) -> list[str]:
    """List the hooks that do something in tests which they do not do in validations.

    Raises:
        ValueError: A hook is not known.
    """
    only_in_tests = []
    with HOOKS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        for hook in filter(None, all_hooks(cfg)):
            name = hook['type']
            kind = registry.get(name) if isinstance(name, str) else name
            if kind is None:
                raise ValueError(f'No hook is registered as {name!r}: correct its `type`.')
            # Not every hook can be built without a Runner, but most need not be for this.
            own = is_method_overridden('get_triggered_stages', Hook, kind)
            stages = kind.get_triggered_stages(registry.build(hook) if own else kind)
            if any('test' in s and s.replace('test', 'val') not in stages for s in stages):
                only_in_tests.append(str(name))
    return only_in_tests


def _check_scalars(cfg: Config) -> None:
    """Results are read from the files of LocalVisBackend, which MMEngine's own visualizer has."""
    visualizer = cfg.get('visualizer')
    if visualizer is None:
        return
    backends = visualizer.get('vis_backends') or []
    if isinstance(backends, dict):
        backends = [backends]
    if not any('LocalVisBackend' in str(backend.get('type')) for backend in backends):
        raise ValueError(
            "visualizer.vis_backends must hold dict(type='LocalVisBackend'), whose files hold the "
            f'results, but got {backends}.'
        )


def _check_places(cfg: Config) -> None:
    """Checkpoints are read from the folders of the runs.

    MMEngine names a folder in `out_dir` after the last part of the work directory, which is the
    seed: the runs of all methods would overwrite each other's checkpoints.
    """
    for name, hook in hooks_of_kind(cfg, 'CheckpointHook').items():
        if hook.get('out_dir'):
            raise ValueError(
                f'{name}.out_dir must not be set where several runs are compared, since they would '
                f'share a folder there, but got {hook["out_dir"]!r}. Leave it out (--cfg-options '
                f'{name}.out_dir=None), and say with --work-dir where the folders of the runs go.'
            )


def _check_length(cfg: Config) -> None:
    """The result of a run is that of its last epoch, which is the same one for all."""
    for name in hooks_of_kind(cfg, 'EarlyStoppingHook'):
        raise ValueError(
            f'{name} must not be an EarlyStoppingHook where runs are compared: all have the same '
            'length, since a method that ends earlier also has another learning rate at its end. '
            'Leave the hook out; the table has the best epoch of each run as well where '
            'validations see the test set.'
        )


def _built_model(cfg: Config) -> nn.Module:
    """Build the model once: a misspelt argument shows here, not when its turn has come."""
    try:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')), building_errors(cfg):
            return MODELS.build(deepcopy(cfg.model))
    except Exception as error:  # whatever a model's code raises
        raise ValueError(f'the model cannot be built: {error}') from error
