"""The page about a run: what it shows, and that nothing on it comes from outside."""

from __future__ import annotations

import csv
import os
import re

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from toy_work_dir import CONFIG, Reader, assert_self_contained, epoch_end, start, step

from mmdet_ols.analysis.annotations import Annotation
from mmdet_ols.analysis.report import accuracy, facts, suspects, write_report
from mmdet_ols.engine.hooks.sample_state_hook import OPINIONS
from mmdet_ols.results.metrics import Metric

TABLES = ('suspicious_annotations', 'label_opinions')
CLASSES = ['<b>bold</b>', 'a & "b"', 'plain']


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run over four images of one colour each, with these scores."""
    lines = [
        line
        for epoch in (1, 2, 3, 4)
        for line in [step(epoch, 10 * epoch, loss=1 / epoch, lr=0.1), *epoch_end(epoch, epoch / 10)]
    ]
    work_dir = tmp_path / 'my <i>run'
    start(work_dir, '20260101_000000', lines)
    (work_dir / 'last_checkpoint').write_text('/elsewhere/epoch_4.pth')
    matrix = torch.tensor([[0.8, 0.15, 0.05], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]])
    state = {'head.loss.soft_labels': matrix, 'head.loss.prob_sum': matrix}
    meta = dict(epoch=4, dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=state, meta=meta), work_dir / 'epoch_4.pth')
    annotations = []
    for number, colour in enumerate(['red', 'green', 'blue', 'white']):
        path = tmp_path / f'<u>{number}&.png'
        Image.new('RGB', (60, 40), colour).save(path)
        box = (10.0, 10.0, 30.0, 30.0)
        annotations.append(Annotation(str(path), number, box, number % 3, number))
    scores = np.array([[0, 0, 0.9], [0.2, 0.7, 0], [0, 0.6, 0.1], [0, 0, 0]], dtype=np.float32)
    monkeypatch.setattr(suspects, 'read_annotations', lambda *_: annotations)
    monkeypatch.setattr(suspects, 'predict_annotations', lambda *_: scores)
    return work_dir, annotations


def test_the_page_of_a_run_of_a_comparison_names_its_method(tmp_path):
    for folder, title in (('ols/seed_1', 'ols seed 1'), ('seeds', 'seeds')):
        start(tmp_path / folder, '20260101_000000', [step(1, 9, loss=1.0)])
        assert f'<h1>{title}</h1>' in write_report(tmp_path / folder).read_text()


def test_page_says_everything_and_escapes_names(run):
    work_dir, annotations = run
    page = write_report(work_dir)
    assert page == work_dir / 'report.html'
    html = page.read_text()
    reader = assert_self_contained(html)
    text = '\n'.join(reader.text)
    for tag in ('<b>bold', '<i>run', '<u>'):
        assert tag not in html
    assert 'my <i>run' in text and text.count('<b>bold</b>') > 3 and 'a & "b"' in text
    for item in annotations:
        assert f'<u>{item.number}&.png' in text
    assert '4 of 4 epochs' in text and 'OLSLoss(num_classes=3)' in text and 'some/data' in text
    # The last mAP and the last AP of the class.
    assert '0.400' in text and '0.200' in text
    assert 'It takes 2 of them for another class' in text
    assert '1 annotated objects were not found at all' in text
    charts = [title for title in reader.text if title in ('Losses', 'AP of each class')]
    assert charts == ['Losses', 'AP of each class']
    images = [value for tag, name, value in reader.attributes if (tag, name) == ('img', 'src')]
    alternatives = [
        value for tag, name, value in reader.attributes if (tag, name) == ('img', 'alt')
    ]
    assert len(images) == len(alternatives) >= 4 and all(alternatives)


def test_table_lists_suspects_worst_first_and_then_what_was_not_found(run):
    work_dir, annotations = run
    write_report(work_dir)
    with (work_dir / 'suspicious_annotations.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['image'] for row in rows] == [annotations[i].image for i in (2, 0, 3)]
    assert [row['written'] for row in rows] == [CLASSES[2], CLASSES[0], CLASSES[0]]
    assert [row['suggested'] for row in rows] == [CLASSES[1], CLASSES[2], '(not found)']
    assert [row['object'] for row in rows] == ['3', '1', '4']
    assert (rows[0]['x0'], rows[0]['y1']) == ('10', '30')
    usual = 0.99 * np.array([[0.8, 0.15, 0.05], [0.1, 0.9, 0], [0, 0, 1]]) + 0.01 / 3
    expected = [
        0.6 * np.log(usual[1, 1] / usual[2, 1]) + 0.1 * np.log(usual[1, 2] / usual[2, 2]),
        0.9 * np.log(usual[2, 2] / usual[0, 2]),
    ]
    assert_allclose([float(row['disagreement']) for row in rows[:2]], expected, atol=1e-3)
    assert float(rows[0]['share_suggested']) == pytest.approx(0.6 / 0.7, abs=1e-3)


@pytest.mark.parametrize('name', ['beetle', 'Käfer', '甲虫'])
def test_spreadsheets_read_letters_beyond_ascii(run, name):
    """Excel takes a file for one of the country's encoding, unless a mark says otherwise."""
    content = torch.load(run[0] / 'epoch_4.pth')
    content['meta']['dataset_meta']['classes'] = ['ant', 'bee', name]
    torch.save(content, run[0] / 'epoch_4.pth')
    np.savez(run[0] / OPINIONS, epoch=4, given=np.zeros(4, int), label=np.full(4, 2))
    write_report(run[0])
    for table in TABLES:
        written = (run[0] / f'{table}.csv').read_bytes()
        assert written.startswith(b'rank,' if name.isascii() else b'\xef\xbb\xbfrank,')
        rows = csv.DictReader(written.decode('utf-8-sig').splitlines())
        assert any(name in row.values() for row in rows)


def test_errors_are_best_where_they_are_lowest(tmp_path):
    lines = [step(1, 1, loss=1.0)]
    lines += [{'calibration/ece': value, 'step': epoch} for epoch, value in ((1, 0.25), (2, 0.5))]
    start(tmp_path, '20260101_000000', lines)
    text = Reader(write_report(tmp_path).read_text()).text
    assert text[text.index('Best calibration/ece, epoch 1') + 1] == '0.250'
    row = text.index('Metric')
    assert text[row : row + 6] == ['Metric', 'Last', 'Best', 'calibration/ece', '0.5', '0.25']


def test_metrics_of_other_data_are_not_said_to_be_of_the_validation(tmp_path):
    lines = [step(1, 1, loss=1.0), {'accuracy/top1': 50.0, 'step': 1}]
    start(tmp_path, '20260101_000000', [*lines, {'train/top1_error': 10.0, 'step': 1}])
    text = Reader(write_report(tmp_path).read_text()).text
    assert 'train/top1_error' in text
    assert 'On the validation data, unless the name of a metric says otherwise.' in text


def test_a_metric_without_a_direction_has_no_best(tmp_path, monkeypatch):
    for module in (accuracy, facts):
        monkeypatch.setattr(module, 'metric_of', lambda key: Metric(key, key))
    lines = [step(1, 1, loss=1.0), {'val/odd': 0.25, 'step': 1}, {'val/odd': 0.5, 'step': 2}]
    start(tmp_path, '20260101_000000', lines)
    text = Reader(write_report(tmp_path).read_text()).text
    assert text[text.index('val/odd, epoch 2') + 1] == '0.500'
    assert not [words for words in text if words.startswith('Best val')]
    row = text.index('Metric')
    assert text[row : row + 6] == ['Metric', 'Last', 'Best', 'val/odd', '0.5', '–']


def test_few_suspects_are_followed_by_the_nearest(run):
    def nearest(**arguments):
        html = write_report(run[0], **arguments).read_text()
        return re.findall(r'<strong>(.+?)</strong>, or (.+?)\?<', html)

    # Image 1 is the one that the network agrees with; it saw a bit of the first class too.
    assert nearest() == [('a &amp; &#34;b&#34;', '&lt;b&gt;bold&lt;/b&gt;')]
    assert nearest(top=2) == []


def test_top_limits_the_page_alone(run, tmp_path):
    work_dir, _ = run
    page = write_report(work_dir, tmp_path / 'other/page.html', top=1)
    verdicts = re.findall(r'<span class="rank">(\d+)</span> <s>(.+?)</s>', page.read_text())
    assert verdicts == [('1', CLASSES[2])]
    assert len((tmp_path / 'other/suspicious_annotations.csv').read_text().splitlines()) == 4
    with pytest.raises(ValueError, match='`top` must be 0 or a positive integer, but got -1'):
        write_report(work_dir, top=-1)
    with pytest.raises(ValueError, match="`split` must be one of .*'val'.*, but got 'valid'"):
        write_report(work_dir, split='valid')


@pytest.mark.parametrize(
    ('scores', 'said'),
    [
        ([[0, 0, 0.9], [0, 0.9, 0], [0, 0, 0.9], [0, 0, 0]], None),
        ([[0.9, 0, 0], [0, 0.9, 0], [0, 0, 0.9], [0.9, 0, 0]], 'None looks wrong.'),
        ([[0.9, 0, 0], [0] * 3, [0] * 3, [0] * 3], 'None of those that it found looks wrong.'),
        ([[0] * 3] * 4, 'The network found none of them, so it says nothing about their labels.'),
    ],
)
def test_labels_look_right_only_where_objects_were_found(run, monkeypatch, scores, said):
    scores = np.array(scores, dtype=np.float32)
    monkeypatch.setattr(suspects, 'predict_annotations', lambda *_: scores)
    text = ' '.join(' '.join(Reader(write_report(run[0], top=0).read_text()).text).split())
    assert said in text if said else 'looks wrong' not in text and 'found none' not in text
    missed = (scores.sum(1) == 0).sum()  # they are all shown
    assert (f'{missed} annotated objects were not found at all' in text) == (missed > 0)
    assert 'the largest' not in text


def test_of_a_single_class_no_label_is_said_to_look_right(run, monkeypatch):
    content = torch.load(run[0] / 'epoch_4.pth')
    content['meta']['dataset_meta']['classes'] = ['only']
    torch.save(content, run[0] / 'epoch_4.pth')
    images = [item._replace(label=0) for item in run[1]]
    monkeypatch.setattr(suspects, 'read_annotations', lambda *_: images)
    scores = np.array([[0.9], [0.2], [0], [0.1]], dtype=np.float32)
    monkeypatch.setattr(suspects, 'predict_annotations', lambda *_: scores)
    text = ' '.join(Reader(write_report(run[0]).read_text()).text)
    assert 'There is no other class that an annotation could be taken for.' in text
    assert 'looks wrong' not in text and '1 annotated objects were not found' in text


def test_scores_that_are_not_finite_are_noted(run, monkeypatch):
    scores = np.full((4, 3), np.nan, dtype=np.float32)
    monkeypatch.setattr(suspects, 'predict_annotations', lambda *_: scores)
    text = ' '.join(Reader(write_report(run[0]).read_text()).text)
    assert 'finite for none of the images: the training has diverged. Name an earlier' in text
    assert 'Annotations to check' not in text
    scores[0] = 0.1
    assert 'Annotations to check' in '\n'.join(Reader(write_report(run[0]).read_text()).text)


@pytest.mark.parametrize('boxes', [True, False])
def test_the_page_says_how_annotations_are_ordered(run, monkeypatch, boxes):
    images = [item if boxes else item._replace(box=None) for item in run[1]]
    monkeypatch.setattr(suspects, 'read_annotations', lambda *_: images)
    text = ' '.join(' '.join(Reader(write_report(run[0]).read_text()).text).split())
    assert ('gets the least probability and explains the scores worst' in text) != boxes
    assert ('neighbour explains counts half' in text) == boxes


def test_a_folder_as_the_page_is_refused_before_the_network_runs(run, monkeypatch):
    monkeypatch.setattr(suspects, 'predict_annotations', lambda *_: pytest.fail('too late'))
    with pytest.raises(ValueError, match=r'`out` must be the file .* is a folder: .*report\.html'):
        write_report(run[0], out=run[0].parent)


def test_names_of_files_that_are_no_text_are_escaped(run, monkeypatch):
    latin = os.fsdecode('Müller.png'.encode('latin-1'))
    images = [item._replace(image=latin, box=None) for item in run[1]]
    monkeypatch.setattr(suspects, 'read_annotations', lambda *_: images)
    np.savez(run[0] / OPINIONS, epoch=4, given=np.zeros(4, int), label=np.ones(4, int))
    page = write_report(run[0])
    for path in (page, *(run[0] / f'{name}.csv' for name in TABLES)):
        assert r'M\udcfcller.png' in path.read_text(encoding='utf-8')


def test_history_is_shown_at_start_middle_and_end(run):
    work_dir, _ = run
    folder = work_dir / 'soft_labels/head.loss'
    folder.mkdir(parents=True)
    for epoch in range(12):
        matrix = np.full((3, 3), 1 / 3, dtype=np.float32)
        matrix[0] = [0.5 - epoch / 100, 0.5, epoch / 100]
        np.save(folder / f'epoch_{epoch}.npy', matrix)
    text = Reader(write_report(work_dir).read_text()).text
    shown = [line for line in text if re.fullmatch(r'At the start|After epoch \d+', line)]
    assert shown == ['At the start', 'After epoch 5', 'After epoch 11']
    first = text.index('After epoch 5')
    row = text.index('<b>bold</b>', text.index('in %', first) + 4)
    assert text[row : row + 4] == ['<b>bold</b>', '45', '50', '5.0']


def test_damaged_soft_labels_are_named_and_left_out(run):
    folder = run[0] / 'soft_labels/head.loss'
    folder.mkdir(parents=True)
    for epoch in range(4):
        np.save(folder / f'epoch_{epoch}.npy', np.eye(3, dtype=np.float32))
    (folder / 'epoch_1.npy').write_bytes((folder / 'epoch_1.npy').read_bytes()[:-4])
    (folder / 'epoch_3.npy').write_bytes(b'')
    text = Reader(write_report(run[0]).read_text()).text
    assert text[text.index('After epoch 2') - 1] and 'After epoch 3' not in text
    (note,) = [line for line in text if 'cannot be read' in line]
    assert 'head.loss/epoch_1.npy' in note and 'head.loss/epoch_3.npy' in note


@pytest.mark.parametrize('kind', ['OLSHook', 'mmdet_ols.engine.hooks.OLSHook'])
def test_periods_of_iterations_are_called_so(tmp_path, kind):
    config = CONFIG + f"default_hooks = dict(ols=dict(type='{kind}', by_epoch=False))"
    lines = [step(1, 5, loss=1.0), {'ols/head.loss/confidence': 0.5, 'step': 5}]
    start(tmp_path, '20260101_000000', lines, config)
    (tmp_path / 'soft_labels/head.loss').mkdir(parents=True)
    np.save(tmp_path / 'soft_labels/head.loss/iter_5.npy', np.eye(3, dtype=np.float32))
    text = Reader(write_report(tmp_path).read_text()).text
    assert 'After iteration 5' in text
    chart = text.index('Share of a soft label on its own class')
    assert 'iteration' in text[chart:] and 'epoch' not in text


@pytest.mark.parametrize(
    ('matrix', 'shown'),
    [
        # Class 1 has never been classified correctly; the rows are used as shares.
        ([[1.6, 0.1, 0.3], [1 / 3, 1 / 3, 1 / 3], [0, 0, 1]], [(0, '15.0', 2), (0, '5.0', 1)]),
        # The same where soft labels start as zeros.
        ([[0.8, 0.05, 0.15], [0, 0, 0], [0, 0, 1]], [(0, '15.0', 2), (0, '5.0', 1)]),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], []),
    ],
)
def test_pairs_are_classes_that_are_known_to_be_confused(run, matrix, shown):
    work_dir, _ = run
    content = torch.load(work_dir / 'epoch_4.pth')
    content['state_dict']['head.loss.soft_labels'] = torch.tensor(matrix)
    torch.save(content, work_dir / 'epoch_4.pth')
    text = Reader(write_report(work_dir).read_text()).text
    said = [line for line in text if ' of it looks like ' in line]
    assert said[::2] == [
        f'{CLASSES[true]}: {share} % of it looks like {CLASSES[other]}'
        for true, share, other in shown
    ]
    assert not any('nan' in line for line in said)
    # Only image 1 has scores for both classes of a pair.
    without = text.count('No object that was examined has scores for both.')
    assert without == len(said) - bool(said)
    assert ('The most confused pairs' in text) == bool(shown)


def test_names_at_a_matrix_have_bounded_room(run):
    html = write_report(run[0]).read_text()
    rows, columns = (
        re.search(rf'\.matrix {part} {{(.+?)}}', html)[1] for part in ('th', 'thead th')
    )
    assert 'max-width' in rows and 'ellipsis' in rows and 'max-height' in columns


def test_large_matrices_are_pictures(run):
    work_dir, _ = run
    matrix = np.full((30, 30), 1 / 30, dtype=np.float32)
    (work_dir / 'soft_labels/other').mkdir(parents=True)
    np.save(work_dir / 'soft_labels/other/epoch_0.npy', matrix)
    reader = assert_self_contained(write_report(work_dir).read_text())
    assert any('data:image/png' in (value or '') for _, _, value in reader.attributes)


def test_run_without_checkpoint_and_without_soft_labels(tmp_path):
    config = CONFIG.replace('OLSLoss', 'CrossEntropyLoss')
    start(tmp_path, '20260101_000000', [step(1, 10, loss=2.0, lr=0.1)], config)
    html = write_report(tmp_path).read_text()
    text = '\n'.join(assert_self_contained(html).text)
    assert 'There is no checkpoint yet' in text and 'CrossEntropyLoss' in text and 'Losses' in text
    assert 'Soft labels' not in text and 'Annotations to check' not in text


def test_data_that_moved_are_named_and_the_rest_is_shown(run, monkeypatch):
    def moved(*_):
        raise FileNotFoundError('no such folder: gone/data')

    monkeypatch.setattr(suspects, 'read_annotations', moved)
    text = '\n'.join(Reader(write_report(run[0]).read_text()).text)
    assert 'were not examined: no such folder: gone/data' in text
    assert '--data-root names the folder' in text
    assert 'Losses' in text and 'Soft labels' in text and 'Annotations to check' not in text


@pytest.mark.parametrize('damage', [lambda path: path.unlink(), lambda p: p.write_bytes(b'PK')])
def test_last_checkpoint_that_cannot_be_loaded_is_a_note(run, damage):
    work_dir, _ = run
    damage(work_dir / 'epoch_4.pth')
    text = '\n'.join(Reader(write_report(work_dir).read_text()).text)
    assert (
        'The report says nothing about images' in text
        and 'epoch_4.pth' in text
        and 'Losses' in text
    )
    with pytest.raises((FileNotFoundError, ValueError), match=r'epoch_4\.pth'):
        write_report(work_dir, checkpoint=work_dir / 'epoch_4.pth')
