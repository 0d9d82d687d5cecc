"""The data sets are built as a run builds them, and what they loaded is counted."""

from __future__ import annotations

import pytest
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from PIL import Image
from toy_coco import write_coco
from toy_survey import coco_set, folder_set, run_config, voc_set
from toy_voc import jpeg, write_xml

from mmdet_ols.checks.data import check_datasets, survey_datasets
from mmdet_ols.checks.survey import survey as survey_module
from mmdet_ols.checks.survey.fingerprints import fingerprints

CLASSES = ('cat', 'dog', 'fox')


def counts(dataset, scope='mmdet', split='train'):
    """Images, images in an epoch, and objects of each label."""
    surveys, _ = survey_datasets(run_config(scope=scope, **{split: dataset}))
    loaded = surveys[0].loaded
    return loaded.images, loaded.epoch, dict(loaded.objects)


def test_a_plain_data_set(root):
    assert counts(voc_set(root, CLASSES)) == (3, 3, {0: 2, 1: 1, 2: 1})


def test_filters_of_the_host_count(root):
    filters = dict(filter_cfg=dict(filter_empty_gt=True))
    assert counts(voc_set(root, CLASSES, **filters)) == (2, 2, {0: 2, 1: 1, 2: 1})
    assert counts(voc_set(root, CLASSES, test_mode=True, **filters), split='val')[0] == 3


@pytest.mark.parametrize(
    ('wrap', 'images', 'epoch'),
    [
        (lambda d: dict(type='RepeatDataset', times=5, dataset=d), 3, 15),
        (lambda d: dict(type='ConcatDataset', datasets=[d, dict(d, ann_file='b.txt')]), 4, 4),
        (lambda d: dict(type='ClassBalancedDataset', oversample_thr=0.9, dataset=d), 3, 5),
        (lambda d: dict(type='mmdet.MultiImageMixDataset', pipeline=[dict(type='Mosaic')],
                        dataset=d), 3, 3),
        (lambda d: dict(type='RepeatDataset', times=2, dataset=dict(
            type='ConcatDataset', datasets=[d])), 3, 6),
    ],
)  # fmt: skip
def test_wrappers_of_the_hosts(root, wrap, images, epoch):
    (root / 'b.txt').write_text('b\n')
    loaded = counts(wrap(voc_set(root, CLASSES)))
    assert loaded[:2] == (images, epoch)
    extra = images - 3  # the image of the second list holds a fox and a cat
    assert loaded[2] == {0: 2 + extra, 1: 1, 2: 1 + extra}


@pytest.fixture
def classes(tmp_path):
    """Five images of two classes, in folders."""
    for number in range(5):
        path = tmp_path / 'train' / 'ab'[number % 2] / f'{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(40 * number))
    return folder_set(tmp_path, 'train')


@pytest.mark.parametrize(
    ('wrap', 'expected'),
    [
        (lambda d: dict(type='KFoldDataset', num_splits=5, dataset=d), (4, 4, {0: 2, 1: 2})),
        (lambda d: dict(type='KFoldDataset', num_splits=5, test_mode=True, dataset=d),
         (1, 1, {0: 1})),
        (lambda d: dict(type='BalancedSubset', samples_per_class=1, dataset=d),
         (2, 2, {0: 1, 1: 1})),
        (lambda d: dict(type='InMemoryDataset', dataset=d), (5, 5, {0: 3, 1: 2})),
        (lambda d: dict(type='NoisyLabelDataset', rate=1.0, dataset=d), (5, 5, {0: 3, 1: 2})),
        (lambda d: dict(type='RepeatDataset', times=2, dataset=dict(
            type='BalancedSubset', samples_per_class=1, dataset=d)), (2, 4, {0: 1, 1: 1})),
    ],
)  # fmt: skip
def test_wrappers_that_choose(classes, wrap, expected):
    assert counts(wrap(classes), 'mmpretrain') == expected


@pytest.mark.parametrize(
    ('wrapper', 'note'),
    [
        (dict(type='NoisyLabelDataset', rate=0.4),
         'NoisyLabelDataset makes 40% of these labels wrong on purpose'),
        (dict(type='LabelFileDataset', file='meta/people.txt.gz', column='worst'),
         "the labels are those in column 'worst' of people.txt.gz instead of these"),
        (dict(type='RepeatDataset', times=2),
         'RepeatDataset repeats its images 2 times an epoch'),
    ],
)  # fmt: skip
def test_what_the_table_cannot_show_of_a_wrapper_is_said(classes, wrapper, note):
    config = run_config(scope='mmpretrain', train=dict(wrapper, dataset=classes))
    surveys, _ = survey_datasets(config)
    assert surveys[0].notes == [note]


def test_a_part_is_not_taken_for_a_loss(root, said):
    check_datasets(run_config(train=voc_set(root, CLASSES, indices=2)))
    assert said == []


@pytest.fixture
def registered():
    """Registers classes of a user's own for one test."""
    names = []

    def register(cls):
        DATASETS.register_module(module=cls)
        names.append(cls.__name__)
        return cls

    yield register
    for name in names:
        DATASETS.module_dict.pop(name)


def test_data_sets_of_a_users_own_count_as_they_are_loaded(registered, said, capsys):
    @registered
    class OwnDataset(BaseDataset):
        METAINFO = dict(classes=('cat', 'dog'))

        def load_data_list(self):
            return [dict(img_path=__file__, gt_label=label) for label in (0, 1, 1)]

    assert counts(dict(type='OwnDataset'), 'mmengine') == (3, 3, {0: 1, 1: 2})


def test_a_data_set_that_knows_only_its_length(registered):
    @registered
    class OnlyItems:
        def __len__(self):
            return 7

        def __getitem__(self, index):
            raise AssertionError('no image is read')

    cfg = run_config(scope='mmengine', train=dict(type='OnlyItems'))
    surveys, problems = survey_datasets(cfg)
    assert surveys[0].loaded.images == 7 and not problems.errors


def test_what_its_code_raises_is_told_with_split_and_data_set(registered, root):
    @registered
    class Broken(BaseDataset):
        def load_data_list(self):
            raise KeyError('no such column')

    with pytest.raises(
        ValueError,
        match=f'val_dataloader, Broken: the data in {root} cannot be read: .*such column',
    ):
        check_datasets(run_config(scope='mmengine', val=dict(type='Broken', data_root=str(root))))


def test_a_wrapper_that_cannot_be_built_is_told(root):
    wrapped = dict(type='RepeatDataset', dataset=voc_set(root, CLASSES))
    with pytest.raises(ValueError, match=r'RepeatDataset, XMLDataset\) cannot be put together'):
        check_datasets(run_config(train=wrapped))


def test_nothing_left_to_learn_from_says_why(root, said):
    for path in (root / 'Annotations').glob('*.xml'):
        text = path.read_text()
        path.write_text(text.replace('</name>', '</name><difficult>1</difficult>'))
    with pytest.raises(ValueError, match=r'none of its 3 images .*Left out: difficult \(4\)'):
        check_datasets(run_config(train=voc_set(root, CLASSES)))
    check_datasets(run_config(val=voc_set(root, CLASSES)))
    assert any('What is measured there says nothing' in text for text in said)


def test_images_of_train_in_val_are_counted_under_any_name(root, said):
    (root / 'JPEGImages/copy.jpg').write_bytes((root / 'JPEGImages/a.jpg').read_bytes())
    write_xml(root / 'Annotations/copy.xml', ['cat', 'dog', 'fox'])
    for name, lines in {'val': 'copy\nb\nd\n', 'train': 'a\nb\nc\n'}.items():
        (root / f'ImageSets/Main/{name}.txt').write_text(lines)
    write_xml(root / 'Annotations/d.xml', ['cat'])
    (root / 'JPEGImages/d.jpg').write_bytes(jpeg(200))
    splits = {split: voc_set(root, CLASSES, split) for split in ('train', 'val')}
    check_datasets(run_config(**splits))
    assert len(said) == 1 and said[0].startswith(
        f'2 of the 3 images of val are images of train as well (first: {root}/JPEGImages/copy.jpg, '
        f'which is {root}/JPEGImages/a.jpg)'
    )
    said.clear()
    (root / 'ImageSets/Main/train.txt').write_text('a\nb\nc\ncopy\n')
    (root / 'ImageSets/Main/val.txt').write_text('a\nd\n')
    check_datasets(run_config(**splits))  # a itself, though its copy is learned from, too
    assert any(f'train as well (first: {root}/JPEGImages/a.jpg)' in text for text in said)


@pytest.mark.parametrize('kind', ['BMP', 'PPM', 'TIFF', 'PNG'])
def test_other_images_with_the_same_black_frame_are_not_the_same(tmp_path, kind):
    paths = [str(tmp_path / name) for name in ('a', 'b', 'copy of a')]
    for path, shade in zip(paths, (60, 200, 60)):
        image = Image.new('RGB', (640, 480))
        image.paste((shade, 80, 0), (200, 200, 300, 280))
        image.save(path, kind)
    texts = fingerprints(paths)
    assert texts[paths[0]] == texts[paths[2]] != texts[paths[1]]


def test_splits_of_other_kinds_are_compared_by_the_names_of_their_classes(root):
    write_coco(root / 'val.json', {'dog': 2, 'cat': 1, 'fox': 1})
    val = coco_set(root, 'val.json', ('dog', 'cat', 'fox'))
    with pytest.raises(ValueError, match="label 0 is 'dog' in .*val.json and 'cat' in"):
        check_datasets(run_config(train=voc_set(root, CLASSES), val=val))


def test_a_class_that_is_not_registered_is_told(root):
    with pytest.raises(ValueError, match=r'train_dataloader, Absent: no data set is registered'):
        check_datasets(run_config(train=dict(voc_set(root, CLASSES), type='Absent')))


def test_files_that_the_survey_cannot_read_are_left_to_the_host(root, monkeypatch):
    def fail(dataset):
        raise KeyError('odd')

    monkeypatch.setattr(survey_module, 'reader_of', lambda dataset: fail)
    surveys, problems = survey_datasets(run_config(train=voc_set(root, CLASSES)))
    assert surveys[0].loaded.objects == {0: 2, 1: 1, 2: 1} and problems.errors == []
    assert "could not be read: KeyError('odd')" in surveys[0].datasets[0].note


def test_images_that_the_pipeline_does_not_turn_are_compared_unturned(root, tmp_path, monkeypatch):
    """Image a is tagged as lying on its side, and annotated as it lies."""
    monkeypatch.setenv('MMDET_OLS_CACHE', str(tmp_path / 'cache'))
    path = root / 'JPEGImages/a.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (40, 30)).save(path, exif=exif)
    annotation = root / 'Annotations/a.xml'
    annotation.write_text(annotation.read_text().replace('<height>40', '<height>30'))

    def warnings(color_type):
        step = dict(type='LoadImageFromFile', color_type=color_type)
        surveys, _ = survey_datasets(run_config(train=voc_set(root, CLASSES, pipeline=[step])))
        return [text for text in surveys[0].datasets[0].warnings if 'turned' in text]

    assert len(warnings('color')) == 1
    assert warnings('color_ignore_orientation') == []
    annotation.write_text('<annotation/>')  # of no size, so that the data set takes the image's
    assert warnings('color') == warnings('color_ignore_orientation') == []
