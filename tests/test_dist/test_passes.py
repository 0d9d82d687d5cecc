"""Two processes together measure what a single one measures."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from toy_images import CLASSES, classifier, fitted_head, make_images, measure_everything


@pytest.mark.dist
def test_two_processes_measure_what_one_does(two_ranks, tmp_path):
    """23 images: one of the two has to repeat one, which must not count."""
    model = MODELS.build(classifier())
    weight, bias = fitted_head()
    for epoch in (1, 2):
        state = dict(model.state_dict())
        state['head.fc.weight'] = weight + (epoch - 1) * torch.randn_like(weight)
        state['head.fc.bias'] = bias
        torch.save(dict(state_dict=state), tmp_path / f'epoch_{epoch}.pth')
    _, labels = make_images(23)
    human = np.random.default_rng(0).dirichlet(np.ones(CLASSES), 23)
    human[np.arange(23), labels] += 1
    np.save(tmp_path / 'human.npy', human)

    alone = measure_everything(None, folder=tmp_path)
    assert len(alone) == 9 and all(value > 0 for value in alone.values())
    for together in two_ranks(measure_everything, [None, None], folder=tmp_path):
        assert together == pytest.approx(alone, rel=1e-6)
