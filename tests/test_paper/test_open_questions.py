"""What the paper leaves open can be chosen, and a choice is one that the configs know."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmdet_ols import apply_method, config_path
from mmdet_ols.paper import (
    Cell,
    apply_choices,
    cells,
    choice_of,
    open_questions,
    questions_about,
)

CHOICES = [(q.name, choice.value) for q in open_questions() for choice in q.choices[1:]]


def a_cell(table, config, method):
    (cell,) = [c for c in cells(table) if c.config.endswith(config) and c.method == method]
    return cell


@pytest.mark.parametrize(('name', 'value'), CHOICES)
def test_a_choice_is_known_to_configs_and_methods(name, value):
    changed = [(cell, apply_choices(cell, {name: value})) for cell in cells()]
    changed = [(before, after) for before, after in changed if before != after]
    assert changed
    before, after = changed[-1]
    cfg = Config.fromfile(config_path(after.config))
    for option in after.options:
        key, equals, text = option.partition('=')
        if equals and 'ols' not in key:
            inner = cfg
            for part in key.split('.')[:-1]:
                inner = inner[int(part)] if part.isdecimal() else inner[part]
            # An option has to be there, or be one that its class has.
            assert key.rpartition('.')[2] in {*inner, 'block', 'form', 'checkpoint'}, key
    cfg = apply_method(cfg, after.method)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        if 'head' in cfg.model:
            MODELS.build(cfg.model.head)
    (question,) = [question for question in open_questions() if question.name == name]
    assert choice_of(question, before, after).value == value
    assert choice_of(question, before, before) == question.default


def test_several_choices_meet_in_one_cell():
    cell = a_cell('VI', 'san15_flowers.py', 'tfkd_reg:temperature=6.0')
    chosen = dict(tfkd='fair', flowers='1020', san='patchwise', block='basic')
    assert apply_choices(cell, chosen) == Cell(
        'VI',
        'fine_grained/san15_flowers_1020.py',
        'tfkd_reg:temperature=6.0,form=fair,alpha=0.1',
        ('model.backbone.form=patchwise', 'model.backbone.init_cfg.checkpoint='
         'data/san15_patchwise.pth'),
    )  # fmt: skip
    combined = a_cell('II', 'resnet34_cifar100.py', 'byot+ols')
    assert apply_choices(combined, dict(ols_cifar='code')).method == (
        'byot+ols:start=zeros,empty_class=uniform'
    )
    assert apply_choices(cell, {}) == cell


def test_tables_that_share_a_run_go_on_sharing_it():
    chosen = {'pgd': '1/255', 'weight_decay': '1e-4'}
    both = [apply_choices(a_cell(table, 'resnet29_cifar10.py', 'ols'), chosen)
            for table in ('VIII', 'XII')]  # fmt: skip
    assert both[0][1:] == both[1][1:] and len(both[0].options) == 3
    for table in ('IV', 'IX'):
        cell = apply_choices(a_cell(table, 'resnet50_imagenet.py', 'ols'), chosen)
        cfg = Config.fromfile(config_path(cell.config))
        cfg.merge_from_dict(dict(option.split('=') for option in cell.options))
        fgsm, pgd = cfg.custom_hooks[0].attacks
        assert (fgsm.name, fgsm.eps, pgd.name) == ('fgsm', 8, 'pgd')
        assert (float(pgd.eps), float(pgd.step), pgd.steps) == (1, 0.25, 20)
    # The data of Fig. 7 are its own; what is chosen for ResNet-29 holds for them, too.
    sweep = a_cell('Fig. 7a', 'resnet29_cifar10.py', 'ols:alpha=0.3')
    moved = apply_choices(sweep, {**chosen, 'fig7_data': 'cifar100'})
    assert moved.config == 'cifar100/resnet29_cifar100.py'
    assert moved.options == ('optim_wrapper.optimizer.weight_decay=1e-4',)
    shared = a_cell('VIII', 'resnet29_cifar10.py', 'ols')
    assert apply_choices(shared, dict(fig7_data='cifar100')) == shared


def test_what_is_open_about_a_cell():
    def names(*args):
        return {question.name for question in questions_about(a_cell(*args))}

    assert names('XI', 'resnet56_ensembles_cifar100.py', 'ols') == {
        'ols_cifar', 'block', 'weight_decay'
    }  # fmt: skip
    assert names('VIII', 'resnet29_cifar10.py', 'ls') == {'weight_decay', 'pgd'}
    assert names('XII', 'resnet29_cifar10.py', 'ls') == {'weight_decay'}
    assert names('VI', 'mobilenetv2_cars.py', 'hard') == set()
    assert names('VII', 'resnet56_noise40_cifar100.py', 'pencil') == {
        'block', 'weight_decay', 'noisy_schedule'
    }  # fmt: skip


def test_unknown_names_and_values_are_errors():
    cell = cells('II')[0]
    with pytest.raises(
        ValueError, match=r"one of ols_cifar, .*'flower' \(did you mean `flowers`\?"
    ):
        apply_choices(cell, dict(flower='1020'))
    with pytest.raises(ValueError, match=r"`block`.* one of bottleneck, basic, but got 'basics'"):
        apply_choices(cell, dict(block='basics'))


def test_every_question_is_a_sentence_and_says_what_is_done():
    for question in open_questions():
        texts = [question.sentence, *(choice.sentence for choice in question.choices)]
        assert all(text[:1].isupper() and text.endswith('.') for text in texts), question.name
        assert any(question.concerns(cell) for cell in cells()), question.name


def test_the_documentation_names_every_choice():
    page = Path(__file__).parents[2].joinpath('docs/paper_tables.md').read_text('utf-8')
    for question in open_questions():
        if len(question.choices) > 1:
            first, *others = (choice.value for choice in question.choices)
            values = ', '.join(f'`{value}`' for value in (f'{question.name}={first}', *others))
            assert f'| {values} |' in page
