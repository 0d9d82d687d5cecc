"""A survey is kept for the next start of the same data, and never used for others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from toy_survey import folder_set, run_config, voc_set
from toy_voc import jpeg, write_xml

from mmdet_ols.checks.data import survey_datasets
from mmdet_ols.checks.survey import survey as survey_module

CLASSES = ('cat', 'dog', 'fox')


@pytest.fixture
def builds(monkeypatch):
    """How often a data set was built."""
    count = []
    build = survey_module.build_unloaded
    monkeypatch.setattr(
        survey_module, 'build_unloaded', lambda config: count.append(1) or build(config)
    )
    return count


def kept_files():
    return sorted(Path(os.environ['MMDET_OLS_CACHE'], 'surveys').glob('*.json'))


def test_the_next_start_reads_nothing(root, builds):
    cfg = run_config(train=voc_set(root, CLASSES), val=voc_set(root, CLASSES))
    first, problems = survey_datasets(cfg)
    assert len(builds) == 1 and len(kept_files()) == 1  # both splits are the same data
    again, same_problems = survey_datasets(cfg)
    assert len(builds) == 1
    assert again == first and same_problems == problems
    assert again[0].loaded.objects == {0: 2, 1: 1, 2: 1}


@pytest.mark.parametrize('change', ['annotation', 'image', 'list', 'config', 'gone'])
def test_other_data_are_surveyed_anew(root, builds, change):
    dataset = voc_set(root, CLASSES)
    survey_datasets(run_config(train=dataset))
    if change == 'annotation':
        write_xml(root / 'Annotations/a.xml', ['dog', 'dog', 'dog'])
    elif change == 'image':
        (root / 'JPEGImages/a.jpg').write_bytes(jpeg(130) + b'\0')
    elif change == 'list':
        (root / 'ImageSets/Main/trainval.txt').write_text('a\nb\n')
    elif change == 'config':
        dataset['filter_cfg'] = dict(filter_empty_gt=True)
    elif change == 'gone':
        (root / 'JPEGImages/a.jpg').unlink()
        with pytest.raises(FileNotFoundError, match=r'a\.jpg'):
            survey_datasets(run_config(train=dataset))
        return
    surveys, _ = survey_datasets(run_config(train=dataset))
    assert len(builds) == 2
    expected = {'annotation': {0: 1, 1: 3, 2: 1}}.get(change, {0: 2, 1: 1, 2: 1})
    assert surveys[0].loaded.objects == expected


def test_a_new_image_in_a_folder_is_seen(tmp_path, builds):
    for name in ('a', 'b'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        (tmp_path / 'train' / name / '0.jpg').write_bytes(jpeg(9))
    cfg = run_config(2, 'mmpretrain', train=folder_set(tmp_path, 'train'))
    assert survey_datasets(cfg)[0][0].loaded.objects == {0: 1, 1: 1}
    (tmp_path / 'train/b/1.jpg').write_bytes(jpeg(80))
    assert survey_datasets(cfg)[0][0].loaded.objects == {0: 1, 1: 2}


@pytest.mark.parametrize('damage', ['', '{"sources": {}}', '[]', '{"sources": {}, "survey": 3}'])
def test_a_damaged_file_is_ignored(root, builds, damage):
    cfg = run_config(train=voc_set(root, CLASSES))
    first, _ = survey_datasets(cfg)
    kept_files()[0].write_text(damage)
    assert survey_datasets(cfg)[0] == first and len(builds) == 2


def test_nothing_is_kept_where_that_is_not_possible(root, monkeypatch, tmp_path):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('MMDET_OLS_CACHE', str(tmp_path / 'file'))
    surveys, _ = survey_datasets(run_config(train=voc_set(root, CLASSES)))
    assert surveys[0].loaded.images == 3
