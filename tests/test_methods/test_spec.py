"""How a method is written, and what is said where it is written wrongly."""

from __future__ import annotations

import pytest

from mmdet_ols.methods import METHODS, parse_method
from mmdet_ols.methods.spec import LONGEST_SLUG

CANONICAL = {
    'ols': ('ols', 'ols'),
    ' ols:start=zeros, alpha=0.30 ': ('ols:alpha=0.3,start=zeros', 'ols_alpha0.3_startzeros'),
    'ols:alpha=1.0': ('ols:alpha=1', 'ols_alpha1'),
    'ols:alpha=5e-1': ('ols:alpha=0.5', 'ols_alpha0.5'),
    'ols+cutout': ('cutout+ols', 'cutout+ols'),
    'ols:alpha=0.3+cutout:size=16': (
        'cutout:size=16+ols:alpha=0.3',
        'cutout_size16+ols_alpha0.3',
    ),
    'ols:freeze_confidence=none': ('ols:freeze_confidence=None', 'ols_freeze_confidenceNone'),
    'bootsoft:detach_target=true': ('bootsoft:detach_target=True', 'bootsoft_detach_targetTrue'),
    'cutout:fill=[1, 2.5]': ('cutout:fill=[1,2.5]', 'cutout_fill-1-2.5'),
    "tfkd_reg:form='a,b+c'": ("tfkd_reg:form='a,b+c'", 'tfkd_reg_form-a-b+c'),
    "ols:start='1'": ("ols:start='1'", 'ols_start-1'),
}
WRONG = {
    'osl': r"must be known, but got 'osl' \(did you mean .*`ols`",
    'OLS': r"must be known, but got 'OLS' \(did you mean `ols`\?\)\.",
    'ols:alfa=3': r"An option of 'ols' must be known, but got 'alfa' \(did you mean `alpha`\?\)",
    'hard:alpha=3': r"option of 'hard' must be known, but got 'alpha'\. Known: none",
    'ols:alpha': r"An option of the method 'ols' must be OPTION=VALUE, but got 'alpha'",
    'ols:alpha=': r"must be OPTION=VALUE, but got 'alpha='",
    'ols:': r'must be NAME or NAME:OPTION=VALUE',
    '': r'must be NAME or NAME:OPTION=VALUE',
    '+ols': r'must be NAME or NAME:OPTION=VALUE',
    'ols:alpha=1,alpha=2': r'`alpha` of .ols. is given twice',
    'cutout:fill=[1,2': r'bracket or quotation mark is not closed',
    "ols:start='a'b'c'": r'one text in quotation marks',
    'ols+ls': r"different things, but got 'ols' with 'ls': choose one.*cutout\+ols",
    'ols+ols': r"got 'ols' with 'ols'",
    'cutout+hard': r"got 'cutout' with 'hard'",
    'ls+cutout+ols': r"got 'ls' with 'ols'",
}


@pytest.mark.parametrize('text', CANONICAL)
def test_texts_of_one_meaning_have_one_form(text):
    spec = parse_method(text)
    assert (spec.text, spec.slug) == CANONICAL[text]
    assert parse_method(spec.text) == spec


def test_names_of_folders_are_not_too_long():
    teachers = [f'/{"runs/" * 60}{name}.pth' for name in 'ab']
    slugs = [parse_method(f'tfkd_self:teacher={teacher}').slug for teacher in teachers]
    assert [len(slug) for slug in slugs] == [LONGEST_SLUG] * 2 and len(set(slugs)) == 2
    assert all(slug.startswith('tfkd_self_teacher') for slug in slugs)


def test_values_are_those_of_cfg_options():
    (_, options), *_ = parse_method(
        "ols:alpha=1,start=zeros,freeze_confidence=None,empty_class='0.5',loss_scale=2e0"
    ).parts
    assert options == dict(
        alpha=1, start='zeros', empty_class='0.5', freeze_confidence=None, loss_scale=2.0
    )
    assert isinstance(options['alpha'], int) and isinstance(options['loss_scale'], float)


@pytest.mark.parametrize('text', WRONG)
def test_what_is_wrong_is_named(text):
    with pytest.raises(ValueError, match=f'(?s){WRONG[text]}'):
        parse_method(text)


def test_every_method_says_what_it_is():
    assert list(METHODS) == [method.name for method in METHODS.values()]
    expected = {'hard', 'ls', 'ols', 'ols_sparse', 'ols_single', 'bootsoft', 'boothard', 'sce'}
    expected |= {'disturblabel', 'pairwise_confusion', 'tfkd_reg', 'cutout'}
    expected |= {'l2rw', 'meta_weight_net'}
    expected |= {'m_correction', 'pencil', 'deep_self_learning'}
    expected |= {'byot', 'ddgsd', 'tfkd_self'}
    assert set(METHODS) == expected
    for method in METHODS.values():
        assert method.summary.endswith('.') and method.source and method.changes
        assert all(other in METHODS for other in method.combines_with)
    assert METHODS['ols'].options['alpha'] == 0.5
    assert METHODS['hard'].combines_with == ()
    assert set(METHODS['ols'].combines_with) == {'cutout', 'byot'}
    assert set(METHODS['cutout'].combines_with) == expected - {'cutout', 'hard'}
