"""FGSM and PGD, against a loop over single images."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close
from toy_images import attack_by_hand, classifier, fitted_head, image_tensor, make_images

from mmdet_ols import small_pgd_attacks
from mmdet_ols.evaluation.attacks import OBJECTIVES, Attack

COUNT = 23


@pytest.fixture(scope='module')
def model():
    model = MODELS.build(classifier()).eval()
    weight, bias = fitted_head()
    model.head.fc.weight.data.copy_(weight)
    model.head.fc.bias.data.copy_(bias)
    return model


@pytest.mark.parametrize('objective', ['cross_entropy', 'margin'])
@pytest.mark.parametrize('random_start', [False, True])
def test_images_are_those_of_single_steps(model, objective, random_start):
    images, labels = make_images(COUNT)
    pixels = [image_tensor(image) for image in images]
    attack = Attack('a', eps=6, step=1.5, steps=6, random_start=random_start, objective=objective)

    def score(x):
        return model(model.data_preprocessor(dict(inputs=x))['inputs'])

    actual = attack.perturb(
        score, [x.float() for x in pixels], torch.tensor(labels), torch.Generator().manual_seed(4)
    )
    generator = torch.Generator().manual_seed(4)
    for image, label, result in zip(pixels, labels, actual):
        start = 6 * (2 * torch.rand(image.shape, generator=generator).numpy() - 1) * random_start
        margin = objective == 'margin'
        expected = attack_by_hand(model, image, label, 6, 1.5, 6, start, margin=margin)
        assert_close(result, expected, rtol=0, atol=1e-4)
        assert (result - image).abs().max() <= 6 + 1e-4
        assert result.min() >= 0 and result.max() <= 255
        assert not result.requires_grad
    distances = torch.stack([(x - y).abs().amax() for x, y in zip(actual, pixels)])
    assert distances.median() == pytest.approx(6, abs=1e-3)  # the box is used
    assert any(image.min() == 0 and image.max() == 255 for image in pixels)  # and the scale's ends


def test_the_margin_is_that_of_the_best_wrong_class():
    score = torch.tensor([[-1.0, -5.0, -3.0], [2.0, 7.0, 1.0]])  # -3 - -1, and 7 - 1
    assert OBJECTIVES['margin'](score, torch.tensor([0, 2])) == -2 + 6


def test_small_attacks_are_all_of_the_grid_once():
    attacks = [Attack(**settings) for settings in small_pgd_attacks()]
    actual = [(a.eps, a.step, a.random_start) for a in attacks]
    assert len(actual) == len(set(actual)) == 34
    for eps in (1, 2, 4, 8):
        for step in (eps / 10, eps / 4, 0.5, 1, 2):
            for start in (False, True):
                assert (eps, step, start) in actual
    assert {a.steps for a in attacks} == {20}
    assert {settings['steps'] for settings in small_pgd_attacks(7)} == {7}
    assert len({a.name for a in attacks}) == 34 and {'pgd_1_0.25', 'pgd_8_0.8_random'} < {
        a.name for a in attacks
    }


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(eps=0), r'`eps` .* must be in \(0, 255\], but got 0: .* 8/255 is 8'),
        (dict(eps=8, step=-1), '`step` .* but got -1'),
        (dict(eps=8, steps=0), '`steps` .* positive integer, but got 0'),
        (dict(eps=8, steps=20), '`step` .* since it has several steps'),
        (dict(eps=8, random_start=True), 'since it has a random start'),
        (dict(eps=8, objective='b'), '`objective` .* one of .*margin'),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Attack('a', **settings)
