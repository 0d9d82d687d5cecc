"""Finding the files of the images that a list names."""

import pytest
from toy_voc_folder import annotation_xml, make_folder, object_xml, write_image

from mmdet_ols.datasets.voc_files import VOCFolder, voc_classes

XML = annotation_xml(object_xml())


def names_of(root, lines):
    content = lines if isinstance(lines, bytes) else lines.encode()
    (root / 'ImageSets/Main/train.txt').write_bytes(content)
    return VOCFolder(str(root)).read_split(root / 'ImageSets/Main/train.txt')


@pytest.mark.parametrize(
    'lines',
    [
        'a\nb c\n',
        'a \r\nb c\t\r\n',
        '\n\na\n\n  b c',
        '\ufeffa\nb c\n',
        'a\nb c\n'.encode('utf-16'),
        'a.jpg\nb c.jpg\n',
        'a.xml\nb c.XML\n',
        'JPEGImages/a.jpg\n./JPEGImages/b c.jpg\n',
        'a -1\nb c  1\n',
        'a.jpg a.xml\n"b c"\n',
        'JPEGImages/a.jpg,Annotations/a.xml\nb c\n',
        '/home/somebody/voc/JPEGImages/a.jpg\nC:\\voc\\JPEGImages\\b c.jpg\n',
        'data/obj/a.jpg\ndata/obj/b c.jpg\n',
        '# my list\na\nb c\n',
        'A\nB c\n',
    ],
)
def test_lists_of_all_kinds_name_the_same_images(tmp_path, lines):
    root = make_folder(tmp_path, {'a': XML, 'b c': XML})
    images, missing = names_of(root, lines)
    assert [image.name for image in images] == ['a', 'b c'] and not missing
    for image in images:
        assert image.annotation == str(root / f'Annotations/{image.name}.xml')
        assert image.image == str(root / f'JPEGImages/{image.name}.jpg')


@pytest.mark.parametrize('suffix', ['.JPG', '.jpeg', '.png', '.PNG', '.bmp', '.jfif', '.HEIC'])
def test_images_may_have_any_extension(tmp_path, suffix):
    root = make_folder(tmp_path, {'a': XML})
    (root / 'JPEGImages/a.jpg').rename(root / f'JPEGImages/a{suffix}')
    (image,), _ = names_of(root, 'a\n')
    assert image.image == str(root / f'JPEGImages/a{suffix}')


def test_of_several_images_the_named_one_counts(tmp_path):
    root = make_folder(tmp_path, {'a': XML})
    write_image(root / 'JPEGImages/a.png')
    for line, chosen in (('a', 'a.jpg'), ('a.png', 'a.png'), ('a.jpg', 'a.jpg')):
        (image,), _ = names_of(root, line)
        assert image.image == str(root / 'JPEGImages' / chosen)


def test_names_with_dots_and_folders(tmp_path):
    root = make_folder(tmp_path, {'cam1/a.b_jpg.rf.0a1': XML, 'cam2/a.b_jpg.rf.0a1': XML})
    images, missing = names_of(root, 'cam1/a.b_jpg.rf.0a1\ncam2/a.b_jpg.rf.0a1.jpg\n')
    assert [image.name for image in images] == ['cam1/a.b_jpg.rf.0a1', 'cam2/a.b_jpg.rf.0a1']
    assert [image.image for image in images] == [
        str(root / f'JPEGImages/cam{k}/a.b_jpg.rf.0a1.jpg') for k in (1, 2)
    ]
    assert not missing
    # Without its folder it may be either; and a third folder does not have it at all.
    images, missing = names_of(root, 'a.b_jpg.rf.0a1\ncam3/a.b_jpg.rf.0a1\n')
    assert not images
    assert 'several files of this name' in missing[0] and 'no annotation' in missing[1]


def test_files_in_sub_folders_are_found_by_their_names_alone(tmp_path):
    root = make_folder(tmp_path, {'day/a': XML})
    (image,), missing = names_of(root, 'a\n')
    assert image == (
        'day/a',
        str(root / 'Annotations/day/a.xml'),
        str(root / 'JPEGImages/day/a.jpg'),
    )
    assert not missing


def test_annotations_named_like_the_image_file(tmp_path):
    root = make_folder(tmp_path, {'a.jpg': XML})
    (root / 'JPEGImages/a.jpg.jpg').rename(root / 'JPEGImages/a.jpg')
    for line in ('a.jpg', 'a.jpg.xml'):
        (image,), missing = names_of(root, line)
        assert image.image == str(root / 'JPEGImages/a.jpg') and not missing


def test_one_image_has_one_annotation(tmp_path):
    root = make_folder(tmp_path, {'x/a': XML, 'y/a': XML})
    for k in 'xy':
        (root / f'JPEGImages/{k}/a.jpg').unlink()
    write_image(root / 'JPEGImages/a.jpg')
    images, missing = names_of(root, 'x/a\ny/a\n')
    assert [image.name for image in images] == ['x/a']
    assert 'a.jpg has the annotation' in missing[0]


def test_an_empty_list_is_an_error(tmp_path):
    root = make_folder(tmp_path, {'a': XML})
    with pytest.raises(ValueError, match=r'train\.txt is empty'):
        names_of(root, '\n \r\n')
    with pytest.raises(ValueError, match=r'train\.txt cannot be read, since it is not text'):
        names_of(root, b'a\0b')


def test_hidden_files_are_passed_over(tmp_path):
    root = make_folder(tmp_path, {'a': XML, 'sub/b': annotation_xml(object_xml(' dog '))})
    for name in ('._a.xml', '.DS_Store', 'Thumbs.db', 'desktop.ini', '__MACOSX/a.xml'):
        path = root / 'Annotations' / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'\0\x05\x16\x07\0')
    (root / 'Annotations/sub/above').symlink_to(root / 'Annotations')
    assert voc_classes(root) == ('cat', 'dog')
    assert len(VOCFolder(str(root)).all_annotations()) == 2
