"""The page about a run: what it merges and shows, and that nothing on it comes from outside."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image

from mmdet_ols.analysis import report
from mmdet_ols.analysis.annotations import Annotation
from mmdet_ols.analysis.report import crop, read_curves, write_report
from mmdet_ols.results.run_folder import read_run, training_folders

CONFIG = """
model = dict(type='Net', head=dict(loss=dict(type='OLSLoss', num_classes=3)))
train_dataloader = dict(batch_size=7, dataset=dict(data_root='some/data'))
train_cfg = dict(max_epochs=4)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.5))
"""
CLASSES = ['<b>bold</b>', 'a & "b"', 'plain']


def start(work_dir, stamp, lines, config=CONFIG):
    """What MMEngine leaves of one start of a training."""
    folder = work_dir / stamp / 'vis_data'
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    for name in ('scalars.json', f'{stamp}.json'):
        (folder / name).write_text(text)
    (folder / 'config.py').write_text(config)


def make_test(work_dir, stamp):
    """What MMEngine leaves of a test."""
    folder = work_dir / stamp / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'config.py').write_text('model = None')
    (work_dir / stamp / f'{stamp}.json').write_text('{"pascal_voc/mAP": 0.9}')


def step(epoch, iteration, **values):
    return dict(values, epoch=epoch, iter=iteration, step=iteration)


def epoch_end(epoch, mean):
    return [
        {'ols/head.loss/correct_share': mean, 'step': epoch},
        {'pascal_voc/mAP': mean, 'pascal_voc/AP/plain': mean / 2, 'time': 1.0, 'step': epoch},
    ]


# --- merging -------------------------------------------------------------------------------------


def test_what_a_resumed_run_trained_again_counts_once(tmp_path):
    start(
        tmp_path,
        '20260101_000000',
        [step(1, 10, loss=9.0), step(1, 20, loss=8.0), *epoch_end(1, 0.1), step(2, 30, loss=7.0),
         *epoch_end(2, 0.2), step(3, 50, loss=6.0)],
    )  # fmt: skip
    # Resumed after epoch 1, with another interval of logging; cut short while it wrote.
    start(tmp_path, '20260102_000000', [step(2, 40, loss=5.0), *epoch_end(2, 0.3)])
    with (tmp_path / '20260102_000000/vis_data/scalars.json').open('a') as file:
        file.write('{"loss": 3.')
    make_test(tmp_path, '20260103_000000')
    curves = read_curves(tmp_path, 4)
    assert [(line['step'], line['loss']) for line in curves.training] == [(10, 9), (20, 8), (40, 5)]
    found = [(line['step'], line['pascal_voc/mAP']) for line in curves.epochs if 'time' in line]
    assert found == [(1, 0.1), (2, 0.3)]


def test_iteration_based_runs_are_merged_by_iteration(tmp_path):
    def lines(*numbers):
        return [dict(loss=float(n), iter=n, step=n) for n in numbers]

    start(tmp_path, '20260101_000000', [*lines(5, 10), {'acc': 0.1, 'step': 10}, *lines(15)])
    start(tmp_path, '20260102_000000', [*lines(11, 16), {'acc': 0.2, 'step': 20}])
    curves = read_curves(tmp_path, 20, by_epoch=False)
    assert [line['step'] for line in curves.training] == [5, 10, 11, 16]
    assert [line['acc'] for line in curves.epochs] == [0.1, 0.2]


ITERATIONS = 'train_cfg = dict(by_epoch=False, max_iters=10, val_interval=4)'


def test_iteration_based_run_that_logs_seldom(tmp_path):
    """As MMEngine leaves it by default: no `epoch`, and all validations at step 0."""

    def validation(value):
        return {'accuracy/top1': value, 'data_time': 0.1, 'time': 0.2, 'step': 0}

    trained = {'loss': 0.5, 'iter': 4, 'step': 4}
    config = CONFIG.replace('train_cfg = dict(max_epochs=4)', ITERATIONS)
    lines = [trained, validation(50.0), {'ols/head/confidence': 0.6, 'step': 6}, validation(60.0)]
    start(tmp_path, '20260101_000000', lines, config)
    # Goes on from the checkpoint before the second validation, and logs validations alone.
    start(tmp_path, '20260102_000000', [validation(80.0), validation(70.0)], config)
    log = tmp_path / '20260102_000000/20260102_000000.log'
    log.write_text('2026/01/02 00:00:09 - mmengine - INFO - resumed epoch: 0, iter: 4\n')
    make_test(tmp_path, '20260103_000000')
    run = read_run(tmp_path, 10, by_epoch=False, val_interval=4)
    values = {step: metrics['accuracy/top1'] for step, metrics in run.validations.items()}
    assert values == {4: 50.0, 8: 80.0, 10: 70.0} and run.done == 10
    curves = read_curves(tmp_path, 10, by_epoch=False, val_interval=4)
    assert [line['step'] for line in curves.epochs] == [4, 8, 10]
    text = Reader(write_report(tmp_path).read_text()).text
    assert '10 of 10 iterations' in text and 'Best accuracy/top1, iteration 8' in text


def test_a_resumed_run_that_only_validated_is_no_test(tmp_path):
    start(tmp_path, '20260101_000000', [step(1, 10, loss=1.0), *epoch_end(1, 0.1)])
    start(tmp_path, '20260102_000000', epoch_end(2, 0.2)[1:])
    make_test(tmp_path, '20260103_000000')
    # One that logs its result to both.
    start(tmp_path, '20260104_000000', epoch_end(3, 0.9)[1:])
    (tmp_path / '20260104_000000/20260104_000000.json').write_text('{}')
    starts = [folder.name for folder in training_folders(tmp_path)]
    assert starts == ['20260101_000000', '20260102_000000']
    assert list(read_run(tmp_path, 2).validations) == [1, 2]


# --- the page ------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """The text that a reader sees, the attributes by tag, and the tags that were left open."""

    VOID = {'meta', 'img', 'br', 'link', 'input'}

    def __init__(self, page):
        super().__init__()
        self.text, self.attributes, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ['style'] and data.strip():
            self.text.append(data.strip())


def assert_self_contained(page):
    reader = Reader(page)
    assert reader.open == []
    assert not {'script', 'link', 'iframe', 'object'} & {tag for tag, *_ in reader.attributes}
    for _, name, value in reader.attributes:
        if name in ('src', 'href', 'xlink:href', 'srcset', 'data', 'action'):
            assert value.startswith(('#', 'data:image/')), value
        if name.startswith('on'):
            pytest.fail(f'a script in {name}')
    assert not re.search(r'@import|url\((?!#)', page)
    identifiers = [value for _, name, value in reader.attributes if name == 'id']
    for _, name, value in reader.attributes:
        if name in ('href', 'xlink:href') and value.startswith('#'):
            assert value[1:] in identifiers
    return reader


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
    monkeypatch.setattr(report, 'read_annotations', lambda *_: annotations)
    monkeypatch.setattr(report, 'predict_annotations', lambda *_: scores)
    return work_dir, annotations


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


def test_errors_are_best_where_they_are_lowest(tmp_path):
    lines = [step(1, 1, loss=1.0)]
    lines += [{'calibration/ece': value, 'step': epoch} for epoch, value in ((1, 0.25), (2, 0.5))]
    start(tmp_path, '20260101_000000', lines)
    text = Reader(write_report(tmp_path).read_text()).text
    assert text[text.index('Best calibration/ece, epoch 1') + 1] == '0.250'
    row = text.index('Metric')
    assert text[row : row + 6] == ['Metric', 'Last', 'Best', 'calibration/ece', '0.5', '0.25']


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
    with pytest.raises(ValueError, match='`top` must not be negative, but got -1'):
        write_report(work_dir, top=-1)


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
    assert 'Soft labels' not in text and 'Annotations to look at' not in text


def test_data_that_moved_are_named_and_the_rest_is_shown(run, monkeypatch):
    def moved(*_):
        raise FileNotFoundError('no such folder: gone/data')

    monkeypatch.setattr(report, 'read_annotations', moved)
    text = '\n'.join(Reader(write_report(run[0]).read_text()).text)
    assert 'were not looked at: no such folder: gone/data' in text
    assert 'Losses' in text and 'Soft labels' in text and 'Annotations to look at' not in text


@pytest.mark.parametrize('damage', [lambda path: path.unlink(), lambda p: p.write_bytes(b'PK')])
def test_last_checkpoint_that_cannot_be_loaded_is_a_note(run, damage):
    work_dir, _ = run
    damage(work_dir / 'epoch_4.pth')
    text = '\n'.join(Reader(write_report(work_dir).read_text()).text)
    assert 'Nothing is said about images' in text and 'epoch_4.pth' in text and 'Losses' in text
    with pytest.raises((FileNotFoundError, ValueError), match=r'epoch_4\.pth'):
        write_report(work_dir, checkpoint=work_dir / 'epoch_4.pth')


@pytest.mark.parametrize('exists', [True, False])
def test_other_folders_are_refused(tmp_path, exists):
    folder = tmp_path if exists else tmp_path / 'absent'
    with pytest.raises(FileNotFoundError, match='must be the work directory of a training'):
        write_report(folder)


# --- crops ---------------------------------------------------------------------------------------


def test_crop_shows_the_object_and_its_box(tmp_path):
    pixels = np.full((50, 80, 3), 255, dtype=np.uint8)
    pixels[20:40, 60:80] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    uri = crop(str(tmp_path / 'image.png'), (60, 20, 80, 40))
    seen = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix('data:image/jpeg;base64,'))))
    assert seen.size == (report.CROP_SIZE, report.CROP_SIZE)
    shown = np.asarray(seen).astype(int)
    # The square around the object is 28 pixels wide, from (56, 16): 6 pixels of it a pixel.
    assert_allclose(shown[84, 84], [255, 0, 0], atol=12)
    assert_allclose(shown[84, 10], [255, 255, 255], atol=12)
    assert_allclose(shown[84, 160], [0x8A, 0x86, 0x80], atol=12)  # beyond the image
    assert shown[84, 22:25].sum(1).min() < 250  # the frame's left edge, at 24


def pixels_of(uri):
    seen = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix('data:image/jpeg;base64,'))))
    return np.asarray(seen).astype(int)


@pytest.mark.parametrize('corner', [(100, 5), (-60, 5), (5, 100), (5, -60)])
def test_crop_beyond_the_image_is_grey(tmp_path, corner):
    Image.new('RGB', (20, 20), 'red').save(tmp_path / 'image.png')
    x, y = corner
    shown = pixels_of(crop(str(tmp_path / 'image.png'), (x, y, x + 30, y + 30)))
    assert_allclose(shown[84, 84], [0x8A, 0x86, 0x80], atol=3)
    assert_allclose(shown[3, 3], [0x8A, 0x86, 0x80], atol=3)


@pytest.mark.parametrize('shape', [(20, 20, 3), (20, 20)])
def test_crop_of_an_array(shape):
    shown = pixels_of(crop(np.full(shape, 200, dtype=np.uint8), None))
    assert_allclose(shown, np.full((168, 168, 3), 200), atol=2)
    assert crop(np.zeros((2, 2, 7)), None) is None


def test_boxes_without_area_and_files_that_are_gone(tmp_path):
    Image.new('RGB', (20, 20)).save(tmp_path / 'image.png')
    assert crop(str(tmp_path / 'image.png'), (5, 5, 5, 5)).startswith('data:image/jpeg')
    assert crop(str(tmp_path / 'image.png'), None).startswith('data:image/jpeg')
    assert crop(str(tmp_path / 'absent.png'), (0, 0, 5, 5)) is None
