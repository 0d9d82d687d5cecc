"""`mmdet-ols plot soft-labels` of a file that OLSHook wrote, which holds no names of classes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mmdet_ols.cli import plot_soft_labels

NAMES = ('--classes', 'cat,dog,car')
GROUPS = ('--groups', 'cat,dog')


@pytest.fixture
def file(tmp_path):
    matrix = np.array([[0.8, 0.15, 0.05], [0.15, 0.8, 0.05], [0.05, 0.05, 0.9]], np.float32)
    path = tmp_path / 'soft_labels' / 'head' / 'epoch_3.npy'
    path.parent.mkdir(parents=True)
    np.save(path, matrix)
    return path


def test_groups_are_contrasted(file, command):
    output = command(plot_soft_labels.main, file, *NAMES, *GROUPS)
    assert '15.00%  of cat is taken for dog' in output and ': 3.0 times as much.' in output
    np.save(file, np.eye(3, dtype=np.float32) + 0.1 * np.eye(3, dtype=np.float32)[[1, 0, 2]])
    assert 'to each other class: inf times' in command(plot_soft_labels.main, file, *NAMES, *GROUPS)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (GROUPS, '--groups .*name them with --classes'),
        (('--classes', 'cat,dog'), None),  # the third one is the background
        (('--classes', 'cat'), r'--classes must name the 3 classes .* but got 1 name'),
        (('--classes', 'cat,dog,car,bus', *GROUPS), '--classes must name the 3 classes'),
        (('--top', -1), '`--top` must be 0 or a positive integer, but got -1'),
        (('--epsilon', 2), r'`--epsilon` must be in \[0, 1\], but got 2.0'),
    ],
)
def test_words_that_cannot_be_used_are_an_error(file, words, message, command):
    output = command(plot_soft_labels.main, file, *words, ok=message is None)
    assert re.search(message or 'is taken for dog', output)


def test_soft_labels_of_the_start_have_no_pairs(file, command):
    np.save(file, np.full((3, 3), 1 / 3, np.float32))
    output = command(plot_soft_labels.main, file, *NAMES)
    assert 'know no confused classes yet' in output and 'is taken for' not in output


@pytest.mark.parametrize('content', [b'text', b'', np.ones(3)])
def test_a_file_without_a_matrix_is_an_error(file, content, command):
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content)
    output = command(plot_soft_labels.main, file, ok=False)
    assert re.search(r'epoch_3\.npy must hold a matrix of soft labels', output)
