"""A teacher that is not there is found before a training starts, and not when it is tested."""

from __future__ import annotations

import pytest
from toy_self_distillation import config

from mmdet_ols import apply_method
from mmdet_ols.checks.start import check_teacher_exists


def test_a_missing_teacher_is_named(tmp_path):
    path = tmp_path / 'teacher.pth'
    cfg = apply_method(config(), f'tfkd_self:teacher="{path}"')
    with pytest.raises(FileNotFoundError, match=r'There is no checkpoint file .*teacher\.pth\.'):
        check_teacher_exists(cfg)
    path.touch()
    check_teacher_exists(cfg)
    cfg.model.teacher = 'https://somewhere/teacher.pth'  # for MMEngine to fetch
    check_teacher_exists(cfg)
    with pytest.raises(ValueError, match=r'`teacher` of tfkd_self .* tfkd_self:teacher=FILE'):
        check_teacher_exists(apply_method(config(), 'tfkd_self'))
    check_teacher_exists(config())
