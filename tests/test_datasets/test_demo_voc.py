"""The demo data set: the same every time, in VOC's layout, with boxes where the objects are."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import runpy
import shutil
import sys
from pathlib import Path
from xml.dom import minidom

import numpy as np
import pytest
from PIL import Image

from mmdet_ols.cli.make_demo_data import main
from mmdet_ols.datasets import demo_voc
from mmdet_ols.datasets.demo_voc import CLASSES, build, make_demo_voc, scenes

SMALL = {'VOC2007/trainval': 40, 'VOC2012/trainval': 30, 'VOC2007/test': 30}

#: Of two annotations of format version 2, seed 0.
DIGESTS = ['00debd65baed6367', '669aa21f1fd84787']


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('demo') / 'set'
    make_demo_voc(folder, SMALL, workers=2)
    return folder


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def read_objects(xml_path):
    """Size and objects of an annotation, read by a parser that the writer does not use."""

    def text(node, tag):
        (actual,) = node.getElementsByTagName(tag)
        return actual.firstChild.data

    document = minidom.parse(str(xml_path))
    assert text(document, 'folder') == xml_path.parts[-3]
    assert text(document, 'filename') == f'{xml_path.stem}.jpg'
    assert text(document, 'depth') == '3'
    size = int(text(document, 'width')), int(text(document, 'height'))
    objects = [
        {
            'name': text(node, 'name'),
            'box': [int(text(node, tag)) for tag in ('xmin', 'ymin', 'xmax', 'ymax')],
            'truncated': {'0': False, '1': True}[text(node, 'truncated')],
            'difficult': {'0': False, '1': True}[text(node, 'difficult')],
            'pose': text(node, 'pose'),
        }
        for node in document.getElementsByTagName('object')
    ]
    return size, objects


def all_objects(root):
    for path in sorted(root.glob('*/Annotations/*.xml')):
        size, objects = read_objects(path)
        for item in objects:
            yield size, item


def test_seed_alone_decides(root, tmp_path):
    fewer = {'VOC2007/trainval': 3, 'VOC2012/trainval': 2, 'VOC2007/test': 4}
    make_demo_voc(tmp_path / 'same', fewer, workers=1)
    make_demo_voc(tmp_path / 'other', fewer, seed=1, workers=1)
    many, same, other = contents(root), contents(tmp_path / 'same'), contents(tmp_path / 'other')
    drawn = [path for path in same if path.suffix in ('.xml', '.jpg')]
    assert len(drawn) == 2 * 9
    for path in drawn:
        assert same[path] == many[path], path
        assert same[path] != other[path], path


def test_layout(root):
    names = {
        split: (root / year / 'ImageSets/Main' / f'{subset}.txt').read_text().splitlines()
        for split in SMALL
        for year, subset in [split.split('/')]
    }
    assert {split: len(set(actual)) for split, actual in names.items()} == SMALL
    for year in ('VOC2007', 'VOC2012'):
        listed = {name for split in SMALL if split.startswith(year) for name in names[split]}
        assert sum(SMALL[split] for split in SMALL if split.startswith(year)) == len(listed)
        assert {path.name for path in (root / year / 'JPEGImages').iterdir()} == {
            f'{name}.jpg' for name in listed
        }
        assert {path.name for path in (root / year / 'Annotations').iterdir()} == {
            f'{name}.xml' for name in listed
        }


def test_annotations_fit_their_images(root):
    for path in sorted(root.glob('*/Annotations/*.xml')):
        (width, height), objects = read_objects(path)
        with Image.open(path.parents[1] / 'JPEGImages' / f'{path.stem}.jpg') as image:
            assert image.size == (width, height)
            assert image.mode == 'RGB'
        assert 1 <= len(objects) <= scenes.MAX_OBJECTS
        for item in objects:
            xmin, ymin, xmax, ymax = item['box']
            assert item['name'] in CLASSES
            assert 1 <= xmin < xmax <= width
            assert 1 <= ymin < ymax <= height
            if item['truncated']:
                assert 1 in (xmin, ymin) or xmax == width or ymax == height


def test_variety(root):
    objects = [item for _, item in all_objects(root)]
    assert {item['name'] for item in objects} == set(CLASSES)
    assert 0.02 <= np.mean([item['difficult'] for item in objects]) <= 0.1
    assert 0.05 <= np.mean([item['truncated'] for item in objects]) <= 0.2
    counted = json.loads((root / 'demo.json').read_text())['num_objects']
    assert {name: sum(split[name] for split in counted.values()) for name in CLASSES} == {
        name: sum(item['name'] == name for item in objects) for name in CLASSES
    }
    lengths = [
        max(item['box'][2] - item['box'][0], item['box'][3] - item['box'][1]) / min(size)
        for size, item in all_objects(root)
        if not item['truncated'] and not item['difficult']
    ]
    assert 0.15 < min(lengths) < 0.25
    assert 0.4 < max(lengths) < 0.6


@pytest.fixture(scope='module')
def wrong(tmp_path_factory):
    folder = tmp_path_factory.mktemp('wrong') / 'set'
    make_demo_voc(folder, SMALL, workers=1, wrong_labels=0.1)
    return folder


def labels(root):
    """{(image, number of the object): class} of a set."""
    return {
        (f'{path.parts[-3]}/{path.stem}', number): item['name']
        for path in root.glob('*/Annotations/*.xml')
        for number, item in enumerate(read_objects(path)[1])
    }


def test_wrong_labels_are_the_share_asked_for_and_all_listed(root, wrong):
    true, written = labels(root), labels(wrong)
    changed = {place for place in true if true[place] != written[place]}
    assert true.keys() == written.keys()
    trainval = [place for place in true if not place[0].startswith('VOC2007/1')]
    assert changed <= set(trainval)
    assert len(changed) == round(0.1 * len(trainval)) > 10
    listed = json.loads((wrong / 'wrong_labels.json').read_text())
    assert {(m['image'], m['object']): (m['true'], m['written']) for m in listed} == {
        place: (true[place], written[place]) for place in changed
    }
    assert len(listed) == len(changed)
    counted = json.loads((wrong / 'demo.json').read_text())['num_objects']
    assert {name: sum(split[name] for split in counted.values()) for name in CLASSES} == {
        name: list(written.values()).count(name) for name in CLASSES
    }


def test_wrong_labels_change_nothing_but_the_names(root, wrong):
    right, other = contents(root), contents(wrong)
    assert other.keys() - right.keys() == {Path('wrong_labels.json')}
    for path, data in right.items():
        if path.suffix == '.xml':
            lines = zip(data.splitlines(), other[path].splitlines())
            assert all(a == b or b'<name>' in a and b'<name>' in b for a, b in lines)
            assert data.count(b'\n') == other[path].count(b'\n')
        elif path.name != 'demo.json':
            assert data == other[path], path


def test_any_other_class_is_written_and_the_seed_decides(tmp_path):
    few = {'VOC2007/trainval': 25, 'VOC2012/trainval': 25, 'VOC2007/test': 1}
    for name, seed in (('all', 0), ('again', 0), ('other', 1)):
        make_demo_voc(tmp_path / name, few, seed=seed, workers=1, wrong_labels=1.0)
    assert contents(tmp_path / 'all') == contents(tmp_path / 'again')
    listed = json.loads((tmp_path / 'all/wrong_labels.json').read_text())
    pairs = {(m['true'], m['written']) for m in listed}
    # 150 draws of 72 pairs leave about 9 out.
    assert len(listed) > 120 and len(pairs) > 50 and all(a != b for a, b in pairs)
    other = json.loads((tmp_path / 'other/wrong_labels.json').read_text())
    assert listed != other


def test_sets_with_and_without_wrong_labels_are_told_apart(root, wrong):
    make_demo_voc(wrong, SMALL, wrong_labels=0.1)
    with pytest.raises(FileExistsError, match=r"'wrong_labels': 0.1\} instead of .*0.0"):
        make_demo_voc(wrong, SMALL)
    with pytest.raises(FileExistsError, match=r"'wrong_labels': 0.0\} instead of .*0.2"):
        make_demo_voc(root, SMALL, wrong_labels=0.2)
    assert 'wrong_labels' not in json.loads((root / 'demo.json').read_text())


def test_the_default_set_is_what_it_was(root):
    """A set of this format made by an earlier release is the same set, byte for byte."""
    names = ('VOC2007/Annotations/000001.xml', 'VOC2012/Annotations/2012_000030.xml')
    digests = [hashlib.sha256((root / name).read_bytes()).hexdigest()[:16] for name in names]
    assert demo_voc.FORMAT_VERSION == 2 and digests == DIGESTS


def test_same_set_is_used_again(root, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    monkeypatch.setattr(build, '_make_splits', lambda *_: pytest.fail('drawn again'))
    make_demo_voc(root, SMALL)
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*')} == before


def test_set_that_another_process_finished_first_is_used(root, tmp_path, monkeypatch):
    def make_splits(*_):
        shutil.copytree(root, tmp_path / 'set')
        return {}

    monkeypatch.setattr(build, '_make_splits', make_splits)
    make_demo_voc(tmp_path / 'set', SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ['set']
    assert contents(tmp_path / 'set') == contents(root)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'holiday.jpg': ''}, 'exists without a demo.json'),
        ({'demo.json': '[1, 2]'}, 'not a manifest'),
        ({'demo.json': '{"seed": 0}'}, 'not a manifest'),
        (None, r"made with \{'seed': 0\} instead of \{'seed': 7\}"),
    ],
)
def test_what_is_in_the_way_stays(content, message, root, tmp_path):
    folder = tmp_path / 'set'
    if content is None:
        shutil.copytree(root, folder)
    else:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text)
    before = contents(folder)
    with pytest.raises(FileExistsError, match=message):
        make_demo_voc(folder, SMALL, seed=7)
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ['set']


def test_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, 'write_image', interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_demo_voc(tmp_path / 'set', SMALL, workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'num_images': {'VOC2012/test': 3}}, r"num_images must name splits .*\['VOC2012/test'\]"),
        ({'num_images': {'VOC2007/test': 0}}, r"num_images\['VOC2007/test'\] .*but got 0"),
        ({'seed': -1}, '`seed` must be 0 or a positive integer, but got -1'),
        ({'wrong_labels': -0.1}, r'`wrong_labels`, .* must be in \[0, 1\], but got -0.1'),
        ({'wrong_labels': 1.5}, r'`wrong_labels`, .* must be in \[0, 1\], but got 1.5'),
        ({'workers': 0}, '`workers` must be None or a positive integer, but got 0: '),
    ],
)
def test_bad_arguments(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_demo_voc(tmp_path / 'set', **arguments)
    assert list(tmp_path.iterdir()) == []


def test_missing_pillow_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'PIL', None)
    spec = importlib.util.spec_from_file_location('demo_without_pillow', demo_voc.__file__)
    with pytest.raises(ImportError, match='pip install pillow'):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_tool_says_what_lies_where(tmp_path, monkeypatch, capsys):
    tool = Path(__file__).parents[2] / 'tools/make_demo_data.py'
    folder = tmp_path / 'set'
    arguments = [str(folder), '--images', '3', '2', '4', '--workers', '1', '--seed', '5']
    monkeypatch.setattr(sys, 'argv', [str(tool), *arguments])
    runpy.run_path(str(tool), run_name='__main__')
    lines = capsys.readouterr().out.splitlines()
    objects = [item['name'] for _, item in all_objects(folder)]
    expected = ', '.join(f'{objects.count(name)} {name}' for name in CLASSES)
    assert lines[-1] == f'{folder} holds {expected}'
    assert lines[-2].startswith('VOC2007/test: 4 images')

    monkeypatch.setattr(sys, 'argv', [*sys.argv[:-1], '6'])
    with pytest.raises(SystemExit, match='error: root must be a new folder'):
        runpy.run_path(str(tool), run_name='__main__')


@pytest.mark.parametrize('split', SMALL)
def test_mmdet_reads_it(split, root):
    datasets = pytest.importorskip('mmdet.datasets')
    year, subset = split.split('/')
    dataset = datasets.VOCDataset(
        data_root=str(root),
        ann_file=f'{year}/ImageSets/Main/{subset}.txt',
        data_prefix={'sub_data_root': f'{year}/'},
        metainfo={'classes': CLASSES},
        pipeline=[],
    )
    assert len(dataset) == SMALL[split]
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        size, objects = read_objects(Path(info['xml_path']))
        assert (info['width'], info['height']) == size
        assert Path(info['img_path']).is_file()
        assert [
            (CLASSES[actual['bbox_label']], [x + 1 for x in actual['bbox']], actual['ignore_flag'])
            for actual in info['instances']
        ] == [(item['name'], item['box'], int(item['difficult'])) for item in objects]


def test_what_only_the_progress_bar_needs_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rich.progress', None)
    words = ['make-demo-data', str(tmp_path / 'set'), '--images', '1', '1', '1']
    monkeypatch.setattr(sys, 'argv', words)
    with pytest.raises(SystemExit, match=r"needs rich: pip install 'mmdet_ols\[demo\]'"):
        main()
    assert not list(tmp_path.iterdir())
