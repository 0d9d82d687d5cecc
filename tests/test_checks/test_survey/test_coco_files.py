"""COCO's JSON as exporters write it: what MMDetection would stumble over, or read wrongly."""

from __future__ import annotations

import json

import pytest
from mmengine.registry import DATASETS, DefaultScope
from toy_coco import coco_content, write_coco
from toy_survey import coco_set, run_config

from mmdet_ols.checks import progress
from mmdet_ols.checks.data import check_datasets, survey_datasets
from mmdet_ols.checks.survey.coco_rules import check_coco


def check(root, classes=('cat', 'dog'), **changes):
    train = coco_set(root, 'train.json', classes, **changes)
    check_datasets(run_config(train=train))


def test_categories_in_another_order_than_the_config_are_an_error(root):
    write_coco(root / 'train.json', {'cat': 2, 'dog': 2, 'bird': 1})
    with pytest.raises(
        ValueError,
        match=r"another order than `metainfo\.classes`.*'cat' is label 0, which the config calls "
        r"'bird'.*Write metainfo=dict\(classes=\('cat', 'dog', 'bird'\)\)",
    ):
        check(root, ('bird', 'cat', 'dog'))
    check(root, ('cat', 'dog', 'bird'))


def test_the_order_that_is_told_is_the_one_that_the_host_loads(root):
    write_coco(root / 'train.json', {'cat': 2, 'dog': 2, 'bird': 1}, ids=(30, 7, 12))
    with DefaultScope.overwrite_default_scope('mmdet'):
        built = DATASETS.build(coco_set(root, 'train.json', ('bird', 'cat', 'dog')))
    by_label = sorted(built.cat2label, key=built.cat2label.get)
    assert by_label == [30, 7, 12]  # the host's own facts: cat, dog, bird
    with pytest.raises(ValueError, match=r"classes=\('cat', 'dog', 'bird'\)"):
        check(root, ('bird', 'cat', 'dog'))


def test_a_category_that_one_file_lacks_moves_the_labels_after_it(root):
    write_coco(root / 'train.json', {'cat': 2, 'bird': 2})
    with pytest.raises(
        ValueError, match=r"'bird' is label 1, .* calls 'dog'.*'cat', 'bird', 'dog'"
    ):
        check(root, ('cat', 'dog', 'bird'))


def test_splits_that_list_the_categories_differently_are_an_error(root):
    write_coco(root / 'train.json', {'cat': 2, 'dog': 2})
    write_coco(root / 'val.json', {'dog': 2, 'cat': 2}, ids=(2, 1))
    classes = ('cat', 'dog')
    splits = {split: coco_set(root, f'{split}.json', classes) for split in ('train', 'val')}
    with pytest.raises(
        ValueError,
        match=r"number their classes differently: label 0 is 'dog' in .*val\.json and 'cat' in ",
    ) as caught:
        check_datasets(run_config(**splits))
    assert 'metainfo' not in str(caught.value)  # no order of it would help


def drop(part, key):
    return lambda content: content[part][0].pop(key)


def put(part, key, value):
    return lambda content: content[part][1].update({key: value})


@pytest.mark.parametrize(
    ('mend', 'message'),
    [
        (put('annotations', 'id', 0), 'have the id of another one .*first: id 0'),
        (drop('annotations', 'area'), r"1 of 4 annotations have no 'area'.*width \* height"),
        (put('annotations', 'area', None), "have no 'area'"),
        (put('annotations', 'area', '9'), "have no 'area' that is a number.*first: id 1, area '9'"),
        (drop('annotations', 'bbox'), 'have no `bbox` of four numbers'),
        (put('annotations', 'bbox', []), 'have no `bbox` of four numbers'),
        (put('annotations', 'bbox', [1, 2, 3, float('nan')]), 'have no `bbox` of four numbers'),
        (put('annotations', 'bbox', ['1', 2, 3, 4]), 'have no `bbox` of four numbers'),
        (drop('annotations', 'image_id'), "have no 'image_id'"),
        (put('annotations', 'category_id', 9), 'not among the categories'),
        (put('annotations', 'category_id', '1'), r"not among the categories.*category_id '1'\)"),
        (drop('images', 'width'), "1 of 3 images have no 'width' above 0.*a.jpg"),
        (put('images', 'height', 0), "have no 'height' above 0"),
        (put('images', 'id', 0), '1 of 3 images have the id of another one'),
        (drop('images', 'file_name'), "have no 'file_name'"),
        (put('categories', 'name', 'cat'), 'have the name of another one'),
        (put('categories', 'name', 7), "have no 'name' that is a text.*first: id 2, 7"),
        (put('categories', 'id', 1), '1 of 2 categories have the id of another one'),
        (lambda content: content.pop('images'), 'must have a list `images`'),
        (lambda content: content.update(categories=[]), 'must have a list `categories`'),
        (lambda content: content['annotations'].append(None), 'must be an object, but one is None'),
    ],
)
def test_what_exporters_leave_out_is_named_before_the_start(root, mend, message):
    write_coco(root / 'train.json', {'cat': 2, 'dog': 2}, mend=mend)
    with pytest.raises(ValueError, match=f'(?s)train_dataloader, CocoDataset: .*{message}'):
        check(root)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'\xef\xbb\xbf{}', 'byte order mark'),
        ('{"images": "M\u00f6we"}'.encode('latin-1'), 'must be UTF-8'),
        (b'[]', 'holds a list'),
        (b'', r"not in COCO's format: it is no valid JSON \(.*\)\. Fetch or export it again"),
        (b'{"images": [{"id": 1, "file_na', 'it is no valid JSON'),
        (b'version https://git-lfs.github.com/spec/v1\n', "it is a pointer of Git LFS: run 'git"),
    ],
)
def test_files_that_are_no_json_of_this_kind(root, content, message):
    (root / 'train.json').write_bytes(content)
    with pytest.raises(ValueError, match=message):
        check(root)


def test_what_is_odd_but_legal_passes_in_silence(root, said):
    def mend(content):
        content['categories'].insert(0, dict(id=0, name='animals', supercategory='none'))
        for number, item in enumerate(content['annotations']):
            item['segmentation'] = [None, [], dict(size=[40, 40], counts=[0, 4, 1596])][number % 3]
        content['annotations'][3]['iscrowd'] = 1

    write_coco(root / 'train.json', {'cat': 2, 'dog': 2}, ids=(7, 300), mend=mend)
    check(root, filter_cfg=dict(filter_empty_gt=True, min_size=32))
    assert said == []


def test_objects_that_the_host_leaves_out_are_counted_by_their_reason(root, said):
    def mend(content):
        boxes = {0: [2, 3, 0.5, 9], 1: [50, 3, 9, 9], 2: [2, 3, 9, 9], 3: [2, 3, 9, 9]}
        for number, box in boxes.items():
            content['annotations'][number]['bbox'] = box
        content['annotations'][2]['iscrowd'] = 1
        content['annotations'][3]['ignore'] = True
        content['annotations'][4]['area'] = 0
        content['annotations'][5]['image_id'] = 99

    write_coco(root / 'train.json', {'cat': 8, 'cow': 2}, mend=mend)
    surveys, _ = survey_datasets(run_config(train=coco_set(root, 'train.json', ('cat',))))
    dataset = surveys[0].datasets[0]
    assert {reason: e.count for reason, e in dataset.contents.objects_left_out.items()} == {
        'no area': 2,
        'outside the image': 1,
        'crowd': 1,
        'ignored': 1,
        'unknown class': 2,
        'image not listed': 1,
    }
    assert dataset.loaded.objects == {0: 2} and dataset.loaded.ignored == 1
    check(root, ('cat',))
    assert any('2 objects are left out: no area (first: annotation 0' in text for text in said)
    assert not any('for a reason that is not known' in text for text in said)


def test_images_without_objects_are_counted(root):
    write_coco(root / 'train.json', {'cat': 2})
    train = coco_set(root, 'train.json', ('cat',), filter_cfg=dict(filter_empty_gt=True))
    surveys, _ = survey_datasets(run_config(train=train))
    contents = surveys[0].datasets[0].contents
    assert contents.images == 3 and contents.images_left_out['no object'].count == 1
    assert surveys[0].loaded.images == 2


@pytest.mark.parametrize(
    ('box', 'other', 'reading'),
    [
        ([20, 10, 38, 39], [2, 4, 10, 12], 'two corners'),
        ([30, 32, 19, 14], [10, 10, 18, 18], 'their centre, the width and the height'),
        ([45, 5, 10, 30], [5, 5, 10, 10], 'y before x'),
        ([30, 32, 28, 30], [1, 1, 10, 10], None),  # which no reading brings inside
    ],
)
def test_boxes_that_hold_other_numbers_are_noticed(root, said, box, other, reading):
    def mend(content):
        for image in content['images']:
            image['height'] = 60 if reading == 'y before x' else 40
        for item in content['annotations']:
            item['bbox'] = [other, box, other][item['image_id']]

    write_coco(root / 'train.json', {'cat': 1, 'dog': 2}, mend=mend)
    check(root)
    texts = [text for text in said if 'reach beyond their image' in text]
    assert len(texts) == (reading is not None)
    assert all('1 of 3 boxes' in text and f'if they held {reading}.' in text for text in texts)


def test_boxes_as_shares_of_the_image_are_an_error(root):
    def mend(content):
        for item in content['annotations']:
            item.update(bbox=[0, 0.1, 0.5, 1], area=0.5)

    write_coco(root / 'train.json', {'cat': 2}, mend=mend)
    with pytest.raises(ValueError, match='train.json: boxes must be in pixels, but all 2 lie'):
        check(root)


def test_what_is_ignored_may_have_no_box(root):
    def mend(content):
        item = content['annotations'][0]
        item['ignore'] = True
        del item['bbox']

    write_coco(root / 'train.json', {'cat': 2, 'dog': 2}, mend=mend)
    surveys, _ = survey_datasets(run_config(train=coco_set(root, 'train.json', ('cat', 'dog'))))
    assert surveys[0].datasets[0].contents.objects_left_out['ignored'].count == 1


def test_missing_images_are_named(root):
    write_coco(root / 'train.json', {'cat': 2, 'dog': 2}, images=('a', 'x', 'y'))
    with pytest.raises(FileNotFoundError, match=r'2 of 3 images are not there, first .*x\.jpg'):
        check(root)


def test_lvis_needs_no_file_name():
    content = coco_content({'cat': 1})
    for image in content['images']:
        image['coco_url'] = f'http://x/{image.pop("file_name")}'
    assert check_coco(content, 'x.json', ('cat',), is_lvis=True) == []
    assert len(check_coco(json.loads(json.dumps(content)), 'x.json', ('cat',))) == 1


def test_names_that_the_class_has_by_itself_are_not_asked_for(root):
    write_coco(root / 'train.json', {'person': 2, 'dog': 2})
    train = dict(coco_set(root, 'train.json', ()), metainfo={})
    with pytest.raises(
        ValueError,
        match=r"'dog' is label 1, which the config calls 'bicycle'\. Write metainfo=dict\(classes="
        r"\('person', 'dog'\)\) in all data sets\. The head then has num_classes=2",
    ):
        check_datasets(run_config(train=train))


def test_whole_numbers_may_be_written_as_floats(root, said):
    def mend(content):  # as pandas writes a column that had a gap once
        for item in content['annotations']:
            item.update(image_id=float(item['image_id']), category_id=float(item['category_id']))

    write_coco(root / 'train.json', {'cat': 3, 'dog': 3}, mend=mend)
    check(root)
    assert said == []


@pytest.mark.parametrize('kind', [float, str])
def test_categories_with_ids_of_any_kind_are_held_against_the_config(root, kind):
    def mend(content):
        for item in content['annotations']:
            item['category_id'] = kind(item['category_id'])
        for item in content['categories']:
            item['id'] = kind(item['id'])

    write_coco(root / 'train.json', {'cat': 2, 'dog': 2}, ids=(30, 7), mend=mend)
    for _ in range(2):  # the second time from the kept survey
        with pytest.raises(ValueError, match=r"'cat' is label 0, which the config calls 'dog'"):
            check(root, ('dog', 'cat'))
        check(root)


def test_images_that_are_listed_twice_are_a_warning(root, said):
    def mend(content):
        content['images'].append(dict(content['images'][0], id=77))
        content['annotations'][0]['image_id'] = 77

    write_coco(root / 'train.json', {'cat': 3, 'dog': 3}, mend=mend)
    check(root)
    assert len(said) == 1 and 'lists 1 images more than once' in said[0] and 'a.jpg' in said[0]


def test_objects_that_repeat_another_one_are_counted(root, said):
    def mend(content):
        items = content['annotations']
        items += [dict(item, id=90 + item['id']) for item in items]

    write_coco(root / 'train.json', {'cat': 3, 'dog': 3}, mend=mend)
    check(root)
    assert len(said) == 1 and '6 objects that repeat another one' in said[0]


def test_names_with_other_blanks_than_the_config_are_told_as_such(root, said):
    write_coco(root / 'train.json', {'cat ': 2, 'dog': 2})
    train = coco_set(root, 'train.json', ('dog', 'cat'))
    _, problems = survey_datasets(run_config(train=train))
    assert not any('0 objects' in text for text in problems.warnings)
    assert any('look like 1 that are written differently' in text for text in problems.warnings)


SQUARE = [[2, 3, 20, 3, 20, 30, 2, 30]]
LOADING = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_mask=True)]


@pytest.mark.parametrize(
    ('segmentation', 'message'),
    [
        ('none', r'1 of 4 objects have no `segmentation`, .*first: one of .*b\.jpg'),
        ([], 'have no `segmentation`'),
        (SQUARE[0], 'that is no list of polygons'),
    ],
)
def test_masks_that_a_pipeline_asks_for(root, segmentation, message, said):
    def mend(content):
        for item in content['annotations']:
            item['segmentation'] = SQUARE
        content['annotations'][0]['segmentation'] = dict(size=[40, 40], counts=[0, 4, 1596])
        item = content['annotations'][1]
        item['segmentation'] = segmentation
        if segmentation == 'none':
            del item['segmentation']

    write_coco(root / 'train.json', {'cat': 2, 'dog': 2}, mend=mend)
    check(root)  # boxes alone need none
    with pytest.raises(ValueError, match=f'train_dataloader, CocoDataset: .*{message}'):
        check(root, pipeline=LOADING)
    write_coco(root / 'train.json', {'cat': 2, 'dog': 2}, mend=lambda content: [
        item.update(segmentation=SQUARE) for item in content['annotations']
    ])  # fmt: skip
    check(root, pipeline=LOADING)
    assert said == []


@pytest.mark.parametrize('large', [0, 10**9])
def test_on_a_terminal_large_files_are_said_to_be_read(root, monkeypatch, capsys, large):
    monkeypatch.setattr(progress, 'LARGE', large)
    monkeypatch.setenv('FORCE_COLOR', '1')
    write_coco(root / 'train.json', {'cat': 2, 'dog': 2})
    check(root)
    assert ('Reading' in capsys.readouterr().out) == (large == 0)


def test_masks_that_are_ignored_are_counted(root, said):
    def mend(content):
        for number, item in enumerate(content['annotations']):
            item['segmentation'] = SQUARE if number else [[2, 3, 20, 3]]

    write_coco(root / 'train.json', {'cat': 2, 'dog': 2}, mend=mend)
    check(root, pipeline=LOADING)
    assert len(said) == 1 and '1 of 4 objects have no polygon of three points' in said[0]
