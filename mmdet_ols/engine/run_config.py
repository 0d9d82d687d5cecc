"""From a config file and the options of a command line to the config that is run."""

from __future__ import annotations

import argparse
import os
from copy import deepcopy
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.registry import METRICS
from mmengine.runner import Runner

from mmdet_ols.checks.checkpoints import only_safe_loading, trust_checkpoints
from mmdet_ols.checks.data import listing
from mmdet_ols.engine.cpu_amp import CPUAmpOptimWrapper


def read_config(args: argparse.Namespace) -> Config:
    """Read the config of a command line, with its overrides, and set the loading of checkpoints."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    (trust_checkpoints if args.trust_checkpoint else only_safe_loading)()
    try:
        cfg = Config.fromfile(args.config)
    except FileNotFoundError as error:
        path = Path(os.path.normpath(error.filename or args.config))
        if path.suffix != '.py' or path.exists():
            raise  # something that the config reads, and says more about
        # Mostly an environment variable that names no file of `_base_`.
        raise FileNotFoundError(f'{path} does not exist: {listing(path, 20)}.') from error
    cfg.launcher = args.launcher
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    return cfg


def use_amp(cfg: Config) -> None:
    """Train in mixed precision: MMEngine's own on a GPU, bfloat16 autocast on a CPU.

    Raises:
        ValueError: The processor has no bfloat16 instructions, so that it would only get slower, or
            the config's strategy casts by itself.
    """
    if cfg.optim_wrapper.get('type') == 'DeepSpeedOptimWrapper':
        raise ValueError(
            '--amp does not go with DeepSpeed, which casts by itself: leave it out, and set '
            'strategy.bf16=dict(enabled=True) (or fp16) in the config.'
        )
    if get_device() != 'cpu':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    elif torch.ops.mkldnn._is_mkldnn_bf16_supported():
        cfg.optim_wrapper.type = CPUAmpOptimWrapper.__name__
        cfg.optim_wrapper.pop('loss_scale', None)
    else:
        raise ValueError(
            '--amp needs a GPU or a processor with bfloat16 instructions (AVX512 or AMX), and this '
            'machine shows neither: leave it out.'
        )


def use_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate with the total batch size.

    Raises:
        ValueError: The config does not say which batch size its learning rate is meant for.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError(
            '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) in the config: N is the '
            'total batch size that its learning rate is meant for.'
        )
    cfg.auto_scale_lr.enable = True


def use_visualization(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Draw the predictions, with the visualization hook of the config's host.

    Raises:
        ValueError: The config has no such hook.
    """
    hook = cfg.get('default_hooks', {}).get('visualization')
    if not hook:
        raise ValueError(
            '--show and --show-dir need default_hooks.visualization in the config '
            "(type='DetVisualizationHook' in MMDetection, 'VisualizationHook' in MMPretrain)."
        )
    hook.update(show=show, wait_time=wait_time)
    if cfg.get('default_scope') == 'mmpretrain':
        hook.update(enable=True, out_dir=show_dir)
    else:
        hook.update(draw=True, test_out_dir=show_dir)


def save_predictions(runner: Runner, path: str) -> None:
    """Save the predictions of a test as a pickle file, as the hosts' tools do."""
    scope = runner.cfg.get('default_scope')
    kind = 'mmdet.DumpDetResults' if scope == 'mmdet' else 'DumpResults'
    runner.test_evaluator.metrics.append(METRICS.build(dict(type=kind, out_file_path=path)))


def use_tta(cfg: Config) -> None:
    """Test with the config's own test-time augmentation, or a plain one where it has none.

    That is mirror images, and for detectors three sizes around the config's own.

    Raises:
        ValueError: The config has no model for it, and is for neither of the hosts.
    """
    defaults = {
        'mmdet': dict(
            type='DetTTAModel',
            tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
        ),
        'mmpretrain': dict(type='AverageClsScoreTTA'),
    }
    scope = cfg.get('default_scope')
    if 'tta_model' not in cfg:
        if scope not in defaults:
            raise ValueError(
                f'--tta needs `tta_model` in a config whose default_scope is {scope!r}.'
            )
        cfg.tta_model = defaults[scope]
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if 'tta_pipeline' not in cfg:
        *steps, pack = deepcopy(dataset.pipeline)
        # Annotations come after the flips: metrics compare with those of the original image.
        load = [step for step in steps if step['type'].endswith('LoadAnnotations')]
        steps = [step for step in steps if step not in load]
        if scope == 'mmdet':
            known = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
            pack['meta_keys'] = (*known, 'flip', 'flip_direction')
        flips = [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)]
        sizes = [step for step in steps if scope == 'mmdet' and step['type'].endswith('Resize')]
        first = steps.index(sizes[0]) if sizes else len(steps)
        transforms = [
            *(_resized(step) if step in sizes else [step] for step in steps[first:]),
            flips,
            *([step] for step in load),
            [pack],
        ]
        cfg.tta_pipeline = [*steps[:first], dict(type='TestTimeAug', transforms=transforms)]
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def _resized(step: ConfigDict) -> list[ConfigDict]:
    """A resizing transform at three quarters of its size, at its size, and at five quarters."""
    if not isinstance(step.get('scale'), (list, tuple)):
        return [step]
    return [
        ConfigDict(step, scale=tuple(round(factor * side) for side in step['scale']))
        for factor in (0.75, 1.0, 1.25)
    ]
