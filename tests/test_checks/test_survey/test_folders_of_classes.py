"""Classifiers that take their classes from folders: the same labels in every split."""

from __future__ import annotations

import pytest
from toy_survey import folder_set, run_config
from toy_voc import jpeg

from mmdet_ols.checks.data import check_datasets, survey_datasets


@pytest.fixture
def folders(tmp_path):
    """Makes SPLIT/CLASS/*.jpg, no two pictures alike."""
    shades = iter(range(0, 256, 4))

    def make(split, *classes, images=2):
        for name in classes:
            for number in range(images):
                path = tmp_path / split / name / f'{number}.jpg'
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(jpeg(next(shades)))
        return tmp_path

    return make


def check(root, head=3, classes=None, **options):
    options.update(dict(metainfo=dict(classes=classes)) if classes else {})
    splits = {split: folder_set(root, split, **options) for split in ('train', 'val')}
    check_datasets(run_config(head, 'mmpretrain', **splits))


def test_the_same_folders_pass_in_silence(folders, said):
    folders('train', 'ant', 'bee', 'cow')
    check(folders('val', 'ant', 'bee', 'cow'))
    assert said == []


def test_other_folders_under_the_same_numbers_are_an_error(folders):
    folders('train', 'ant', 'bee', 'cow')
    with pytest.raises(
        ValueError,
        match=r"number their classes differently: label 0 is 'bee' in .*val and 'ant' in .*train\. "
        r"Only val_dataloader, CustomDataset has 'dog'\. Only train_dataloader, CustomDataset has "
        "'ant'",
    ):
        check(folders('val', 'bee', 'cow', 'dog'))


def test_names_in_the_config_do_not_hide_other_folders(folders):
    folders('train', 'ant', 'bee', 'cow')
    with pytest.raises(ValueError, match='number their classes differently'):
        check(folders('val', 'bee', 'cow', 'dog'), classes=('Ants', 'Bees', 'Cows'))


def test_folders_may_have_other_names_than_the_classes(folders, said):
    folders('train', 'n01', 'n02', 'n03')
    check(folders('val', 'n01', 'n02', 'n03'), classes=('tench', 'goldfish', 'shark'))
    assert said == []


def test_the_classes_of_the_config_in_another_order_than_the_folders(folders):
    folders('train', 'ant', 'bee', 'cow')
    with pytest.raises(ValueError, match=r"'ant' is label 0, which the config calls 'cow'"):
        check(folders('val', 'ant', 'bee', 'cow'), classes=('cow', 'ant', 'bee'))


@pytest.mark.parametrize('litter', ['.ipynb_checkpoints', '__MACOSX'])
@pytest.mark.parametrize('head', [3, 4])
def test_litter_that_counts_as_a_class_is_named(folders, litter, head):
    folders('train', 'ant', 'bee', 'cow', litter)
    with pytest.raises(ValueError, match=f'holds the folder {litter}, which is no class'):
        check(folders('val', 'ant', 'bee', 'cow'), head)


def test_images_that_are_not_listed_are_counted(folders, said):
    root = folders('train', 'ant', 'bee')
    folders('val', 'ant', 'bee')
    (root / 'train/ant/x.webp').write_bytes(b'')
    (root / 'train/ant/x.HEIC').write_bytes(b'')
    (root / 'train/loose.jpg').write_bytes(b'')
    (root / 'train/ant/.hidden.jpg').write_bytes(b'')
    (root / 'train/bee/notes.txt').write_text('')
    check(root, head=2)
    said.sort()  # by their extensions
    assert [text.partition(' (first')[0] for text in said] == [
        'train_dataloader, CustomDataset: 1 images are left out: .heic file',
        'train_dataloader, CustomDataset: 1 images are left out: .webp file',
        'train_dataloader, CustomDataset: 1 images are left out: outside the classes',
    ]
    assert 'Convert them to JPEG' in said[0] and "Add '.webp' to `extensions`" in said[1]


def test_links_to_no_file_are_counted(folders, said):
    root = folders('train', 'ant', 'bee')
    folders('val', 'ant', 'bee')
    (root / 'train/ant/9.jpg').symlink_to('annex/9.jpg')
    check(root, head=2)
    (message,) = said
    assert '1 images are left out: broken link (first: ant/9.jpg)' in message


def test_copies_in_hidden_folders_of_a_class_are_noticed(folders, said):
    root = folders('train', 'ant', 'bee', 'ant/.ipynb_checkpoints')
    check(folders('val', 'ant', 'bee'), head=2)
    assert len(said) == 1 and '2 of its images lie in hidden folders' in said[0]
    assert str(root / 'train/ant') in said[0]


def test_a_class_without_images_is_counted(folders, said):
    root = folders('train', 'ant', 'bee', 'cow')
    folders('val', 'ant', 'bee', 'cow')
    for path in (root / 'train/cow').iterdir():
        path.unlink()
    check(root)
    assert said == ['train_dataloader: 1 of 3 classes have no object to learn from: cow.']


def test_lists_of_images_are_read_like_folders(folders):
    root = folders('train', 'ant', 'bee')
    (root / 'list.txt').write_text('ant/0.jpg 0\nbee/0.jpg 1\n')
    options = dict(ann_file='list.txt', metainfo=dict(classes=('ant', 'bee')))
    cfg = run_config(2, 'mmpretrain', train=folder_set(root, 'train', **options))
    surveys, problems = survey_datasets(cfg)
    assert not problems.errors and surveys[0].loaded.objects == {0: 1, 1: 1}
    (root / 'list.txt').write_text('ant/0.jpg 0\nbee/0.jpg\n')
    with pytest.raises(ValueError, match=r"list\.txt, line 2: .*holds 'bee/0\.jpg'"):
        survey_datasets(cfg)
    (root / 'list.txt').write_text('ant/0.jpg 0\nbee/0.jpg 1\n', encoding='utf-16')
    with pytest.raises(ValueError, match=r'list\.txt must be in UTF-8, but .* as UTF-8\.'):
        survey_datasets(cfg)


def test_images_of_two_classes_in_a_list_are_counted(folders):
    root = folders('train', 'ant', 'bee')
    (root / 'list.txt').write_text('ant/0.jpg 0\nbee/0.jpg 1\nant/0.jpg 0\nbee/0.jpg 0\n')
    options = dict(ann_file='list.txt', metainfo=dict(classes=('ant', 'bee')))
    _, problems = survey_datasets(
        run_config(2, 'mmpretrain', train=folder_set(root, 'train', **options))
    )
    (message,) = problems.warnings
    assert 'gives 1 images more than one class (first: bee/0.jpg is bee and ant)' in message


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('file label\nant/0.jpg 0\n', "line 1 ends with 'label'"),
        ('ant/0.jpg 0\nbee/0.jpg 1.0\n', "line 2 ends with '1.0'"),
        ('\ufeffant/0.jpg 0\n', 'byte order mark'),
    ],
)
def test_lists_as_spreadsheets_write_them(folders, text, message):
    root = folders('train', 'ant', 'bee')
    (root / 'list.txt').write_text(text, encoding='utf-8')
    options = dict(ann_file='list.txt', metainfo=dict(classes=('ant', 'bee')))
    with pytest.raises(ValueError, match=f'list.txt .*{message}'):
        survey_datasets(run_config(2, 'mmpretrain', train=folder_set(root, 'train', **options)))


@pytest.mark.parametrize('named', [False, True])
def test_data_of_ones_own_may_take_the_class_of_imagenet(tmp_path, named):
    for split in ('train', 'val'):
        for name in ('a', 'b'):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / '0.jpg').write_bytes(jpeg(9))
    dataset = dict(type='ImageNet', data_root=str(tmp_path), split='train')
    if named:
        check_datasets(run_config(2, 'mmpretrain', train=dict(dataset, classes=('a', 'b'))))
        return
    with pytest.raises(ValueError, match='must hold 1000 folders, .* but holds 2, '):
        check_datasets(run_config(1000, 'mmpretrain', train=dataset))
