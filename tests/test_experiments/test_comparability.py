"""Which runs may be compared, and which folders may be reused."""

from __future__ import annotations

import pytest
from mmengine.config import Config
from toy_runs import make_start, trained

from mmdet_ols.experiments.comparability import Forms, check_comparable, check_same_config
from mmdet_ols.experiments.settings import flat_settings, settings_key

CONFIG = """
model = dict(
    type='YOLOV3', backbone=dict(depth=18),
    bbox_head=dict(type='YOLOV3Head', loss_cls=dict(type='CrossEntropyLoss', loss_weight=1.0)),
)
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=[dict(type='Resize', scale=(2, 2))]))
optim_wrapper = dict(optimizer=dict(lr=0.1))
default_hooks = dict(logger=dict(type='LoggerHook', interval=10))
randomness = dict(seed=0)
load_from = None
"""


def config(text='', **values):
    cfg = Config.fromstring(CONFIG + text, '.py')
    cfg.merge_from_dict(values)
    return cfg


def settings(text='', **values):
    return flat_settings(config(text, **values))


def forms(trained='', hard='', **values):
    """A row whose config is a method's (`trained`), and what is left of it without the method."""
    trained, hard = settings(trained, **values), settings(hard, **values)
    return Forms(trained, trained, hard)


OLS = """
custom_imports = dict(imports=['mmdet_ols'])
max_epochs = 3
work_dir = 'elsewhere'
paper_result = dict(value=82.7)
applied_method = 'ols'
default_hooks['ols'] = dict(type='OLSHook')
model['bbox_head']['loss_cls'] = dict(type='OLSLoss', num_classes=20)
"""


def test_methods_and_what_nobody_reads_may_differ():
    assert check_comparable({'hard': forms(), 'ols': forms(OLS)}) == {
        'ols': {
            'default_hooks.ols.type': ('(absent)', 'OLSHook'),
            'model.bbox_head.loss_cls.type': ('CrossEntropyLoss', 'OLSLoss'),
            'model.bbox_head.loss_cls.num_classes': ('(absent)', 20),
            'model.bbox_head.loss_cls.loss_weight': (1.0, '(absent)'),
        }
    }


def test_the_order_of_a_set_does_not_count():
    """Another process has another one."""
    texts = [f"model['ignored'] = {{{numbers}}}\n" for numbers in ('0, 8', '8, 0')]
    first, second = (settings(text) for text in texts)
    assert settings_key(first) == settings_key(second)
    assert settings_key(first) != settings_key(settings("model['ignored'] = {0, 7}\n"))


OTHERS = [
    ('optim_wrapper.optimizer.lr', 0.2, r'optim_wrapper\.optimizer\.lr: 0\.1 \(a\), 0\.2 \(b\)'),
    ('optim_wrapper.loss_scale', 2.0, r'loss_scale: \(absent\) \(a\), 2\.0 \(b\)'),
    ('model.backbone.depth', 50, r'model\.backbone\.depth: 18 \(a\), 50 \(b\)'),
    ('model.bbox_head.type', 'SSDHead', r"'YOLOV3Head' \(a\), 'SSDHead' \(b\)"),
    ('model.bbox_head.loss_bbox.type', 'L1', r"loss_bbox\.type: \(absent\) \(a\), 'L1' \(b\)"),
    ('train_dataloader.dataset.pipeline.0.scale', (2, 4), r'pipeline\.0\.scale\.1: 2 .*4 '),
    ('default_hooks.logger.interval', 20, r'interval: 10 \(a\), 20 \(b\)'),
    ('randomness.seed', 1, r'randomness\.seed: 0 \(a\), 1 \(b\)'),
    ('custom_hooks', [dict(type='EMAHook')], r"custom_hooks\.0\.type: \(absent\) .*'EMAHook'"),
]


@pytest.mark.parametrize(('key', 'value', 'message'), OTHERS)
def test_what_differs_besides_the_method_is_refused_unless_allowed(key, value, message):
    rows = {'a': forms(), 'b': forms(OLS, **{key: value})}
    with pytest.raises(ValueError, match=f'b cannot be compared with a(?s:.*){message}'):
        check_comparable(rows)
    assert check_comparable(rows, [key])['b']
    assert check_comparable(rows, [key.split('.')[0]])['b']
    similar = f"no config has '{key[:-1]}'; similar are: .*{key}"
    with pytest.raises(ValueError, match=similar):
        check_comparable(rows, [key[:-1]])  # no key, only how one begins


def test_methods_of_one_config_are_comparable_whatever_they_change():
    """Data and schedule included, which no other row may change: the base is the same."""
    plain = settings()
    changed = settings(OLS, **{'train_dataloader.batch_size': 4, 'train_cfg.max_epochs': 9})
    rows = {'hard': Forms(plain, plain, plain), 'cutout+ols': Forms(changed, plain, plain)}
    assert 'train_dataloader.batch_size' in check_comparable(rows)['cutout+ols']
    rows['b'] = forms(**{'train_dataloader.batch_size': 4})
    with pytest.raises(ValueError, match='b cannot be compared with hard'):
        check_comparable(rows)


def test_where_no_method_can_be_undone_configs_are_compared_as_they_are():
    a, b = forms(), forms(OLS)._replace(hard=None)
    assert check_comparable({'a': a, 'same': a._replace(hard=None)}) == {'same': {}}
    with pytest.raises(ValueError, match=r"undone\)(?s:.*)loss_cls\.type: 'CrossEnt.*'OLSLoss'"):
        check_comparable({'a': a, 'b': b})
    with pytest.raises(ValueError, match='undone'):
        check_comparable({'b': b, 'a': a})
    assert check_comparable({'a': a, 'b': b}, ['model.bbox_head.loss_cls', 'default_hooks.ols'])


def test_a_dumped_config_is_the_config(tmp_path):
    cfg = config('train_cfg = dict(val=(), names=("a", "b"), none=None)\n')
    cfg.dump(tmp_path / 'dumped.py')
    assert flat_settings(Config.fromfile(tmp_path / 'dumped.py')) == flat_settings(cfg)
    # Lists and tuples are the same settings, even empty ones.
    tuples, lists = {'model.a': (), 'model.b': (1,)}, {'model.a': [], 'model.b': [1]}
    assert settings(**tuples) == settings(**lists)


def test_defaults_of_loaders_that_are_written_out_change_nothing():
    key = 'train_dataloader.collate_fn'
    written = {'train_dataloader.persistent_workers': False, 'train_dataloader.pin_memory': True}
    assert settings(**written, **{key: dict(type='pseudo_collate')}) == settings()
    assert settings(**{key: dict(type='default_collate')}) != settings()
    assert settings(**{'train_dataloader.num_workers': 0}) != settings()


def test_the_key_of_settings_is_theirs_alone():
    a, b = settings(), settings(OLS)
    assert settings_key(a) == settings_key(dict(reversed(a.items()))) != settings_key(b)


def test_a_run_made_with_another_config_is_refused(tmp_path):
    make_start(tmp_path, '20260101_000000', [trained(1)], cfg=config())
    check_same_config(tmp_path, settings("work_dir = 'x'"))
    asked = settings(**{'model.bbox_head.loss_cls.loss_weight': 2.0})
    with pytest.raises(ValueError, match=r'loss_weight: 1\.0 \(made with\), 2\.0 \(asked for\)'):
        check_same_config(tmp_path, asked)
    check_same_config(tmp_path / 'absent', asked)
    with pytest.raises(ValueError, match=r'randomness\.seed: 0 .* 1 (?s:.*)remove'):
        check_same_config(tmp_path, settings(**{'randomness.seed': 1}))
    with pytest.raises(ValueError, match=r"load_from: \(absent\) .*'coco\.pth'"):
        check_same_config(tmp_path, settings("load_from = 'coco.pth'\n"))


def test_a_run_goes_on_when_its_loss_has_got_an_option_since(tmp_path):
    loss = 'model.bbox_head.loss_cls.type'
    make_start(tmp_path, '20260101_000000', [trained(1)], cfg=config(**{loss: 'OLSLoss'}))
    asked = {loss: 'OLSLoss', 'model.bbox_head.loss_cls.empty_class': 'keep'}
    check_same_config(tmp_path, settings(**asked))
    asked['model.bbox_head.loss_cls.empty_class'] = 'uniform'
    with pytest.raises(ValueError, match=r"empty_class: \(absent\) .* 'uniform'"):
        check_same_config(tmp_path, settings(**asked))
    # Of one that was there before, the default is a value like any other.
    alpha = 'model.bbox_head.loss_cls.alpha'
    made_with = config(**{loss: 'OLSLoss', alpha: 0.3})
    make_start(tmp_path / 'b', '20260101_000000', [trained(1)], cfg=made_with)
    with pytest.raises(ValueError, match=r'alpha: 0\.3 \(made with\), 0\.5'):
        check_same_config(tmp_path / 'b', settings(**{loss: 'OLSLoss', alpha: 0.5}))


def test_a_run_goes_on_when_it_is_to_keep_more_checkpoints(tmp_path):
    kept, drawn = 'default_hooks.checkpoint.max_keep_ckpts', 'default_hooks.visualization.draw'
    make_start(tmp_path, '20260101_000000', [trained(1)], cfg=config(**{kept: 1}))
    check_same_config(tmp_path, settings(**{kept: 2, drawn: True}))
    with pytest.raises(ValueError, match=r'default_hooks\.ema\.type: \(absent\)'):
        check_same_config(tmp_path, settings(**{kept: 2, 'default_hooks.ema.type': 'EMAHook'}))


def test_every_start_of_a_run_counts_but_not_what_resuming_forgets(tmp_path):
    asked = settings("load_from = 'coco.pth'\n")
    make_start(tmp_path, '20260101_000000', [trained(1)], cfg=config("load_from = 'coco.pth'\n"))
    make_start(tmp_path, '20260102_000000', [trained(2)], cfg=config('resume = True\n'))
    check_same_config(tmp_path, asked)
    make_start(
        tmp_path, '20260103_000000', [trained(3)], cfg=config('resume = True\nval_cfg = 1\n')
    )
    with pytest.raises(ValueError, match='val_cfg'):
        check_same_config(tmp_path, asked)


def test_a_start_that_wrote_no_config_says_nothing_about_the_others(tmp_path):
    make_start(tmp_path, '20260101_000000', [trained(1)])
    check_same_config(tmp_path, settings())
    make_start(tmp_path, '20260102_000000', [trained(1)], cfg=config('val_cfg = 1\n'))
    with pytest.raises(ValueError, match='val_cfg'):
        check_same_config(tmp_path, settings())
