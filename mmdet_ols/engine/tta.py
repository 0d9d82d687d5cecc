"""Test-time augmentation, also for configs that have none of their own."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from mmengine.config import Config, ConfigDict

from mmdet_ols.config_tree import hook_configs, type_name
from mmdet_ols.datasets.tree import IN_MEMORY, leaf_datasets, map_datasets

#: By the `default_scope` of the config.
MODELS: dict[Any, dict[str, Any]] = {
    'mmdet': dict(
        type='DetTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    ),
    'mmpretrain': dict(type='AverageClsScoreTTA'),
}


def use_tta(cfg: Config) -> None:
    """Test with the config's own test-time augmentation, or a plain one where it has none.

    The plain one takes the image and its mirror image, and for detectors of MMDetection three sizes
    around the config's own. Images are loaded one by one, without `InMemoryDataset`.

    Raises:
        ValueError: The config lacks a part of it, and is for neither MMDetection nor MMPretrain; or
            MMPretrain's VisualizationHook is to draw, which expects one view of each image.
    """
    if not cfg.get('test_dataloader'):
        return  # MMEngine says what a test needs
    scope = cfg.get('default_scope')
    absent = [f'`{key}`' for key in ('tta_model', 'tta_pipeline') if not cfg.get(key)]
    if absent and scope not in MODELS:
        raise ValueError(
            f'--tta needs {" and ".join(absent)} in a config whose default_scope is {scope!r}.'
        )
    if any(hook.get('enable') for hook in hook_configs(cfg, 'VisualizationHook')):
        raise ValueError(
            "--tta does not go with MMPretrain's VisualizationHook, which draws one view of each "
            'image: leave --show, --show-dir and `enable=True` of the hook out.'
        )
    cfg.test_dataloader.dataset = map_datasets(
        cfg.test_dataloader.dataset,
        lambda node: node['dataset'] if type_name(node) == IN_MEMORY else node,
    )
    datasets = list(leaf_datasets(cfg.test_dataloader.dataset))
    if not cfg.get('tta_pipeline'):
        cfg.tta_pipeline = _plain_pipeline(datasets[0].pipeline, is_detector=scope == 'mmdet')
    for dataset in datasets:
        dataset.pipeline = cfg.tta_pipeline
        # In it MMYOLO says which size every image of a batch gets, whatever the pipeline asks for.
        dataset.pop('batch_shapes_cfg', None)
    tta_model = cfg.get('tta_model') or MODELS[scope]
    if type_name(cfg.model) != type_name(tta_model):  # which it is where such a test dumped it
        cfg.tta_model, cfg.model = tta_model, ConfigDict(**tta_model, module=cfg.model)


def _plain_pipeline(pipeline: list[ConfigDict], is_detector: bool) -> list[dict[str, Any]]:
    """A pipeline for testing, with mirror images, and for detectors with three sizes."""
    *steps, pack = deepcopy(pipeline)
    # Annotations come after the flips: metrics compare with those of the original image.
    load = [step for step in steps if step['type'].endswith('LoadAnnotations')]
    steps = [step for step in steps if step not in load]
    sizes = []
    if is_detector:
        known = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
        pack['meta_keys'] = (*known, 'flip', 'flip_direction')
        sizes = [step for step in steps if step['type'].endswith('Resize')]
    first = steps.index(sizes[0]) if sizes else len(steps)
    transforms = [
        *(_resized(step) if step in sizes else [step] for step in steps[first:]),
        [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)],
        *([step] for step in load),
        [pack],
    ]
    return [*steps[:first], dict(type='TestTimeAug', transforms=transforms)]


def _resized(step: ConfigDict) -> list[ConfigDict]:
    """A resizing transform at three quarters of its size, at its size, and at five quarters."""
    if not isinstance(step.get('scale'), (list, tuple)):
        return [step]
    return [
        ConfigDict(step, scale=tuple(round(factor * side) for side in step['scale']))
        for factor in (0.75, 1.0, 1.25)
    ]
