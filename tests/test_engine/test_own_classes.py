"""Configs that take their classes from annotations."""

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from toy_coco import write_coco
from toy_voc import make_voc, write_xml
from toy_voc_folder import annotation_xml, make_folder, object_xml

from mmdet_ols import config_path
from mmdet_ols.engine import own_classes
from mmdet_ols.engine.own_classes import fill_in_classes
from mmdet_ols.engine.run_config import read_config


def dataset(root, **more):
    return dict(
        type='mmdet.XMLDataset', data_root=str(root), data_prefix=dict(sub_data_root=''), **more
    )


def config(train, val, model):
    wrapped = dict(type='RepeatDataset', times=2, dataset=train)
    loaders = dict(train_dataloader=dict(dataset=wrapped), val_dataloader=dict(dataset=val))
    return Config(
        dict(classes_from_annotations=True, default_scope='mmdet', model=model, **loaders)
    )


def yolo(**loss):
    return dict(type='YOLOV3', bbox_head=dict(num_classes=80, loss_cls=dict(type='CE', **loss)))


def test_data_sets_heads_and_losses_get_the_classes(tmp_path):
    root = make_voc(tmp_path / 'own')
    roi_head = dict(
        bbox_head=[dict(num_classes=80), dict(num_classes=80, loss_cls=dict(num_classes=80))],
        mask_head=dict(num_classes=80),
    )
    model = dict(
        detector=dict(
            backbone=dict(num_classes=1000),
            rpn_head=dict(num_classes=1, loss_cls=dict(num_classes=1)),
            roi_head=roi_head,
        )
    )
    cfg = config(dataset(root), dataset(root, metainfo=dict(palette=[1])), model)
    fill_in_classes(cfg)
    names = ('cat', 'dog', 'fox')
    assert cfg.train_dataloader.dataset.dataset.metainfo == dict(classes=names)
    assert cfg.val_dataloader.dataset.metainfo == dict(classes=names, palette=[1])
    heads = cfg.model.detector.roi_head
    assert [head.num_classes for head in (*heads.bbox_head, heads.mask_head)] == [3, 3, 3]
    assert heads.bbox_head[1].loss_cls.num_classes == 3
    assert cfg.model.detector.rpn_head == dict(num_classes=1, loss_cls=dict(num_classes=1))
    assert cfg.model.detector.backbone.num_classes == 1000
    assert 'classes_from_annotations' not in cfg


def test_classes_of_all_folders_count(tmp_path):
    train, val = make_voc(tmp_path / 'a'), make_voc(tmp_path / 'b')
    write_xml(val / 'Annotations/a.xml', ['ape'])
    cfg = config(dataset(train), dataset(tmp_path), yolo())
    cfg.val_dataloader.dataset.data_prefix.sub_data_root = 'b'
    fill_in_classes(cfg)
    assert cfg.val_dataloader.dataset.metainfo.classes == ('ape', 'cat', 'dog', 'fox')
    assert cfg.model.bbox_head.num_classes == 4


def test_the_files_that_the_lists_name_count(tmp_path, monkeypatch):
    """Names are cleaned; sub-folders are read; what no list names is passed over."""
    said = []
    monkeypatch.setattr(own_classes, 'print_log', lambda message, **options: said.append(message))
    monkeypatch.setattr(own_classes, 'warn', said.append)
    root = make_folder(
        tmp_path,
        {
            'cam1/a': annotation_xml(object_xml('cat'), object_xml(' cat ')),
            'b': annotation_xml(object_xml('Mo\u0308we')),
            'unlisted': annotation_xml(object_xml('dog')),
            '._b': b'\0\x05\x16\x07\0',
        },
        'cam1/a\r\n',
    )
    (root / 'ImageSets/Main/val.txt').write_text('b.jpg')
    train = dataset(root, ann_file='ImageSets/Main/train.txt')
    cfg = config(train, dataset(root, ann_file='ImageSets/Main/val.txt'), yolo())
    fill_in_classes(cfg)
    assert cfg.val_dataloader.dataset.metainfo.classes == ('M\u00f6we', 'cat')
    assert 'cat (2), M\u00f6we (1)' in said[0]
    assert 'single object in all annotations: M\u00f6we.' in said[1]
    # Without lists, all annotations count.
    cfg = config(dataset(root), dataset(root), yolo())
    fill_in_classes(cfg)
    assert cfg.val_dataloader.dataset.metainfo.classes == ('M\u00f6we', 'cat', 'dog')


def test_broken_files_of_the_lists_are_all_named(tmp_path):
    root = make_folder(tmp_path, {'a': '<annotation>', 'b': b'', 'c': 'nothing'}, 'a\nb\n')
    train = dataset(root, ann_file='ImageSets/Main/train.txt')
    with pytest.raises(ValueError, match=r'(?s)a\.xml is not valid XML.*b\.xml is empty') as raised:
        fill_in_classes(config(train, train, yolo()))
    assert 'c.xml' not in str(raised.value)
    (root / 'Annotations/a.xml').write_text(annotation_xml())
    (root / 'Annotations/b.xml').write_text(annotation_xml())
    with pytest.raises(ValueError, match='none of the 2 annotation files holds one'):
        fill_in_classes(config(train, train, yolo()))


def test_without_the_marker_nothing_is_filled_in(tmp_path):
    cfg = config(dataset(tmp_path / 'absent'), dataset(tmp_path / 'absent'), yolo())
    cfg.classes_from_annotations = False
    before = cfg.model.to_dict()
    fill_in_classes(cfg)
    assert cfg.model.to_dict() == before


def test_what_cannot_be_filled_in_is_said(tmp_path):
    root = make_voc(tmp_path / 'own')
    with pytest.raises(FileNotFoundError, match='expected this layout'):
        fill_in_classes(config(dataset(tmp_path), dataset(root), yolo()))
    with pytest.raises(ValueError, match='train_dataloader, CrowdHumanDataset: name the classes'):
        fill_in_classes(config(dict(type='CrowdHumanDataset'), dataset(root), yolo()))
    with pytest.raises(ValueError, match='needs `num_classes` in the head'):
        fill_in_classes(config(dataset(root), dataset(root), dict(bbox_head=dict(type='A'))))


def coco(root, name='train'):
    file = f'{name}.json'
    return dict(type='CocoDataset', data_root=str(root), ann_file=file, data_prefix=dict(img=''))


def test_categories_keep_the_order_of_the_file(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(own_classes, 'print_log', lambda message, **options: said.append(message))
    # As Roboflow writes them: the first category is the name of the project.
    write_coco(tmp_path / 'train.json', {'pets': 0, 'fox': 2, 'cat': 1, 'ape': 0}, [0, 3, 1, 2])
    write_coco(tmp_path / 'val.json', {'pets': 0, 'fox': 1, 'cat': 3, 'ape': 2}, [0, 3, 1, 2])
    cfg = config(coco(tmp_path), coco(tmp_path, 'val'), yolo())
    fill_in_classes(cfg)
    assert cfg.val_dataloader.dataset.metainfo.classes == ('fox', 'cat', 'ape')
    assert cfg.model.bbox_head.num_classes == 3
    assert 'cat (4), fox (3), ape (2)' in said[0]
    assert 'without an object are left out: pets' in said[1]
    # The numbers that the host gives to the objects are those of the names.
    with DefaultScope.overwrite_default_scope('mmdet'):
        loaded = DATASETS.build(dict(cfg.train_dataloader.dataset.dataset))
    images = (loaded.get_data_info(index) for index in range(len(loaded)))
    labels = [item['bbox_label'] for image in images for item in image['instances']]
    assert sorted(labels) == [0, 0, 1]


def test_coco_files_that_cannot_be_read_are_named(tmp_path):
    cfg = config(coco(tmp_path), coco(tmp_path), yolo())
    with pytest.raises(FileNotFoundError, match=r'train\.json, the `ann_file` of train_dataloader'):
        fill_in_classes(cfg.copy())
    unnamed = config(dict(coco(tmp_path), ann_file=''), coco(tmp_path), yolo())
    with pytest.raises(ValueError, match='`ann_file` of train_dataloader, CocoDataset must name'):
        fill_in_classes(unnamed)
    (tmp_path / 'train.json').write_text('{"images": []}')
    with pytest.raises(ValueError, match=r'must have a list `categories`'):
        fill_in_classes(cfg.copy())
    write_coco(tmp_path / 'train.json', {'cat': 0})
    with pytest.raises(ValueError, match=r'none of the 1 annotation files holds one'):
        fill_in_classes(cfg.copy())


def test_the_shipped_config_reads_coco(tmp_path):
    folder = tmp_path / 'own/annotations'
    folder.mkdir(parents=True)
    for name in ('train', 'val'):
        write_coco(folder / f'{name}.json', {'fox': 2, 'cat': 1})
    cfg = read_config(config_path('yolo_ols_own_coco.py'), data_root=str(tmp_path / 'own'))
    loss = cfg.model.bbox_head.loss_cls
    assert (loss.type, loss.num_classes, loss.sigmoid_reading) == ('OLSLoss', 2, 'softmax')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.metainfo.classes == ('fox', 'cat')
        assert loader.dataset.data_root == str(tmp_path / 'own')


@pytest.mark.parametrize('name', ['yolo_ols_own.py', 'yolo_hard_own.py'])
def test_the_shipped_configs_hold_the_classes_once_they_are_read(name, tmp_path):
    root = make_voc(tmp_path / 'own')
    cfg = read_config(config_path(name), data_root=str(root), method='ols')
    cfg.dump(tmp_path / 'dumped.py')
    for whole in (cfg, Config.fromfile(tmp_path / 'dumped.py')):
        head = whole.model.bbox_head
        assert (head.num_classes, head.loss_cls.num_classes, head.loss_cls.type) == (
            3,
            3,
            'OLSLoss',
        )
        for loader in (whole.train_dataloader, whole.val_dataloader, whole.test_dataloader):
            assert loader.dataset.metainfo.classes == ('cat', 'dog', 'fox')
            assert loader.dataset.data_root == str(root)


def test_classes_that_the_config_names_count(tmp_path):
    root = make_voc(tmp_path / 'own')
    named = dataset(root, metainfo=dict(classes=['fox', 'cat']))
    cfg = config(named, dataset(root), yolo())
    fill_in_classes(cfg)
    for loaded in (cfg.train_dataloader.dataset.dataset, cfg.val_dataloader.dataset):
        assert loaded.metainfo.classes == ('fox', 'cat')
    assert cfg.model.bbox_head.num_classes == 2
    other = dataset(root, metainfo=dict(classes=['cat', 'fox']))
    with pytest.raises(
        ValueError, match=r"is \('fox', 'cat'\) in train_.* and \('cat', 'fox'\) in val"
    ):
        fill_in_classes(config(named, other, yolo()))
    letters = dataset(root, metainfo=dict(classes='cat'))
    with pytest.raises(ValueError, match=r"write \('cat',\) with a comma"):
        fill_in_classes(config(letters, dataset(root), yolo()))
