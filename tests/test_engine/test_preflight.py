"""Configs and data are looked at before a training starts."""

import json

import pytest
from mmengine.config import Config

from mmdet_ols.datasets.voc_annotations import voc_classes
from mmdet_ols.engine import check_datasets, check_losses, preflight

BOX = dict(xmin=2, ymin=3, xmax=20, ymax=30)


def write_xml(path, objects, box=BOX):
    edges = ''.join(f'<{edge}>{value}</{edge}>' for edge, value in box.items())
    nodes = ''.join(
        f'<object><name>{name}</name><bndbox>{edges}</bndbox></object>' for name in objects
    )
    path.write_text(f'<annotation>{nodes}</annotation>')


@pytest.fixture
def root(tmp_path):
    """Three images, with cats, dogs and foxes, in VOC's layout."""
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (tmp_path / folder).mkdir(parents=True)
    content = {'a': ['cat', 'dog'], 'b': ['fox', 'cat'], 'c': []}
    for name, objects in content.items():
        write_xml(tmp_path / 'Annotations' / f'{name}.xml', objects)
        (tmp_path / 'JPEGImages' / f'{name}.jpg').write_bytes(b'')
    (tmp_path / 'ImageSets/Main/trainval.txt').write_text('\n'.join(content))
    return tmp_path


@pytest.fixture
def said(monkeypatch):
    messages = []
    monkeypatch.setattr(preflight, 'print_log', lambda message, **kwargs: messages.append(message))
    return messages


def config(root, classes=('cat', 'dog', 'fox'), **changes):
    dataset = dict(
        type='XMLDataset',
        data_root=str(root),
        ann_file='ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=classes),
    )
    dataset.update(changes)
    wrapped = dict(type='RepeatDataset', times=2, dataset=dict(type='Concat', datasets=[dataset]))
    return Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=wrapped)))


def test_good_data_pass_in_silence(root, said):
    check_datasets(config(root))
    assert said == []


def test_missing_root_says_what_was_expected(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r'(?s)`data_root` of train_dataloader, XMLDataset.*'
        r'absent does not exist.*ImageSets/Main/SPLIT\.txt',
    ):
        check_datasets(config(tmp_path / 'absent'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(ann_file='ImageSets/Main/train.txt'), r'`ann_file`.*train\.txt.*holds trainval\.txt'),
        (dict(data_prefix=dict(sub_data_root='VOC2007/')), r'`sub_data_root`.*VOC2007.*holds Anno'),
    ],
)
def test_missing_path_says_what_was_found(root, change, message):
    with pytest.raises(FileNotFoundError, match=f'(?s){message}'):
        check_datasets(config(root, **change))


@pytest.mark.parametrize('path', ['Annotations/b.xml', 'JPEGImages/c.jpg'])
def test_missing_file_of_an_image_is_named(root, path):
    (root / path).unlink()
    with pytest.raises(FileNotFoundError, match=path):
        check_datasets(config(root))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('<annotation><object>', 'not valid XML'),
        ('<annotation><object><name>cat</name></object></annotation>', r'object 1: <bndbox/xmin>'),
    ],
)
def test_broken_annotation_is_named(root, content, message):
    (root / 'Annotations/b.xml').write_text(content)
    with pytest.raises(ValueError, match=rf'b\.xml.*{message}'):
        check_datasets(config(root))


def test_box_that_is_no_number_is_named(root):
    write_xml(root / 'Annotations/b.xml', ['cat'], {**BOX, 'ymax': 'many'})
    with pytest.raises(ValueError, match=r"b\.xml, object 1: .*'many'"):
        check_datasets(config(root))


def test_boxes_without_area_are_counted(root, said):
    write_xml(root / 'Annotations/b.xml', ['cat', 'cat'], {**BOX, 'ymax': 3})
    check_datasets(config(root))
    assert len(said) == 1 and '2 boxes have no area' in said[0]


def test_objects_of_unnamed_classes_are_counted(root, said):
    check_datasets(config(root, classes=('dog',)))
    assert len(said) == 1
    assert '3 objects of 2 classes' in said[0] and 'cat (2), fox (1)' in said[0]


def test_objects_of_unnamed_classes_are_an_error_on_request(root, said):
    with pytest.raises(ValueError, match=r'fox \(1\)'):
        check_datasets(config(root, classes=('cat', 'dog')), strict=True)


def test_no_object_of_a_named_class_is_always_an_error(root):
    with pytest.raises(ValueError, match='nothing is left to learn from'):
        check_datasets(config(root, classes=('person',)))


def test_classes_of_the_data_set_class_count_where_the_config_names_none(root, said):
    check_datasets(config(root, type='VOCDataset', metainfo=dict()))
    assert len(said) == 1 and 'name: fox (1).' in said[0]


def test_coco_annotations(root, said):
    content = dict(
        categories=[dict(id=1, name='cat'), dict(id=7, name='cow')],
        annotations=[dict(category_id=1), dict(category_id=7), dict(category_id=7)],
    )
    (root / 'coco.json').write_text(json.dumps(content))
    coco = dict(type='CocoDataset', ann_file='coco.json', data_prefix=dict(img='JPEGImages'))
    check_datasets(config(root, **coco))
    assert len(said) == 1 and 'cow (2)' in said[0]
    (root / 'coco.json').write_text('{"annotations": ')
    with pytest.raises(ValueError, match=r"coco\.json is not in COCO's format"):
        check_datasets(config(root, **coco))


def test_voc_classes_are_those_of_the_annotations(root, tmp_path_factory):
    assert voc_classes(root) == ('cat', 'dog', 'fox')
    empty = tmp_path_factory.mktemp('empty')
    with pytest.raises(FileNotFoundError, match=r'(?s)expected this layout.*holds \[\]'):
        voc_classes(empty)


def model_config(num_classes=3, hooks=None, **loss):
    head = dict(
        type='YOLOV3Head', num_classes=3, loss_cls=dict(type='OLSLoss', num_classes=num_classes)
    )
    return Config(dict(model=dict(bbox_head=[head]), default_hooks=hooks or {}))


def test_loss_and_head_must_agree_about_the_classes():
    with pytest.raises(
        ValueError, match=r'OLSLoss.*\(YOLOV3Head\), but got 80 for 3: set num_classes=3'
    ):
        check_losses(model_config(80))


def test_a_loss_without_hook_is_said_loudly(said):
    check_losses(model_config(hooks=dict(timer=dict(type='IterTimerHook'))))
    assert len(said) == 1 and 'no OLSHook' in said[0]
    check_losses(model_config(hooks=dict(ols=dict(type='OLSHook'))))
    assert len(said) == 1
