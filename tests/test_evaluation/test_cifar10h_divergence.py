"""The divergence from people's choices, against a loop over images."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator

from mmdet_ols import CIFAR10HDivergence

NUM = 40


@pytest.fixture
def people():
    """Human choices, mostly of the label and some of a single class, and a model's scores."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, NUM)
    counts = rng.integers(0, 6, (NUM, 5)) * (rng.random((NUM, 5)) < 0.5)
    counts[np.arange(NUM), labels] = 50
    scores = rng.dirichlet(np.ones(5), NUM).astype(np.float32)
    hits = rng.random(NUM) < 0.6
    # One of them is taken for another class by most people, but not by its label and the model.
    unusual = int(hits.argmax())
    counts[unusual, (labels[unusual] + 1) % 5] = 60
    scores[hits, labels[hits]] += 1
    return counts, labels, scores / scores.sum(axis=1, keepdims=True)


def write(tmp_path, human):
    np.save(tmp_path / 'human.npy', human)
    return str(tmp_path / 'human.npy')


def samples(labels, scores, order, numbered=True):
    return [
        dict(
            pred_score=torch.tensor(scores[index]),
            gt_label=torch.tensor([labels[index]]),
            **(dict(sample_idx=int(index)) if numbered else {}),
        )
        for index in order
    ]


def evaluate(path, packed, **kwargs):
    evaluator = Evaluator(dict(type='CIFAR10HDivergence', human=path, **kwargs))
    for start in range(0, len(packed), 7):
        evaluator.process(packed[start : start + 7])
    return evaluator.evaluate(len(packed))


def by_hand(counts, labels, scores, batch_size=NUM):
    means = []
    for start in range(0, NUM, batch_size):
        values = []
        for index in range(start, min(start + batch_size, NUM)):
            if np.argmax(scores[index]) == labels[index]:
                human = counts[index] / counts[index].sum()
                pairs = zip(human.tolist(), scores[index].tolist())
                values.append(sum(h * (math.log(h) - math.log(p)) for h, p in pairs if h > 0))
        if values:
            means.append(np.mean(values))
    return np.mean(means)


def test_is_the_mean_over_the_images_that_are_right(tmp_path, people):
    counts, labels, scores = people
    right = (scores.argmax(axis=1) == labels).mean()
    assert 0.4 < right < 0.9 and (counts == 0).any()
    expected = by_hand(*people)
    packed = samples(labels, scores, range(NUM))
    probabilities = counts / counts.sum(axis=1, keepdims=True)
    for human in (counts, probabilities.astype(np.float32)):
        values = evaluate(write(tmp_path, human), packed)
        assert values == {'cifar10h/kl': pytest.approx(expected, rel=1e-6)}


def test_mean_of_the_batches_means(tmp_path, people):
    counts, labels, scores = people
    labels = labels.copy()
    scores[:16] = np.roll(np.eye(5), 1, axis=1)[labels[:16]]  # no image of the first batch is right
    packed = samples(labels, scores, range(NUM))
    expected = by_hand(counts, labels, scores, batch_size=16)
    assert expected != pytest.approx(by_hand(counts, labels, scores), rel=1e-3)
    value = evaluate(write(tmp_path, counts), packed, batch_size=16)['cifar10h/kl']
    assert value == pytest.approx(expected, rel=1e-6)


def test_the_order_is_that_of_the_data_set(tmp_path, people):
    """A shuffling loader does no harm where samples know their number, and is refused otherwise."""
    counts, labels, scores = people
    path, shuffled = write(tmp_path, counts), np.random.default_rng(1).permutation(NUM)
    value = evaluate(path, samples(labels, scores, shuffled))['cifar10h/kl']
    assert value == pytest.approx(by_hand(*people), rel=1e-6)
    in_order = samples(labels, scores, range(NUM), numbered=False)
    assert evaluate(path, in_order)['cifar10h/kl'] == pytest.approx(by_hand(*people), rel=1e-6)
    with pytest.raises(
        ValueError, match=r'`human` disagrees with \d+% of the labels.*shuffle=False'
    ):
        evaluate(path, samples(labels, scores, shuffled, numbered=False))
    parts = samples(labels, scores, range(NUM))  # two data sets in a row: 0, 1, ..., 0, 1
    for index, sample in enumerate(parts):
        sample['sample_idx'] = index % (NUM // 2)
    assert evaluate(path, parts)['cifar10h/kl'] == pytest.approx(by_hand(*people), rel=1e-6)


def test_a_probability_of_zero_stays_finite(tmp_path):
    human, score = np.array([[0.5, 0.5]]), np.float32([[1.0, 0.0]])
    value = evaluate(write(tmp_path, human), samples([0], score, [0]))['cifar10h/kl']
    expected = math.log(0.5) - 0.5 * math.log(np.finfo(np.float32).tiny)
    assert value == pytest.approx(expected, rel=1e-6)
    nothing_right = evaluate(write(tmp_path, human), samples([0], score[:, ::-1].copy(), [0]))
    assert math.isnan(nothing_right['cifar10h/kl'])


def test_a_part_of_the_test_set_is_refused(tmp_path, people):
    counts, labels, scores = people
    path = write(tmp_path, counts)
    message = r'`human` holds 40 images of 5 classes, but the model was tested on 39 images of 5'
    with pytest.raises(ValueError, match=message):
        evaluate(path, samples(labels, scores, range(39)))


@pytest.mark.parametrize(
    'human', [np.zeros((3, 2)), np.array([[1.5, -0.5]]), np.ones(3), np.full((2, 2), np.nan)]
)
def test_a_file_without_probabilities_is_refused(tmp_path, human):
    with pytest.raises(ValueError, match='must hold one row of probabilities'):
        CIFAR10HDivergence(write(tmp_path, human))


def test_a_missing_file_says_what_to_download(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no .*nowhere.npy. Download .*cifar10h-probs.npy'):
        CIFAR10HDivergence(str(tmp_path / 'nowhere.npy'))
    with pytest.raises(ValueError, match='`batch_size` must be None or a positive integer'):
        CIFAR10HDivergence('', batch_size=0)


def test_the_real_file_fits_the_real_labels():
    folder = Path(os.environ.get('MMDET_OLS_DATA', ''), 'cifar10', 'meta')
    if not (folder / 'cifar10h-probs.npy').is_file():
        pytest.skip('no CIFAR-10H in the folder that MMDET_OLS_DATA names')
    lines = (folder / 'test.txt').read_text().split()
    labels = [int(label) for label in lines[1::2]]
    # As sure of the label as 10 classes and a share of 0.1 allow.
    scores = np.full((10000, 10), 0.01, np.float32)
    scores[np.arange(10000), labels] = 0.91
    path = str(folder / 'cifar10h-probs.npy')
    value = evaluate(path, samples(labels, scores, range(10000), numbered=False))['cifar10h/kl']
    human = np.load(path).astype(float)
    entropy = -sum(h * math.log(h) for h in human.ravel().tolist() if h > 0) / 10000
    cross = -(human * np.log(scores.astype(float))).sum() / 10000
    assert value == pytest.approx(cross - entropy, rel=1e-5)
