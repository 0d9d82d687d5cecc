"""A config of a method, made from any config."""

from __future__ import annotations

import copy

import pytest
from mmengine.config import Config
from tiny_models import read_host

import mmdet_ols
from mmdet_ols import apply_method
from mmdet_ols.config_tree import ols_hooks
from mmdet_ols.methods import METHODS

YOLO, RESNET = 'yolo_{}_voc.py', 'resnet56_{}_cifar100.py'
LOSSES = dict(
    ls='LSLoss',
    ols='OLSLoss',
    ols_sparse='OLSSparseLoss',
    ols_single='OLSSingleLoss',
    bootsoft='BootstrapLoss',
    boothard='BootstrapLoss',
    disturblabel='DisturbLabelLoss',
    sce='SCELoss',
    tfkd_reg='TfKDRegLoss',
)


#: Those that know each sample by its number: for softmax classifiers whose images are not mixed.
SAMPLE_METHODS = (
    'm_correction',
    'pencil',
    'deep_self_learning',
    'l2rw',
    'meta_weight_net',
)


def read(name):
    return Config.fromfile(mmdet_ols.config_path(name))


def plain(cfg):
    """What a config trains, without what names the run."""
    names = ('custom_imports', 'applied_method', 'work_dir', 'paper_result', 'paper_cell')
    return {key: value for key, value in cfg.to_dict().items() if key not in names}


@pytest.fixture(scope='module')
def bases():
    """Configs of all kinds: sigmoid, background column, focal, DETR, classifier, smoothed."""
    return dict(
        yolo=read(YOLO.format('hard')),
        resnet=read(RESNET.format('hard')),
        faster=read_host('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'),
        cascade=read_host('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py'),
        retinanet=read_host('retinanet/retinanet_r50_fpn_1x_coco.py'),
        detr=read_host('detr/detr_r50_8xb2-150e_coco.py'),
        mask2former=read_host('mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py'),
        deit=read_host('deit/deit-small_4xb256_in1k.py', 'mmpretrain'),
        resnet_rsb=read_host('resnet/resnet50_8xb256-rsb-a1-600e_in1k.py', 'mmpretrain'),
    )


def methods_for(name):
    """The methods that are defined for the heads of a config."""
    classifiers = ('resnet', 'deit', 'resnet_rsb')
    for method in METHODS:
        if method in ('cutout', 'pairwise_confusion') and name not in ('resnet', 'deit'):
            continue  # for softmax classifiers, and classifiers
        if method in SAMPLE_METHODS and name != 'resnet':
            continue
        if method == 'tfkd_reg' and name in ('yolo', 'retinanet', 'resnet_rsb'):
            continue  # not for sigmoid scores
        if method in ('byot', 'ddgsd') and name != 'resnet':
            continue  # for networks with stages, and where images are not mixed
        if method == 'tfkd_self' and name not in ('resnet', 'deit'):
            continue  # for softmax classifiers
        yield method
    if name in classifiers:
        yield 'cutout+ols'
    if name == 'resnet':
        yield from ('byot+ls', 'byot+ols', 'cutout+ddgsd')


# --- The form of a config ------------------------------------------------------------------------


@pytest.mark.parametrize(
    'name',
    [
        'yolo',
        'resnet',
        'faster',
        'cascade',
        'retinanet',
        'detr',
        'mask2former',
        'deit',
        'resnet_rsb',
    ],
)
def test_all_methods_of_one_base_have_its_hard_form(bases, name):
    base = bases[name]
    before = base.to_dict()
    hard = apply_method(base, 'hard')
    assert apply_method(hard, 'hard').to_dict() == hard.to_dict()
    for method in methods_for(name):
        cfg = apply_method(base, method)
        assert base.to_dict() == before
        assert cfg.applied_method == method
        assert apply_method(cfg, 'hard').to_dict() == hard.to_dict(), method
        assert apply_method(cfg, method).to_dict() == cfg.to_dict(), method
        if method != 'hard':
            assert plain(cfg) != plain(hard), method
        # The new method replaces the old one, whatever that was.
        assert apply_method(cfg, 'ls').to_dict() == apply_method(base, 'ls').to_dict(), method


@pytest.mark.parametrize('names', [YOLO, RESNET])
def test_our_own_configs_differ_in_their_method_only(names):
    hard, ls, ols = (read(names.format(method)) for method in ('hard', 'ls', 'ols'))
    assert plain(apply_method(hard, 'hard')) == plain(apply_method(ls, 'hard'))
    assert plain(apply_method(hard, 'hard')) == plain(apply_method(ols, 'hard'))


@pytest.mark.parametrize('method', LOSSES)
def test_a_written_config_is_read_back_the_same(bases, method, tmp_path):
    cfg = apply_method(bases['faster'], method)
    assert cfg.model.roi_head.bbox_head.loss_cls.type == LOSSES[method]
    cfg.dump(tmp_path / 'config.py')
    again = Config.fromfile(tmp_path / 'config.py')
    assert again.to_dict() == cfg.to_dict()
    assert apply_method(again, method).to_dict() == cfg.to_dict()


def test_the_package_is_imported_where_the_config_trains(bases):
    assert apply_method(bases['detr'], 'ols').custom_imports == dict(
        imports=['mmdet_ols'], allow_failed_imports=False
    )
    for imports in ('mine', ['mine', 'other']):
        cfg = bases['detr'].copy()
        cfg.custom_imports = dict(imports=imports, allow_failed_imports=True)
        expected = (
            ['mine', *imports[1:], 'mmdet_ols'] if imports != 'mine' else ['mine', 'mmdet_ols']
        )
        assert apply_method(cfg, 'ols').custom_imports == dict(
            imports=expected, allow_failed_imports=True
        )


# --- Options -------------------------------------------------------------------------------------


def test_options_may_stand_in_the_text_or_beside_it(bases):
    text = apply_method(bases['yolo'], 'ols:alpha=0.3,start=zeros')
    assert text.to_dict() == apply_method(bases['yolo'], 'ols', alpha=0.3, start='zeros').to_dict()
    assert text.applied_method == 'ols:alpha=0.3,start=zeros'
    loss = text.model.bbox_head.loss_cls
    assert (loss.alpha, loss.start, loss.empty_class) == (0.3, 'zeros', 'keep')
    combined = apply_method(bases['resnet'], 'cutout+ols', size=8, alpha=0.3)
    assert combined.applied_method == 'cutout:size=8+ols:alpha=0.3'


@pytest.mark.parametrize(
    ('name', 'method', 'message'),
    [
        ('yolo', 'ols:alpha=2', r'YOLOV3Head \(model\.bbox_head\): `alpha`.* in \[0, 1\].* got 2'),
        ('yolo', 'ols:start=ones', r'YOLOV3Head.*`start` must be one of .*ones'),
        ('yolo', 'ols:alpha=half', r"`alpha` of ols must be a number, but got 'half'.*alpha=0\.5"),
        ('yolo', 'ols:alpha=None', r'`alpha` of ols must be a number, but got None'),
        ('yolo', 'ols:loss_scale=0', r'`loss_scale` must be above 0, but got 0'),
        ('yolo', 'tfkd_reg', r'YOLOV3Head.*use_sigmoid=True: take LSLoss'),
        ('faster', 'ols:sigmoid_reading=softmax', r'Shared2FCBBoxHead.*for sigmoid scores'),
        ('faster', 'pairwise_confusion', r'Shared2FCBBoxHead.* works on whole images'),
        ('faster', 'cutout', r'Shared2FCBBoxHead: cutout is defined for classifiers'),
        ('resnet', 'cutout:size=0', r'`size` of cutout, .* must be a positive integer, but got 0'),
        ('resnet', 'pairwise_confusion:start=1', r'`start` .*in \[0, 1\), but got 1'),
        ('resnet', 'pairwise_confusion:form=new', r'LinearClsHead.*`form` must be one of'),
    ],
)
def test_values_that_a_method_cannot_take(bases, name, method, message):
    with pytest.raises(ValueError, match=f'(?s){message}'):
        apply_method(bases[name], method)


def test_an_option_of_two_methods_must_be_written_with_its_method(bases, monkeypatch):
    monkeypatch.setitem(METHODS['cutout'].options, 'alpha', 0)
    with pytest.raises(ValueError, match=r'`alpha` belongs to cutout and ols.*cutout:alpha=1'):
        apply_method(bases['resnet'], 'cutout+ols', alpha=1)


def test_what_a_config_says_about_its_method_is_kept():
    cfg = read(YOLO.format('ols'))  # reads sigmoid scores by a softmax
    cfg.model.bbox_head.loss_cls.update(implementation='plain', freeze_confidence=0.9)
    cfg.default_hooks.ols.draw_interval = 5
    again = apply_method(cfg, 'ols', alpha=0.3)
    kept = dict(sigmoid_reading='softmax', implementation='plain', freeze_confidence=0.9, alpha=0.3)
    assert set(kept.items()) <= set(dict(again.model.bbox_head.loss_cls).items())
    assert again.default_hooks.ols == dict(type='OLSHook', draw_interval=5)
    assert apply_method(again, 'ols', start='zeros').applied_method == 'ols:alpha=0.3,start=zeros'
    # Another method knows nothing of them.
    other = apply_method(cfg, 'bootsoft').model.bbox_head.loss_cls
    assert 'sigmoid_reading' not in other and 'implementation' not in other
    assert 'ols' not in apply_method(cfg, 'bootsoft').default_hooks
    boothard = apply_method(apply_method(cfg, 'bootsoft:beta=0.7'), 'boothard')
    assert boothard.model.bbox_head.loss_cls.beta == 0.8


def test_stages_keep_what_each_of_them_says(bases):
    cfg = apply_method(bases['cascade'], 'ols')
    cfg.pop('applied_method')
    for stage, alpha in zip(cfg.model.roi_head.bbox_head, (0.2, 0.4, 0.6)):
        stage.loss_cls.alpha = alpha
    again = apply_method(cfg, 'ols').model.roi_head.bbox_head
    assert [stage.loss_cls.alpha for stage in again] == [0.2, 0.4, 0.6]


def test_the_released_form_weighs_twice_and_is_undone(bases):
    released = 'ols:empty_class=uniform,freeze_confidence=0.88,loss_scale=2'
    cfg = apply_method(bases['resnet'], released)
    assert cfg.model.head.loss.loss_weight == 2 and 'loss_scale' not in cfg.model.head.loss
    assert apply_method(cfg, 'ols').model.head.loss.loss_weight == 2  # named before, so kept
    assert apply_method(cfg, 'ls').model.head.loss.loss_weight == 1


# --- Hooks and data ------------------------------------------------------------------------------


def test_the_hook_comes_with_the_methods_that_roll_over(bases):
    for method in LOSSES:
        if method == 'tfkd_reg':
            continue
        cfg = apply_method(bases['yolo'], method)
        rolls_over = method.startswith('ols')
        assert METHODS[method].rolls_over == rolls_over
        assert cfg.default_hooks.get('ols') == (dict(type='OLSHook') if rolls_over else None)
        assert cfg.default_hooks.checkpoint == bases['yolo'].default_hooks.checkpoint
    own = bases['yolo'].copy()
    own.custom_hooks = [dict(type='mmdet_ols.OLSHook', interval=2), dict(type='EMAHook')]
    assert apply_method(own, 'ols').custom_hooks == own.custom_hooks
    assert 'ols' not in apply_method(own, 'ols').default_hooks
    assert apply_method(own, 'ls').custom_hooks == own.custom_hooks[1:]


@pytest.mark.parametrize('in_config', [None, 'default_hooks', 'custom_hooks'])
def test_arguments_of_the_hook_may_be_given_before_the_method_adds_it(bases, in_config):
    cfg = copy.deepcopy(bases['yolo'])
    hook = dict(type='OLSHook', draw_interval=5) if in_config else None
    if in_config == 'default_hooks':
        cfg.default_hooks.ols = hook
    elif in_config == 'custom_hooks':
        cfg.custom_hooks = [hook]
    cfg.merge_from_dict({'default_hooks.ols.interval': 12})
    expected = dict(hook or dict(type='OLSHook'), interval=12)
    new = apply_method(cfg, 'ols')
    assert ols_hooks(new) == [expected]
    assert ('ols' in new.default_hooks) == (in_config != 'custom_hooks')
    # So that one option serves all methods of a comparison.
    assert 'ols' not in apply_method(cfg, 'hard').default_hooks


def test_hard_takes_out_the_only_hook_of_a_config(bases):
    cfg = copy.deepcopy(bases['yolo'])
    cfg.default_hooks = dict(ols=dict(type='OLSHook'))
    assert not apply_method(cfg, 'hard').get('default_hooks')


def test_data_that_an_epoch_repeats_are_a_warning(bases, said):
    cfg = bases['retinanet'].copy()
    apply_method(cfg, 'ols')
    assert said == []
    dataset = dict(type='RepeatDataset', times=5, dataset=cfg.train_dataloader.dataset)
    # A sample is in one of the parts.
    others = [cfg.train_dataloader.dataset, dict(dataset, times=3)]
    dataset = dict(type='ConcatDataset', datasets=[dataset, *others])
    cfg.train_dataloader = dict(cfg.train_dataloader, dataset=dict(dataset))
    apply_method(cfg, 'ls')
    assert said == []
    apply_method(cfg, 'ols')
    assert len(said) == 1 and '5 passes' in said[0] and 'remove the RepeatDataset, and' in said[0]
    assert 'every epoch' in said[0]
    cfg.train_dataloader.dataset.datasets[0].dataset = dict(
        type='RepeatDataset', times=2, dataset=dict(type='CocoDataset')
    )
    cfg.train_cfg = dict(by_epoch=False, max_iters=9)
    apply_method(cfg, 'ols')
    assert '10 passes' in said[1] and said[1].endswith('remove the RepeatDataset.')
    assert 'epoch' not in said[1]
    # An interval in iterations has nothing to do with it.
    cfg.default_hooks.ols = dict(type='OLSHook', interval=1000)
    apply_method(cfg, 'ols')
    assert len(said) == 2


def test_pairwise_confusion_begins_late(bases):
    base = bases['resnet']
    cfg = apply_method(base, 'pairwise_confusion')
    assert cfg.model.head.loss == apply_method(base, 'hard').model.head.loss
    hook = cfg.default_hooks.pairwise_confusion
    assert (hook.type, hook.action_epoch) == ('LateLossHook', 201)
    assert hook.loss.type == 'PairwiseConfusionLoss' and hook.loss.num_classes == 100
    base = base.copy()
    base.train_cfg = dict(by_epoch=True, max_epochs=100)
    cfg = apply_method(base, 'pairwise_confusion', start=0.29, form='released')
    hook = cfg.default_hooks.pairwise_confusion
    assert (hook.action_epoch, hook.loss.form) == (30, 'released')
    at_once = apply_method(base, 'pairwise_confusion', start=0)
    assert at_once.model.head.loss.type == 'PairwiseConfusionLoss'
    assert 'pairwise_confusion' not in at_once.default_hooks
    base.train_cfg = dict(by_epoch=False, max_iters=100)
    with pytest.raises(ValueError, match='needs train_cfg.max_epochs.*set start=0'):
        apply_method(base, 'pairwise_confusion')


def test_a_recipe_that_the_config_switches_to_stays_without_a_loss_of_ours(bases, said):
    cfg = bases['resnet'].copy()
    augments = dict(action_epoch=10, batch_augments=None)
    ours = dict(type='OLSLoss', num_classes=100)
    cfg.custom_hooks = [
        dict(
            type='SwitchRecipeHook',
            schedule=[dict(augments, loss=ours), dict(action_epoch=20, loss=ours)],
        )
    ]
    assert apply_method(cfg, 'hard').custom_hooks == [
        dict(type='SwitchRecipeHook', schedule=[augments])
    ]
    late = dict(type='LateLossHook', action_epoch=20)
    own = Config(dict(cfg.to_dict(), custom_hooks=[dict(late, loss=ours)]))
    assert 'custom_hooks' not in apply_method(own, 'hard')
    own.custom_hooks[0].loss = dict(type='mmpretrain.CrossEntropyLoss')
    with pytest.raises(ValueError, match='LateLossHook replaces .* CrossEntropyLoss at epoch 20'):
        apply_method(own, 'ols')
    cfg.custom_hooks[0].schedule[1].loss = dict(type='mmpretrain.CrossEntropyLoss')
    with pytest.raises(
        ValueError, match='SwitchRecipeHook replaces .* CrossEntropyLoss at epoch 20'
    ):
        apply_method(cfg, 'ols')
    said.clear()
    assert len(apply_method(cfg, 'hard').custom_hooks[0].schedule) == 2
    (message,) = said
    assert message.endswith('by CrossEntropyLoss at epoch 20. It stays as it is.')


# --- CutOut --------------------------------------------------------------------------------------


def test_cutout_follows_the_other_transforms_of_a_batch(bases):
    dataset = apply_method(bases['resnet'], 'cutout').train_dataloader.dataset
    assert [step.type for step in dataset.batch_transforms] == [
        'BatchRandomCrop',
        'BatchRandomFlip',
        'BatchCutOut',
    ]
    # Half of 32 pixels, and the mean as CIFAR's own arrays have their channels.
    mean = bases['resnet'].data_preprocessor.mean
    assert dataset.batch_transforms[-1] == dict(type='BatchCutOut', size=16, fill=mean)
    assert apply_method(bases['resnet'], 'cutout', size=8, fill=[0.0] * 3).train_dataloader.dataset[
        'batch_transforms'
    ][-1] == dict(type='BatchCutOut', size=8, fill=[0.0] * 3)


def test_cutout_stands_before_an_image_is_packed(bases):
    base = read_host('resnet/resnet50_8xb32_in1k.py', 'mmpretrain')
    cfg = apply_method(base, 'cutout')
    before, after = (c.train_dataloader.dataset.pipeline for c in (base, cfg))
    assert after[:-2] == before[:-1] and after[-1] == before[-1]
    mean = list(reversed(base.data_preprocessor.mean))  # images are loaded as BGR
    assert after[-2] == dict(type='CutOutSquare', size=112, fill=mean)
    assert cfg.val_dataloader == base.val_dataloader
    with pytest.raises(ValueError, match='have CutOutSquare already'):
        apply_method(Config({**cfg.to_dict(), 'applied_method': None}), 'cutout')
    # What the config itself blanks is its own business: another method leaves it alone.
    own = Config({key: value for key, value in cfg.to_dict().items() if key != 'applied_method'})
    assert apply_method(own, 'ols').train_dataloader == own.train_dataloader


def test_the_square_is_half_of_what_the_last_transform_leaves():
    base = read_host('resnet/resnet50_8xb32_in1k.py', 'mmpretrain')
    steps = [dict(type='Resize', scale=(256, 300)), dict(type='RandomCrop', crop_size=224)]
    for count, size in ((2, 112), (1, 128)):
        base.train_dataloader.dataset.pipeline = [*steps[:count], dict(type='PackInputs')]
        assert apply_method(base, 'cutout').train_dataloader.dataset.pipeline[-2].size == size


def test_cutout_goes_on_in_the_pipeline_of_a_later_epoch():
    base = read_host('resnet/resnet50_8xb32_in1k.py', 'mmpretrain')
    larger = [dict(type='RandomResizedCrop', scale=288), dict(type='PackInputs')]
    schedule = [
        dict(action_epoch=9, batch_augments=None),
        dict(action_epoch=10, train_pipeline=larger),
    ]
    base.custom_hooks = [dict(type='SwitchRecipeHook', schedule=schedule)]
    cfg = apply_method(base, 'cutout')
    first, second = cfg.custom_hooks[0].schedule
    assert first == schedule[0]
    assert [(step.type, step.get('size')) for step in second.train_pipeline] == [
        ('RandomResizedCrop', None),
        ('CutOutSquare', 144),
        ('PackInputs', None),
    ]
    assert apply_method(cfg, 'hard').to_dict() == apply_method(base, 'hard').to_dict()


def test_cutout_needs_training_data(bases):
    cfg = bases['resnet'].to_dict()
    cfg['train_dataloader'] = None
    with pytest.raises(ValueError, match='no `train_dataloader` with a data set'):
        apply_method(Config(cfg), 'cutout')


@pytest.mark.parametrize(
    ('pipeline', 'message'),
    [
        ([dict(type='RandomCrop', crop_size=32)], r'must end by packing.*RandomCrop'),
        ([dict(type='LoadImageFromFile'), dict(type='PackInputs')], r'`size` .*must be given'),
    ],
)
def test_pipelines_that_cutout_does_not_understand(pipeline, message):
    base = read_host('resnet/resnet50_8xb32_in1k.py', 'mmpretrain')
    base.train_dataloader.dataset.pipeline = pipeline
    with pytest.raises(ValueError, match=message):
        apply_method(base, 'cutout')
