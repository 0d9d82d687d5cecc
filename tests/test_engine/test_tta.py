"""Test-time augmentation of configs that have none of their own."""

import pytest
import torch
from mmdet.registry import TRANSFORMS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import Compose
from PIL import Image

from mmdet_ols import config_path
from mmdet_ols.engine.tta import use_tta


def test_default_augmentation_leaves_the_ground_truth_as_it_is(tmp_path):
    """Metrics compare with the annotations of the first view, which is the mirrored one."""
    register_all_modules()
    Image.new('RGB', (200, 100)).save(tmp_path / 'image.png')
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs', meta_keys=('img_id',)),
    ]
    dataset = dict(type='Repeat', dataset=dict(pipeline=pipeline))
    cfg = Config(
        dict(default_scope='mmdet', model=dict(type='A'), test_dataloader=dict(dataset=dataset))
    )
    use_tta(cfg)
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module.type == 'A'
    steps = Compose(
        [TRANSFORMS.build(step) for step in cfg.test_dataloader.dataset.dataset.pipeline]
    )
    box = [10.0, 10.0, 30.0, 30.0]
    views = steps(
        dict(
            img_path=str(tmp_path / 'image.png'),
            img_id=1,
            instances=[dict(bbox=box, bbox_label=0, ignore_flag=0)],
        )
    )
    assert [sample.flip for sample in views['data_samples']] == [True, False]
    for sample in views['data_samples']:
        torch.testing.assert_close(sample.gt_instances.bboxes.tensor, torch.tensor([box]))


def test_augmented_tests_of_a_config_without_its_own_take_three_sizes(tmp_path):
    Image.new('RGB', (200, 100)).save(tmp_path / 'image.png')
    cfg = Config.fromfile(config_path('heads/fcos_ols.py'))
    assert 'tta_pipeline' not in cfg
    use_tta(cfg)
    steps = Compose([TRANSFORMS.build(step) for step in cfg.test_dataloader.dataset.pipeline])
    box = [10.0, 10.0, 30.0, 30.0]
    views = steps(
        dict(
            img_path=str(tmp_path / 'image.png'),
            img_id=1,
            instances=[dict(bbox=box, bbox_label=0, ignore_flag=0)],
        )
    )['data_samples']
    # 1333 x 800 pixels at most: a factor of 6.665, and three and five quarters of it.
    widths = sorted((sample.img_shape[1], sample.flip) for sample in views)
    expected = [
        (1000, False),
        (1000, True),
        (1333, False),
        (1333, True),
        (1666, False),
        (1666, True),
    ]
    assert widths == expected
    for sample in views:
        torch.testing.assert_close(sample.gt_instances.bboxes.tensor, torch.tensor([box]))


def classifier(**more):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    images = dict(type='InMemoryDataset', dataset=dict(type='CustomDataset', pipeline=pipeline))
    loader = dict(test_dataloader=dict(dataset=images))
    return Config(dict(default_scope='mmpretrain', model=dict(type='A'), **{**loader, **more}))


def test_a_config_that_has_augmentation_already_stays_as_it_is():
    cfg = classifier()
    use_tta(cfg)
    once = cfg.to_dict()
    use_tta(cfg)
    assert cfg.to_dict() == once and cfg.model.module == dict(type='A')


def test_images_that_lay_in_memory_are_loaded_in_every_view():
    cfg = classifier()
    use_tta(cfg)
    dataset = cfg.test_dataloader.dataset
    assert dataset.type == 'CustomDataset' and dataset.pipeline[-1].type == 'TestTimeAug'


def test_parts_that_are_none_are_as_if_they_were_not_there():
    cfg = classifier(tta_model=None, tta_pipeline=None)
    use_tta(cfg)
    assert cfg.model.type == 'AverageClsScoreTTA'
    use_tta(classifier(test_dataloader=None))  # MMEngine says what is missing


def test_a_hook_that_draws_one_view_is_refused():
    hooks = dict(visualization=dict(type='VisualizationHook', enable=True))
    with pytest.raises(ValueError, match=r'--tta does not go with .*leave --show, --show-dir'):
        use_tta(classifier(default_hooks=hooks))
