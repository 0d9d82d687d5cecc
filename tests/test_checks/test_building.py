"""What cannot be built is said with its place in the config, not by a traceback."""

import logging

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from toy_runner import OLS, make_batches, train

from mmdet_ols.checks.building import StartError, building_errors, starting_errors


@MODELS.register_module()
class _Outer(nn.Module):
    """A model with a part, as a user's own code might be."""

    def __init__(self, part, width=1):
        super().__init__()
        self.part = MODELS.build(part)
        if width > 8:
            raise ValueError(f'width must be at most 8, but got {width}')


@MODELS.register_module()
class _Base(nn.Module):
    def __init__(self, num_classes, channels=3):
        super().__init__()
        assert channels % 2, (
            # a comment
            'channels must be odd'
        )
        if channels > 100:
            raise NameErr  # noqa: F821


@MODELS.register_module()
class _Part(_Base):
    def __init__(self, depth=1, **options):
        super().__init__(**options)


@pytest.fixture
def message():
    """What is said where a model of this config is built."""

    def of(part=None, scope='mmdet', **model):
        part = dict(dict(type='_Part', num_classes=2), **(part or {}))
        cfg = Config(dict(model=dict(type='_Outer', part=part, **model), default_scope=scope))
        scoped = DefaultScope.overwrite_default_scope(scope)
        with pytest.raises(ValueError) as caught, scoped, building_errors(cfg):
            MODELS.build(cfg.model)
        assert caught.value.__cause__ is not None
        return str(caught.value)

    return of


def test_an_unknown_argument(message):
    text = message(part=dict(chanels=5))
    assert text.startswith(
        'model.part (_Part) has no argument `chanels` (did you mean `channels`?)'
    )
    assert 'It takes depth, num_classes, channels.' in text


def test_a_missing_argument():
    cfg = Config(dict(model=dict(type='_Outer', part=dict(type='_Part'))))
    needed = r'model\.part \(_Part\) needs `num_classes`, which'
    with pytest.raises(ValueError, match=needed), building_errors(cfg):
        MODELS.build(cfg.model)


def test_an_assertion_without_words_gives_its_code(message):
    text = message(part=dict(channels=4))
    assert text.startswith(
        'model.part (_Part) cannot be built: AssertionError: channels must be odd'
    )


def test_a_mistake_in_the_code_of_a_part_names_its_line(message):
    text = message(part=dict(channels=101))
    assert 'NameError' in text and 'test_building.py, line' in text and 'raise NameErr' in text


def test_a_value_error_gets_its_place(message):
    assert message(width=9) == 'model (_Outer): width must be at most 8, but got 9'


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        ('_Prt', 'did you mean `_Part`?'),
        ('ResNett', 'did you mean `ResNet`'),
        ('LeNet5', "but as 'mmpretrain.LeNet5': write type='mmpretrain.LeNet5', with "),
        ('MyOwnBackbone', "custom_imports=dict(imports=['my_package.my_module'])"),
    ],
)
def test_a_name_that_nothing_is_registered_under(kind, expected, message):
    import mmdet.models  # noqa: F401
    import mmpretrain.models  # noqa: F401

    text = message(part=dict(type=kind))
    assert text.startswith(f'model.part ({kind}): no model is registered as {kind!r}')
    assert expected in text


def test_a_name_of_an_unknown_scope_that_needs_none(message):
    text = message(part=dict(type='mmcls._Part'))
    assert "registered as 'mmcls._Part', but as '_Part': write type='_Part'." in text


def test_a_part_without_type(message):
    assert message(part=dict(type=None)).startswith('model.part')


def test_the_whole_traceback_is_in_the_log_of_the_run(message, tmp_path):
    MMLogger._instance_dict.clear()
    log = tmp_path / 'run.log'
    MMLogger.get_instance('building', log_file=str(log))
    try:
        text = message(part=dict(chanels=5))
    finally:
        MMLogger._instance_dict.clear()
        logging.getLogger('building').handlers.clear()
    assert text.endswith(f'The whole traceback is in {log}.')
    assert 'Traceback (most recent call last)' in log.read_text()


@pytest.mark.parametrize(
    ('optimizer', 'expected'),
    [
        (
            dict(type='SDG', lr=1),
            "optim_wrapper.optimizer: no optimizer is registered as 'SDG' (did",
        ),
        (dict(type='SGD', learning_rate=1), 'optim_wrapper.optimizer (SGD) has no argument `learn'),
    ],
)
def test_optimizers(optimizer, expected):
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer)))
    with pytest.raises(ValueError) as caught, building_errors(cfg):
        build_optim_wrapper(nn.Linear(1, 1), cfg.optim_wrapper)
    assert str(caught.value).startswith(expected)


def test_what_is_no_mistake_in_the_config_stays_as_it_is():
    for error in (RuntimeError('the GPU is gone'), FileNotFoundError('x'), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, building_errors(Config()):
            raise error
        assert caught.value is error


class _Objecting(Hook):
    """A hook that finds something wrong at one of MMEngine's places."""

    def __init__(self, place, error):
        self.place, self.error = place, error

    def before_train(self, runner):
        self._object('before_train')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._object('after_train_iter')

    def _object(self, place):
        if place == self.place:
            raise self.error


def test_what_a_hook_objects_to_before_the_first_step_is_a_message(tmp_path):
    with pytest.raises(StartError, match='^`momentum` must be below 1$'), starting_errors(Config()):
        hook = _Objecting('before_train', ValueError('`momentum` must be below 1'))
        train(tmp_path, make_batches(1), epochs=1, hooks=[hook])


@pytest.mark.parametrize(
    ('place', 'error'),
    [('before_train', AttributeError('a bug')), ('after_train_iter', ValueError('a lost hour'))],
)
def test_bugs_and_later_errors_keep_their_traceback(tmp_path, place, error):
    with pytest.raises(type(error)) as caught, starting_errors(Config()):
        train(tmp_path, make_batches(1), epochs=1, hooks=[_Objecting(place, error)])
    assert caught.value is error


def test_initial_weights_that_cannot_be_made_name_their_entry(tmp_path):
    init_cfg = dict(type='Xavier', layer='Linear', distrbution='uniform')
    model = dict(type='ToyClassifier', loss=OLS, init_cfg=init_cfg)
    with pytest.raises(StartError) as caught, starting_errors(Config(dict(model=model))):
        train(tmp_path, make_batches(1), epochs=1, model=model)
    assert str(caught.value).startswith(
        'model.init_cfg (Xavier) has no argument `distrbution` (did you mean `distribution`?)'
    )
