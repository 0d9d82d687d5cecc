"""The data set for VOC-style files as people's tools write them."""

import pytest
from mmdet.datasets import VOCDataset
from mmdet.utils import register_all_modules
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from toy_voc_folder import (
    BOX,
    SIZE_TAG,
    annotation_xml,
    box_xml,
    dataset_options,
    make_folder,
    object_xml,
    write_image,
)

from mmdet_ols.datasets import lenient_voc
from mmdet_ols.datasets.lenient_voc import LenientVOCDataset

register_all_modules(init_default_scope=False)


def load(root, **options):
    return LenientVOCDataset(**dataset_options(root, **options))


@pytest.fixture
def said(monkeypatch):
    messages = []
    monkeypatch.setattr(
        lenient_voc, 'print_log', lambda message, **options: messages.append(message)
    )
    return messages


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(test_mode=True),
        dict(filter_cfg=dict(filter_empty_gt=True, min_size=30)),
        dict(filter_cfg=dict(filter_empty_gt=True, min_size=30, bbox_min_size=9)),
    ],
)
def test_regular_data_are_loaded_as_by_the_host(tmp_path, said, options):
    """Difficult and small objects, unknown classes, small images, and such without objects."""
    dog = object_xml('dog', '<difficult>1</difficult>', box_xml(1, 1, 40, 30))
    small = object_xml(difficult='', box=box_xml('5.5', 6, 13.9, 16))
    annotations = {
        'VOC2007/a': annotation_xml(object_xml(), dog, object_xml('fox')),
        'b c': annotation_xml(small, dog, small),
        'd': annotation_xml(),
        'e': annotation_xml(object_xml(), size=''),
        'f': annotation_xml(object_xml('fox')),
        'g': annotation_xml(object_xml(), size=SIZE_TAG.replace('30', '25')),
    }
    root = make_folder(tmp_path, annotations)
    host = VOCDataset(**dataset_options(root, **options))
    ours = load(root, **options)
    assert ours.data_list == host.data_list and len(host) > 1
    assert [list(info) for info in ours.data_list] == [list(info) for info in host.data_list]
    for key in ('classes', 'dataset_type'):
        assert ours.metainfo[key] == host.metainfo[key]
    assert said == []


def test_a_config_may_name_it_by_its_whole_path(tmp_path):
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml())})
    with DefaultScope.overwrite_default_scope('mmdet'):
        for name in ('mmdet_ols.datasets.lenient_voc.LenientVOCDataset', 'LenientVOCDataset'):
            dataset = DATASETS.build(dict(type=name, **dataset_options(root)))
            assert type(dataset) is LenientVOCDataset


def test_odd_files_are_loaded_like_regular_ones(tmp_path, said):
    odd = {
        'a': annotation_xml(object_xml(' cat\n')),
        'b': annotation_xml(object_xml(difficult='<difficult>Unspecified</difficult>')),
        'c': annotation_xml(object_xml(), size='<size><width>0</width><height>0</height></size>'),
        'd': annotation_xml(object_xml()).encode('utf-16'),
        'sub/e': annotation_xml(object_xml(box=box_xml(21, 20, 3, 4))),
        'f': annotation_xml(object_xml(box='<polygon><x1>3</x1><y1>4</y1><x2>21</x2><y2>20</y2>')),
    }
    odd['f'] = odd['f'].replace('</object>', '</polygon></object>')
    root = make_folder(tmp_path, odd, '\ufeffa.jpg\r\n\r\nb -1\r\nc\r\nd\r\ne\r\nf\r\n')
    (root / 'JPEGImages/d.jpg').rename(root / 'JPEGImages/d.JPG')
    regular = make_folder(tmp_path / 'regular', {n: annotation_xml(object_xml()) for n in 'abcdef'})
    expected = VOCDataset(**dataset_options(regular)).data_list
    dataset = load(root, filter_cfg=dict(filter_empty_gt=True, min_size=30))
    for info, wanted in zip(dataset.data_list, expected):
        for key in ('width', 'height', 'instances'):
            assert info[key] == wanted[key]
    assert [info['img_id'] for info in dataset.data_list] == ['a', 'b', 'c', 'd', 'sub/e', 'f']
    (message,) = said
    for part in ('line breaks', '<difficult>', '<size> of 0', 'swapped', 'polygon'):
        assert part in message


@pytest.mark.parametrize(
    ('box', 'loaded'),
    [
        (box_xml(0, 0, 20, 20), [0, 0, 19, 19]),  # counted from 0
        (box_xml(-9, 5, 20, 20), [0, 4, 19, 19]),
        (box_xml(10, 5, 99, 20), [9, 4, 40, 19]),
        (box_xml(10, 5, 41, 31), [9, 4, 40, 30]),
        (box_xml(10, 5, 10, 20), None),
        (box_xml(50, 5, 60, 20), None),
        ('', None),
        (f'<deleted>1</deleted>{BOX}', None),
    ],
)
def test_boxes_are_clipped_or_left_out(tmp_path, said, box, loaded):
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml(box=box))})
    (info,) = load(root).data_list
    assert [item['bbox'] for item in info['instances']] == ([] if loaded is None else [loaded])
    if loaded is None:
        assert 'left out' in said[0]
        assert len(load(root, filter_cfg=dict(filter_empty_gt=True))) == 0


def test_the_image_counts_where_the_size_in_the_annotation_cannot_be_right(tmp_path):
    size = '<size><width>20</width><height>15</height></size>'
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml(), size=size)})
    (info,) = load(root).data_list
    assert (info['width'], info['height']) == (40, 30)
    assert info['instances'][0]['bbox'] == [2, 3, 20, 19]


def test_boxes_drawn_before_the_image_is_turned_are_not_cut(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    root = make_folder(
        tmp_path, {'a': annotation_xml(object_xml(box=box_xml(20, 2, 40, 20)), size='')}
    )
    write_image(root / 'JPEGImages/a.jpg', exif=exif)
    (info,) = load(root).data_list
    assert (info['width'], info['height']) == (30, 40)
    assert info['instances'][0]['bbox'] == [19, 1, 39, 19]


def test_the_image_may_be_called_as_the_annotation_says(tmp_path):
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml(), filename='C:\\x\\other.png')})
    (root / 'JPEGImages/a.jpg').rename(root / 'JPEGImages/other.png')
    (info,) = load(root).data_list
    assert info['img_path'] == str(root / 'JPEGImages/other.png')


def test_names_of_the_config_are_compared_as_those_of_the_files(tmp_path):
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml('Mo\u0308we'))})
    (info,) = load(root, classes=('cat', 'M\u00f6we ')).data_list
    assert info['instances'][0]['bbox_label'] == 1


def test_all_that_cannot_be_taken_is_named_at_once(tmp_path):
    odd = {
        'a': '<annotation>',
        'b': annotation_xml(object_xml(box=box_xml(1, 2, 'many', 9))),
        'c': annotation_xml(object_xml()),
        'd': annotation_xml(object_xml(box=box_xml('0.1', '0.2', '0.9', '1'))),
    }
    root = make_folder(tmp_path, odd, 'a\nb\nc\nd\ne\n')
    (root / 'JPEGImages/c.jpg').unlink()
    with pytest.raises(ValueError) as raised:
        load(root)
    message = str(raised.value)
    assert 'a.xml is not valid XML' in message and "is 'many'" in message
    assert 'c.xml has no image' in message and 'd.xml: its boxes must be in pixels' in message
    assert "train.txt names 'e' (no annotation of this name)" in message


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(classes=('cat', ' cat')), "'cat' and ' cat' are the same"),
        (dict(classes='cat'), "must be a tuple of class names, but is 'cat'"),
        (dict(backend_args=dict(backend='petrel')), "local files only, .* 'petrel'"),
        (dict(test_mode=True, filter_cfg=dict(bbox_min_size=9)), 'bbox_min_size.* is for training'),
    ],
)
def test_options_that_cannot_be_right(tmp_path, options, message):
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml(box=BOX))})
    with pytest.raises(ValueError, match=message):
        load(root, **options)


def test_without_a_prefix_the_data_root_holds_the_folders(tmp_path):
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml())})
    options = dataset_options(root)
    del options['data_prefix']
    assert len(LenientVOCDataset(**options)) == 1
