"""What the page says about a method's opinion of the labels, counted one sample at a time."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
from toy_work_dir import CONFIG, assert_self_contained, epoch_end, start, step

from mmdet_ols.analysis.annotations import Annotation
from mmdet_ols.analysis.ranking import Ranking
from mmdet_ols.analysis.report import page, write_report
from mmdet_ols.analysis.report.opinions import LabelOpinions, opinion_section, read_opinions
from mmdet_ols.analysis.report.suspects import AnnotationAudit
from mmdet_ols.engine.hooks.sample_state_hook import OPINIONS

GIVEN = np.array([0, 0, 1, 1, 2, 2, -1])
TRUE = np.array([0, 1, 1, 0, 2, 1, -1])
LABEL = np.array([0, 1, 2, 1, 2, 0, -1])
WEIGHT = np.array([0.9, 0.1, 0.3, 0.8, np.nan, 0.2, np.nan])
CLASSES = ['ant', 'bee', '<cat>']


def facts(**values):
    opinions = LabelOpinions(3, GIVEN, *(values.get(key) for key in ('label', 'weight', 'true')))
    return dict(opinion_section(opinions, CLASSES, {}, 5)['facts'])


def test_corrections_are_counted():
    assert facts(label=LABEL, weight=WEIGHT, true=TRUE) == {
        'Training samples': '6',
        'Samples that are given another label': '3 of 6 (50.0%)',
        'Mean weight of a given label': '0.460',
        'Labels that are wrong in truth': '3 of 6 (50.0%)',
        'Of the samples that are given another label, wrong in truth': '2 of 3 (66.7%)',
        'Of the wrong labels, given another label': '2 of 3 (66.7%)',
        'Of the right labels, given another label': '1 of 3 (33.3%)',
        'Of the wrong labels, corrected to the true class': '1 of 3 (33.3%)',
        'Labels that are wrong after the correction': '3 of 6 (50.0%)',
        'Mean weight of the wrong labels': '0.367',
        'Mean weight of the right labels': '0.600',
    }


def test_weights_are_counted():
    assert facts(weight=WEIGHT) == {
        'Training samples': '6',
        'Samples that are weighed down': '3 of 6 (50.0%)',
        'Mean weight of a given label': '0.460',
    }
    with_truth = facts(weight=WEIGHT, true=TRUE)
    assert with_truth['Of the samples that are weighed down, wrong in truth'] == '2 of 3 (66.7%)'
    assert with_truth['Of the wrong labels, weighed down'] == '2 of 3 (66.7%)'
    assert 'Labels that are wrong after the correction' not in with_truth


@pytest.fixture
def work_dir(tmp_path):
    start(tmp_path / 'run', '20260101_000000', [step(1, 9, loss=1.0), *epoch_end(1, 0.5)], CONFIG)
    return tmp_path / 'run'


def write(work_dir, **values):
    np.savez(work_dir / OPINIONS, given=GIVEN, epoch=3, **values)


def test_the_page_and_the_table_show_them(work_dir):
    write(work_dir, label=LABEL, weight=WEIGHT, true=TRUE)
    html = write_report(work_dir).read_text()
    text = '\n'.join(assert_self_contained(html).text)
    assert 'What the method thinks of the labels' in text and 'After epoch 3.' in text
    assert '2 of 3 (66.7%)' in text and 'label_opinions.csv' in text
    with (work_dir / 'label_opinions.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['sample'], row['written'], row['suggested'], row['true']) for row in rows] == [
        ('1', '0', '1', '1'),
        ('5', '2', '0', '1'),
        ('2', '1', '2', '1'),
    ]
    assert [row['weight'] for row in rows] == ['0.1000', '0.2000', '0.3000']


def test_the_page_says_what_weighing_down_means(work_dir):
    write(work_dir, weight=WEIGHT)
    html = write_report(work_dir).read_text()
    text = ' '.join(' '.join(assert_self_contained(html).text).split())
    said = 'weighs down to less than 0.5 of what they count with hard labels, those that count'
    assert said in text


def test_without_weights_there_is_no_order_by_them(work_dir):
    write(work_dir, label=LABEL)
    html = write_report(work_dir).read_text()
    text = ' '.join(' '.join(assert_self_contained(html).text).split())
    assert 'lists all labels that it would change. Training samples' in text


def test_images_are_shown_where_they_were_read():
    pixels = np.zeros((8, 8, 3), np.uint8)
    images = {n: Annotation(f'{n}.png', 0, None, 0, n, pixels) for n in (2, 5)}
    opinions = LabelOpinions(3, GIVEN, LABEL, WEIGHT, None)
    cards = opinion_section(opinions, CLASSES, images, 5)['cards']
    assert [(card['file'], card['written'], card['suggestion']) for card in cards] == [
        ('5.png', '<cat>', 'ant'),
        ('2.png', 'bee', '<cat>'),
    ]
    assert [card['weight'] for card in cards] == ['0.20', '0.30']
    assert [card['rank'] for card in cards] == [2, 3]  # as in the table, whose first was not read
    assert all(card['crop'].startswith('data:image/') for card in cards)


def test_the_page_numbers_the_images_as_the_table_does(work_dir, monkeypatch):
    write(work_dir, label=LABEL, weight=WEIGHT)
    images = [Annotation(f'{n}.png', 0, None, 0, n, np.zeros((8, 8, 3), np.uint8)) for n in (2, 5)]
    scores = np.eye(3, dtype=np.float32)[[0, 0]]
    audit = AnnotationAudit(images, CLASSES, scores, np.eye(3), '', Ranking([], [], []))
    monkeypatch.setattr(page, '_audit', lambda *_: audit)
    html = write_report(work_dir).read_text()
    assert re.findall(r'<span class="rank">(\d+)</span> <s>(.+?)</s>', html) == [
        ('2', '2'),
        ('3', '1'),
    ]


def test_a_sample_without_a_label_is_not_changed():
    images = {6: Annotation('6.png', 0, None, 0, 6, np.zeros((8, 8, 3), np.uint8))}
    weight = np.where(GIVEN < 0, 0.0, 1.0)
    for values in ((None, weight, None), (np.where(GIVEN < 0, 1, GIVEN), weight, None)):
        section = opinion_section(LabelOpinions(3, GIVEN, *values), CLASSES, images, 5)
        assert section['cards'] == []
        assert '0 of 6 (0.0%)' in dict(section['facts']).values()


def test_without_opinions_the_page_says_nothing(work_dir):
    assert read_opinions(work_dir) is None
    assert 'thinks of the labels' not in write_report(work_dir).read_text()


def test_a_damaged_file_is_noted(work_dir):
    write(work_dir, label=LABEL)
    whole = (work_dir / OPINIONS).read_bytes()
    (work_dir / OPINIONS).write_bytes(whole[: len(whole) // 2])
    assert 'The opinions of the labels are left out' in write_report(work_dir).read_text()
