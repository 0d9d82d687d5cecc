"""What lies where a file was expected."""

from __future__ import annotations

import re

import pytest

from mmdet_ols.checks.folders import remedy_of_missing


@pytest.mark.parametrize(
    ('path', 'remedy'),
    [
        (r'images\sub\d.jpg', 'have backslashes, as in Windows: write / there'),
        (r'images/images\sub\d.jpg', 'have backslashes'),
        ('images/my%20b.jpg', 'are encoded: write my b.jpg there'),
        ('images/images/a.jpg', 'images/a.jpg is there: .* `data_prefix` of the data set adds'),
        ('images/images/sub/d.jpg', 'images/sub/d.jpg is there: .* adds once more'),
        ('images/sub/C.JPG', r'c\.jpg is there: correct the capital letters'),
        ('images/e\u0301.jpg', r"'\\xe9\.jpg' is there, and 'e\\u0301\.jpg' is asked for"),
        ('images/upload/1/a.jpg', 'images/a.jpg is there: leave out the folders'),
        (r'images/upload\a.jpg', 'images/a.jpg is there: leave out the folders'),
        ('images/sub/link.jpg', r'is a link to annex/x\.jpg, which is not there: fetch'),
        ('images/x.jpg', 'Correct the paths, .*/images holds a.jpg, my b.jpg, sub/'),
        ('elsewhere/x.jpg', 'Correct the paths, .* holds images/'),
    ],
)
def test_a_missing_image_is_told_by_what_may_be_meant(path, remedy, tmp_path):
    (tmp_path / 'images/sub').mkdir(parents=True)
    for name in ('a.jpg', 'my b.jpg', 'sub/c.jpg', 'sub/d.jpg', '\u00e9.jpg'):
        (tmp_path / 'images' / name).touch()
    (tmp_path / 'images/sub/link.jpg').symlink_to('annex/x.jpg')
    assert re.search(remedy, remedy_of_missing(f'{tmp_path}/{path}'))
