"""Missing and broken data of detectors are named before a training starts."""

import json

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from toy_coco import write_coco
from toy_voc import BOX, jpeg, write_xml

from mmdet_ols.checks.data import check_datasets
from mmdet_ols.checks.downloads import fetch_datasets
from mmdet_ols.datasets.voc_files import voc_classes


def config(root, classes=('cat', 'dog', 'fox'), **changes):
    dataset = dict(
        type='XMLDataset',
        data_root=str(root),
        ann_file='ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=classes),
    )
    dataset.update(changes)
    wrapped = dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[dataset])
    )
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
    check_datasets(config(root, classes=('cat', 'dog')))
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
    assert 'name: fox (1).' in said[0]
    assert said[1:] == [
        'train_dataloader: 18 of 20 classes have no object to learn from: aeroplane, bicycle, '
        'bird, boat, bottle, bus, car, chair, cow, diningtable and 8 more.'
    ]


def test_coco_annotations(root, said):
    write_coco(root / 'coco.json', {'cat': 1, 'cow': 2}, ids=(1, 7))
    coco = dict(type='CocoDataset', ann_file='coco.json', data_prefix=dict(img='JPEGImages'))
    coco['metainfo'] = dict(classes=('cat',))
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


def test_data_that_are_not_local_files_of_ours_to_check_are_left_alone(tmp_path, said):
    absent = tmp_path / 'absent'
    for changes in (
        dict(type='mmpretrain.CIFAR10', ann_file='', data_prefix=''),  # downloads itself
        dict(backend_args=dict(backend='petrel')),
        dict(data_root='', ann_file='', data_prefix=dict(img='s3://bucket')),
    ):
        check_datasets(config(absent, **changes))
    assert said == []


def test_data_sets_that_download_themselves_are_fetched_once():
    built = []

    @DATASETS.register_module()
    class Downloads:
        def __init__(self, split, data_root, download=True):
            built.append(split)
            if split == 'bad':
                raise RuntimeError('no network')

    @DATASETS.register_module()
    class Lies:
        def __init__(self, data_root):
            built.append('lies')

    try:
        train, test = (dict(type='Downloads', split=s, data_root='x') for s in ('train', 'test'))
        parts = [train, dict(type='Lies', data_root='x')]
        whole = dict(type='RepeatDataset', times=2, dataset=dict(datasets=parts))
        loaders = {
            f'{split}_dataloader': dict(dataset=dataset)
            for split, dataset in (('train', whole), ('val', test), ('test', dict(test)))
        }
        fetch_datasets(Config(loaders))
        assert built == ['train', 'test']
        bad = dict(type='Downloads', split='bad', data_root='x')
        with pytest.raises(ValueError, match="val_dataloader, Downloads, .* 'x', .*no network"):
            fetch_datasets(Config(dict(val_dataloader=dict(dataset=bad))))
    finally:
        for name in ('Downloads', 'Lies'):
            DATASETS.module_dict.pop(name)


def test_json_of_other_kinds_is_not_taken_for_coco_detection(root, said):
    sample = dict(img_path='JPEGImages/a.jpg', gt_label=[0, 1, 2])
    (root / 'multi.json').write_text(json.dumps(dict(metainfo={}, data_list=[sample])))
    multi = dict(type='mmpretrain.MultiLabelDataset', ann_file='multi.json', data_prefix='')
    check_datasets(config(root, **multi))
    assert said == []


def test_names_may_stand_in_a_file_and_hold_spaces(root, said):
    (root / 'classes.txt').write_text('cat\ndog\nfox\n')
    (root / 'ImageSets/Main/trainval.txt').write_text('a\nb\nc\nwith space\n')
    write_xml(root / 'Annotations/with space.xml', ['fox'])
    (root / 'JPEGImages/with space.jpg').write_bytes(jpeg(90))
    check_datasets(config(root, classes=str(root / 'classes.txt')))
    assert said == []
