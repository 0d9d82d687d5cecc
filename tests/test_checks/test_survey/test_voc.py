"""What the files of VOC-style data sets say, and what is left out of them."""

import pytest
from mmdet.datasets import XMLDataset
from mmdet.utils import register_all_modules
from toy_voc_folder import annotation_xml, box_xml, dataset_options, make_folder, object_xml

from mmdet_ols.checks.survey.voc import read_voc
from mmdet_ols.datasets.lenient_voc import LenientVOCDataset

register_all_modules(init_default_scope=False)
HARD = '<difficult>1</difficult>'
NO_SIZE = '<size><width>0</width><height>0</height></size>'
FILTERS = dict(filter_empty_gt=True, min_size=30, bbox_min_size=9)


def read(cls, root, **options):
    return read_voc(cls(**dataset_options(root, lazy_init=True, **options)))


def loaded(cls, root, **options):
    """What the network will learn from, as the data set itself loads it: images and objects."""
    infos = cls(**dataset_options(root, **options)).data_list
    flags = [item['ignore_flag'] for info in infos for item in info['instances']]
    return len(infos), flags.count(0)


def explained(contents):
    """The same by what the files say."""
    images = contents.images - sum(each.count for each in contents.images_left_out.values())
    objects = sum(contents.objects.values())
    return images, objects - sum(each.count for each in contents.objects_left_out.values())


@pytest.fixture
def root(tmp_path):
    small = object_xml(box=box_xml(5, 6, 8, 9))
    return make_folder(
        tmp_path,
        {
            'a': annotation_xml(object_xml(), object_xml('dog', HARD), object_xml('fox')),
            'b': annotation_xml(object_xml(' cat '), small, object_xml('dog')),
            'c': annotation_xml(),
            'd': annotation_xml(object_xml(), object_xml('dog'), size=NO_SIZE),
            'e': annotation_xml(object_xml('fox')),
            'f': annotation_xml(object_xml(), size=''),
        },
    )


@pytest.mark.parametrize('cls', [XMLDataset, LenientVOCDataset])
@pytest.mark.parametrize('options', [{}, dict(filter_cfg=FILTERS), dict(test_mode=True)])
def test_the_files_and_the_data_set_agree(root, cls, options):
    assert explained(read(cls, root, **options)) == loaded(cls, root, **options)


def test_what_the_host_leaves_out_has_a_reason(root):
    contents = read(XMLDataset, root, filter_cfg=FILTERS)
    assert contents.objects == {'cat': 4, ' cat ': 1, 'dog': 3, 'fox': 2}
    counts = {reason: each.count for reason, each in contents.objects_left_out.items()}
    assert counts == {
        'unknown class': 2,
        'difficult': 1,
        'too small': 1,
        'blank in the name': 1,
        'in an image: <size> of 0': 2,
    }
    assert {reason: each.count for reason, each in contents.images_left_out.items()} == {
        'no object': 2,
        '<size> of 0': 1,
    }
    blank = contents.objects_left_out['blank in the name']
    assert blank.example.endswith('b.xml, object 1')
    assert "type='mmdet_ols.datasets.lenient_voc.LenientVOCDataset'" in blank.remedy


def test_a_name_in_another_unicode_form_is_lost_to_the_host(tmp_path):
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml('Mo\u0308we'), object_xml())})
    options = dict(classes=('cat', 'M\u00f6we'))
    contents = read(XMLDataset, root, **options)
    assert contents.objects_left_out['Unicode form in the name'].count == 1
    assert explained(contents) == loaded(XMLDataset, root, **options) == (1, 1)
    ours = read(LenientVOCDataset, root, **options)
    assert explained(ours) == loaded(LenientVOCDataset, root, **options) == (1, 2)


@pytest.mark.parametrize('cls', [XMLDataset, LenientVOCDataset])
def test_an_image_whose_size_nobody_knows_is_named(tmp_path, cls):
    root = make_folder(tmp_path, {n: annotation_xml(object_xml(), size='') for n in 'ab'})
    (root / 'JPEGImages/b.jpg').write_bytes(b'')
    (error,) = read(cls, root).errors
    assert 'b.jpg cannot be opened' in error


def test_our_own_data_set_takes_what_the_host_leaves_out(root):
    contents = read(LenientVOCDataset, root, filter_cfg=FILTERS)
    assert contents.objects == {'cat': 5, 'dog': 3, 'fox': 2}
    counts = {reason: each.count for reason, each in contents.objects_left_out.items()}
    assert counts == {'unknown class': 2, 'difficult': 1, 'too small': 1}
    assert (contents.warnings, contents.errors) == ([], [])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (annotation_xml(object_xml(difficult='<difficult/>')), 'object 1: <difficult> must be 0'),
        (annotation_xml(object_xml(box='')), 'object 1: <bndbox/xmin> is missing'),
        (annotation_xml(size='<size/>'), r'a\.xml: <size/width> and <size/height> must be'),
        (annotation_xml(object_xml('猫')).encode('gbk'), r'a\.xml: the file must be XML in UTF-8'),
    ],
)
def test_what_ends_the_host_with_a_traceback_is_an_error_with_the_line_to_put_in(
    tmp_path, text, message
):
    if isinstance(text, bytes):
        text = b'<?xml version="1.0" encoding="gbk"?>' + text
    root = make_folder(tmp_path, {'a': text, 'b': text})
    with pytest.raises((ValueError, TypeError, AttributeError)):
        loaded(XMLDataset, root)
    (error,) = read(XMLDataset, root).errors
    assert 'LenientVOCDataset' in error and '(and 1 more)' in error
    with pytest.raises(ValueError, match=message):
        raise ValueError(error)
    assert read(LenientVOCDataset, root, classes=('cat', '猫')).errors == []


def test_objects_that_the_host_leaves_out_may_be_odd(tmp_path):
    road = object_xml('road', difficult='<difficult>Unspecified</difficult>', box='')
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml(), road)})
    contents = read(XMLDataset, root)
    assert contents.errors == [] and explained(contents) == loaded(XMLDataset, root) == (1, 1)


@pytest.mark.parametrize('cls', [XMLDataset, LenientVOCDataset])
def test_boxes_as_shares_of_the_image_are_an_error(tmp_path, cls):
    share = object_xml(box=box_xml(0.1, 0.2, 0.5, 1))
    (error,) = read(cls, make_folder(tmp_path, {'a': annotation_xml(share)})).errors
    assert 'a.xml: its boxes must be in pixels' in error


@pytest.mark.parametrize(
    'lines', ['a \nb\n', 'a\n\nb\n', '\ufeffa\nb\n', 'a 1\nb -1\n', 'a.jpg\nb']
)
def test_lines_that_only_our_own_data_set_reads(tmp_path, lines):
    root = make_folder(tmp_path, {n: annotation_xml(object_xml()) for n in 'ab'}, lines)
    with pytest.raises(FileNotFoundError, match=r'does not exist\. Found: .*LenientVOCDataset'):
        read(XMLDataset, root)
    assert read(LenientVOCDataset, root).images == 2


def test_an_image_of_another_extension_is_named(tmp_path):
    root = make_folder(tmp_path, {n: annotation_xml(object_xml()) for n in 'ab'})
    (root / 'JPEGImages/b.jpg').rename(root / 'JPEGImages/b.JPG')
    with pytest.raises(FileNotFoundError, match=r'b\.jpg does not exist.*LenientVOC.*b\.JPG'):
        read(XMLDataset, root)
    assert read(LenientVOCDataset, root).errors == []


def test_all_missing_files_are_counted(tmp_path):
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml())}, 'a\nx\ny\nz\n')
    with pytest.raises(FileNotFoundError, match=r"names x \(line 2\).*2 more lines .*'y', 'z'"):
        read(XMLDataset, root)
    assert len(read(LenientVOCDataset, root).errors) == 3


@pytest.mark.parametrize('cls', [XMLDataset, LenientVOCDataset])
def test_boxes_without_area_are_counted(tmp_path, cls):
    flat = object_xml(box=box_xml(5, 6, 9, 6))
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml(), flat, flat)})
    contents = read(cls, root)
    assert '2 boxes have no area (xmax <= xmin or ymax <= ymin)' in contents.warnings[0]
    assert 'Correct' in contents.warnings[0]
    assert explained(contents) == loaded(cls, root)


def test_boxes_beyond_the_image_are_counted(tmp_path):
    wide = object_xml(box=box_xml(5, 6, 90, 20))
    root = make_folder(tmp_path, {'a': annotation_xml(object_xml(), wide)})
    (warning,) = read(XMLDataset, root).warnings
    assert '1 boxes reach beyond the image' in warning and 'a.xml, object 2' in warning
    assert 'LenientVOCDataset' in warning


def test_boxes_that_our_own_data_set_clips_or_leaves_out_are_counted(tmp_path):
    wide, outside = object_xml(box=box_xml(5, 6, 90, 20)), object_xml(box=box_xml(50, 6, 90, 20))
    good = [object_xml(box=box_xml(1, 1, 20, end)) for end in range(4, 27)]
    root = make_folder(tmp_path, {'a': annotation_xml(*good, wide, outside)})
    contents = read(LenientVOCDataset, root)  # of 24 boxes, one may be an oversight
    entry = contents.objects_left_out['box outside the image']
    assert entry.count == 1 and entry.remedy and contents.warnings == []
    root = make_folder(tmp_path, {'a': annotation_xml(*good[:9], wide)})
    (warning,) = read(LenientVOCDataset, root).warnings
    assert '1 of 10 boxes reach beyond their image' in warning


@pytest.mark.parametrize('cls', [XMLDataset, LenientVOCDataset])
def test_objects_that_repeat_another_one_are_counted(tmp_path, cls):
    dog, other = object_xml('dog'), object_xml(box=box_xml(3, 4, 22, 20))
    root = make_folder(
        tmp_path,
        {
            'a': annotation_xml(object_xml(), dog, other),  # one box may hold two classes
            'b': annotation_xml(object_xml(), dog, object_xml(), dog),
        },
    )
    (warning,) = read(cls, root).warnings
    assert '2 objects repeat another one' in warning and 'b.xml, object 3' in warning


def test_repeated_lines_and_unlisted_files_are_warnings(tmp_path):
    root = make_folder(
        tmp_path, {n: annotation_xml(object_xml()) for n in ('a', 'b', 'c', '.d')}, 'a\na\n'
    )
    (root / 'ImageSets/Segmentation').mkdir()
    (root / 'ImageSets/Segmentation/val.txt').write_text('b.jpg 1\n')
    repeated, unlisted = read(XMLDataset, root).warnings
    assert 'names 1 images more than once' in repeated and ': a.' in repeated
    assert '1 annotations' in unlisted and ': c.xml.' in unlisted
    contents = read(XMLDataset, root)
    for path in ('ImageSets/Main/train.txt', 'ImageSets/Segmentation/val.txt', 'Annotations/a.xml'):
        assert str(root / path) in contents.sources


@pytest.mark.parametrize(
    ('name', 'lines'),
    [
        ('a', 'a,1\n'),
        ('a', '"a"\n'),
        ('a b', 'JPEGImages\\a b.jpg 1\n'),
        ('a.jpg', 'a.jpg\n'),  # whose annotation is a.jpg.xml
        ('e\u0301', '\u00e9\n'),
    ],
)
def test_files_that_a_line_names_in_another_form_are_listed(tmp_path, name, lines):
    root = make_folder(tmp_path, {name: annotation_xml(object_xml())}, lines)
    contents = read(LenientVOCDataset, root)
    assert (contents.images, contents.warnings, contents.errors) == (1, [], [])
