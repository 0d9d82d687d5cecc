"""Annotations as people's tools write them."""

import math

import pytest
from toy_voc_folder import BOX, SIZE, annotation_xml, box_xml, object_xml

from mmdet_ols.datasets.voc_annotations import Oddity, clean_name, read_annotation


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / 'a.xml'
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_annotation(path)

    return read


def test_a_regular_file_has_nothing_odd(read):
    text = annotation_xml(object_xml(), object_xml('dog', '<difficult>1</difficult>'), filename='x')
    annotation = read(text)
    assert (annotation.size, annotation.filename) == (SIZE, 'x')
    assert [(o.name, o.difficult, o.box) for o in annotation.objects] == [
        ('cat', False, (3, 4, 21, 20)),
        ('dog', True, (3, 4, 21, 20)),
    ]
    assert list(annotation.all_oddities()) == []
    # Other parts of the format, and an object that is not said to be easy or difficult.
    part = f'<part><name>head</name>{BOX}</part>'
    assert [o.name for o in read(annotation_xml(object_xml(difficult=part))).objects] == ['cat']


@pytest.mark.parametrize(
    ('text', 'name'),
    [
        ('\n      cat\n    ', 'cat'),
        ('cat\u00a0', 'cat'),
        ('\ufeffcat\u200b', 'cat'),
        ('traffic \n light', 'traffic light'),
        ('Mo\u0308we', 'M\u00f6we'),
    ],
)
def test_names_are_cleaned(read, text, name):
    assert clean_name(text) == name
    (item,) = read(annotation_xml(object_xml(text))).objects
    assert (item.raw_name, item.name, item.oddities) == (text, name, [Oddity.NAME])


@pytest.mark.parametrize(
    ('tag', 'difficult', 'is_odd'),
    [
        ('', False, False),
        ('<difficult> 1 </difficult>', True, False),
        ('<difficult/>', False, True),
        ('<difficult>Unspecified</difficult>', False, True),
        ('<difficult>1.0</difficult>', True, True),
        ('<difficult>True</difficult>', True, True),
        ('<difficult>False</difficult>', False, True),
    ],
)
def test_difficult_that_is_no_number(read, tag, difficult, is_odd):
    (item,) = read(annotation_xml(object_xml(difficult=tag))).objects
    assert (item.difficult, item.oddities) == (difficult, [Oddity.DIFFICULT] * is_odd)


@pytest.mark.parametrize(
    ('tag', 'size', 'oddities'),
    [
        ('', None, []),
        ('<size><width>0</width><height>0</height></size>', None, [Oddity.SIZE_ZERO]),
        ('<size><width>40.0</width><height>30.0</height></size>', SIZE, [Oddity.SIZE_TEXT]),
        ('<size><width>40</width></size>', None, [Oddity.SIZE_TEXT]),
        ('<size/>', None, [Oddity.SIZE_TEXT]),
    ],
)
def test_sizes_that_are_missing_or_odd(read, tag, size, oddities):
    annotation = read(annotation_xml(object_xml(), size=tag))
    assert (annotation.size, annotation.oddities) == (size, oddities)


@pytest.mark.parametrize(
    ('box', 'expected', 'oddity'),
    [
        (box_xml('3.7', '4', '2.1e1', '20'), (3.7, 4, 21, 20), None),
        (box_xml('3,5', '4', '21', '20'), (3.5, 4, 21, 20), Oddity.NUMBER),
        (box_xml(21, 20, 3, 4), (3, 4, 21, 20), Oddity.SWAPPED),
        ('', None, Oddity.NO_BOX),
        ('<segmented>0</segmented>', None, Oddity.NO_BOX),
        (
            '<polygon><pt><x>3</x><y>4</y></pt><pt><x>9</x><y>2</y></pt></polygon>',
            (3, 2, 9, 4),
            Oddity.POLYGON,
        ),
        (
            '<polygon><x1>3</x1><y1>4</y1><x2>9</x2><y2>2</y2></polygon>',
            (3, 2, 9, 4),
            Oddity.POLYGON,
        ),
        (
            f'<robndbox><cx>10</cx><cy>20</cy><w>8</w><h>4</h><angle>{math.pi / 2}</angle>'
            '</robndbox>',
            (8, 16, 12, 24),
            Oddity.POLYGON,
        ),
    ],
)
def test_boxes_of_all_kinds(read, box, expected, oddity):
    (item,) = read(annotation_xml(object_xml(box=box))).objects
    assert item.box == (None if expected is None else pytest.approx(expected))
    assert item.oddities == ([] if oddity is None else [oddity])


def test_a_polygon_beside_a_box_is_passed_over(read):
    polygon = '<polygon><x1>0</x1><y1>0</y1></polygon>'
    (item,) = read(annotation_xml(object_xml(box=BOX + polygon))).objects
    assert (item.box, item.oddities) == ((3, 4, 21, 20), [])


def test_an_object_that_is_marked_as_deleted_has_no_box(read):
    """As LabelMe keeps those that were removed."""
    gone, kept = (
        object_xml(box=f'<deleted>{mark}</deleted>{BOX}' + '<verified>0</verified>')
        for mark in (1, 0)
    )
    annotation = read(annotation_xml(gone, kept))
    assert [item.box for item in annotation.objects] == [None, (3, 4, 21, 20)]
    assert [item.oddities for item in annotation.objects] == [[Oddity.DELETED], []]
    assert annotation.objects[0].raw_box == (3, 4, 21, 20)
    assert annotation.count_names() == {'cat': 1}


CHINESE = '安全帽'
PLAIN = annotation_xml(object_xml(CHINESE))


@pytest.mark.parametrize(
    ('content', 'oddities'),
    [
        (PLAIN.encode('utf-8-sig'), []),
        (PLAIN.encode('utf-16'), []),
        (f'<?xml version="1.0" encoding="gb2312"?>{PLAIN}'.encode('gb2312'), [Oddity.ENCODING]),
        (PLAIN.encode('gbk'), [Oddity.ENCODING]),
        (f"<?xml version='1.0' encoding='utf-8'?>\n{PLAIN}".encode('gbk'), [Oddity.ENCODING]),
        (f"<?xml version='1.0' encoding='utf-8-mac-x'?>{PLAIN}".encode(), [Oddity.ENCODING]),
        # As .NET writes it; read as UTF-16, it is text where the number of bytes is even.
        (f'<?xml version="1.0" encoding="utf-16"?>{PLAIN}'.encode(), [Oddity.ENCODING]),
        (f'<?xml version="1.0" encoding="UTF-16LE"?>{PLAIN} '.encode(), [Oddity.ENCODING]),
        (f'\n <?xml version="1.0"?>{PLAIN}'.encode(), [Oddity.MARKUP]),
        (
            PLAIN.replace('<size>', '<path>a & b&c</path><size>').encode(),
            [Oddity.MARKUP],
        ),
    ],
)
def test_xml_that_parsers_refuse(read, content, oddities):
    annotation = read(content)
    assert [item.name for item in annotation.objects] == [CHINESE]
    assert annotation.oddities == oddities


def test_objects_where_the_host_does_not_look(read):
    spaced = PLAIN.replace('<annotation>', '<annotation xmlns="http://example.org">')
    nested = PLAIN.replace('<object>', '<objects><object>').replace(
        '</object>', '</object></objects>'
    )
    for text in (spaced, nested):
        annotation = read(text)
        assert [(o.name, o.oddities) for o in annotation.objects] == [(CHINESE, [Oddity.STRUCTURE])]
        assert annotation.size == SIZE


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', r'a\.xml is empty'),
        ('<annotation><object>', r'a\.xml is not valid XML \(no element found'),
        (b'\0\x05\x16\x07', r'a\.xml is not valid XML \(it is not text'),
        (annotation_xml(object_xml('')), r'a\.xml, object 1: <name> is missing or empty'),
        (
            annotation_xml(object_xml(), object_xml(box=box_xml(3, 4, 'many', 20))),
            r"a\.xml, object 2: <bndbox/xmax> must be a number of pixels, but is 'many'",
        ),
        (annotation_xml(object_xml(box=box_xml(3, 4, 21))), 'object 1: <bndbox/ymax> is missing'),
        (annotation_xml(object_xml(box=box_xml(3, 4, 'nan', 20))), "xmax> must .* is 'nan'"),
        (annotation_xml(object_xml(box=box_xml(3, 4, '1,234', 20))), "xmax> must .* is '1,234'"),
        (
            annotation_xml(object_xml(box='<polygon><x1>3</x1><y1>four</y1></polygon>')),
            r"a\.xml, object 1: <polygon/y1> must be a number of pixels, but is 'four': correct it",
        ),
        (
            annotation_xml(object_xml(box='<robndbox><cx>3</cx><cy>4</cy></robndbox>')),
            'object 1: <robndbox/w> is missing or empty',
        ),
    ],
)
def test_what_cannot_be_taken_is_named(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)
