"""How much of its pretrained weights and of a checkpoint a model takes is said before the run."""

from functools import partial

import mmdet.models
import mmpretrain.models
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from mmdet_ols.checks.colour_order import colour_order_warning
from mmdet_ols.checks.initial_weights import (
    report_checkpoint,
    report_pretrained,
    report_whole,
)
from mmdet_ols.checks.matching import match_weights
from mmdet_ols.checks.weight_report import WeightReport, percent


class Backbone(BaseModule):
    """Four equal layers."""

    def __init__(self, init_cfg=None, names='abcd'):
        super().__init__(init_cfg)
        for name in names:
            self.add_module(name, nn.Linear(2, 2))


class Detector(BaseModule):
    """A backbone, a neck and a head of as many classes as it is told."""

    def __init__(self, num_classes=2, init_cfg=None, backbone=Backbone):
        super().__init__()
        self.backbone = backbone(init_cfg=init_cfg)
        self.neck = nn.Linear(2, 2)
        self.bbox_head = nn.Linear(2, num_classes)


class OwnLoading(Backbone):
    """Reads its file by code of its own, which cuts another prefix off."""

    def init_weights(self):
        content = torch.load(self.init_cfg['checkpoint'], weights_only=True)
        cut = {key[4:]: value for key, value in content.items() if key.startswith('net.')}
        assert cut, 'nothing to load'
        load_state_dict(self, cut)


@pytest.fixture
def save(tmp_path):
    """Saves a file of weights and returns the `init_cfg` that loads it."""

    def saved(content, **init_cfg):
        torch.save(content, tmp_path / 'weights.pth')
        return dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'), **init_cfg)

    return saved


def with_prefix(state_dict, prefix):
    return {prefix + key: value for key, value in state_dict.items()}


def pretrained(model, given_later=()):
    report = WeightReport()
    report_pretrained(report, model, given_later)
    return report


def started(model, content):
    report = WeightReport()
    report_checkpoint(report, model, match_weights(model, content), content, 'a.pth')
    return report


@pytest.mark.parametrize('host', [mmdet, mmpretrain])
def test_the_file_of_another_host_is_an_error(host, save):
    theirs = mmpretrain.models.MobileNetV2().state_dict()
    init = save(dict(state_dict=with_prefix(theirs, 'backbone.')), prefix='backbone.')
    model = nn.Module()
    model.backbone = host.models.MobileNetV2(init_cfg=init)
    report = pretrained(model)
    (row,) = report.rows
    assert (row.source, row.part) == (init['checkpoint'], 'backbone')
    if host is mmpretrain:
        assert not report.errors and (row.parameters, row.rest) == ('100 %', '-')
        return
    (error,) = report.errors
    assert error.startswith("model.backbone.init_cfg: '") and 'of its parameters; the rest' in error
    assert 'as MMPretrain names its MobileNetV2' in error and 'the file of MMDetection' in error
    assert error.endswith('--cfg-options model.backbone.init_cfg=None')
    with pytest.raises(ValueError, match='the rest would stay random'):
        report.raise_errors()


@pytest.mark.parametrize(
    ('key_prefix', 'init_prefix', 'remedy'),
    [
        ('backbone.', None, "Set prefix='backbone.' in model.backbone.init_cfg."),
        ('student.net.', 'backbone', "Set prefix='student.net.' in"),
        ('', 'backbone.', 'Leave `prefix` out of model.backbone.init_cfg'),
        ('backbone.', 'backbone', None),
        ('module.', None, None),
        ('', None, None),
    ],
)
def test_prefixes(key_prefix, init_prefix, remedy, save):
    options = dict(prefix=init_prefix) if init_prefix else {}
    init = save(with_prefix(Backbone().state_dict(), key_prefix), **options)
    report = pretrained(Detector(init_cfg=init))
    assert len(report.errors) == (remedy is not None)
    if remedy:
        assert remedy in report.errors[0]


def test_tensors_where_mmengine_does_not_look(save):
    init = save(dict(model=Backbone().state_dict()))
    (error,) = pretrained(Detector(init_cfg=init)).errors
    assert "keeps its tensors under 'model'" in error and "those under 'state_dict'" in error


def test_weights_for_a_part_are_a_warning_with_counts_and_strict_makes_it_an_error(save):
    init = save(Backbone(names='abc').state_dict())
    report = pretrained(Detector(init_cfg=[dict(type='Normal', layer='Linear', std=0.1), init]))
    assert (report.rows[0].tensors, report.rows[0].parameters) == ('6 of 8', '75.0 %')
    (warning,) = report.warnings
    assert '6 of 8 tensors, 75.0 % of its parameters. These layers start at random: d.' in warning
    report.raise_errors()
    with pytest.raises(ValueError, match=r'(?s)start at random: d.*leave --strict out'):
        report.raise_errors(strict=True)


def test_weights_of_another_size_give_an_example(save):
    theirs = {
        key: value.repeat(2, *[1] * (value.dim() - 1))
        for key, value in Backbone().state_dict().items()
    }
    (error,) = pretrained(Detector(init_cfg=save(theirs))).errors
    assert '0 of 8 tensors' in error and 'a.bias is (4,) in the file, (2,) in the model.' in error


def test_a_model_without_backbone_that_takes_nothing():
    for prefix, reason in (('net.', "Save the file without 'net.'"), ('x', 'The file has xweight')):
        (error,) = started(
            nn.Linear(1, 1), with_prefix(nn.Linear(1, 1).state_dict(), prefix)
        ).errors
        assert 'not one tensor of the model' in error and reason in error


def test_what_a_checkpoint_gives_afterwards_need_not_be_pretrained(save):
    init = save(Backbone(names='a').state_dict())
    model = Detector(init_cfg=init)
    assert pretrained(model).errors
    report = pretrained(model, given_later=model.state_dict().keys())
    assert not report.errors and not report.warnings and report.rows[0].parameters == '25.0 %'
    wrong = Detector(init_cfg=dict(init, prefix='absent.'))
    assert pretrained(wrong, wrong.state_dict().keys()).errors, 'MMEngine stops at such a prefix'


def test_networks_that_load_by_themselves(save):
    own = with_prefix(Backbone(names='abc').state_dict(), 'net.')
    report = pretrained(Detector(init_cfg=save(own), backbone=OwnLoading))
    assert report.rows[0].tensors == '6 of 8' and len(report.warnings) == 1
    report = pretrained(Detector(init_cfg=save(Backbone().state_dict()), backbone=OwnLoading))
    assert len(report.errors) == 1, 'its code stops'


@pytest.mark.parametrize('of', ['PVT', 'DetectoRS'])
def test_networks_of_mmdetection_that_load_by_themselves(of, save):
    """The `init_cfg` of PVT has no `type` in MMDetection's configs, and DetectoRS keeps none."""
    if of == 'PVT':
        backbone = mmdet.models.PyramidVisionTransformer
        options = dict(num_layers=[1] * 4, convert_weights=False)
    else:
        backbone, options = mmdet.models.DetectoRS_ResNet, dict(depth=50)
    init = save(backbone(**options).state_dict())
    if of == 'PVT':
        del init['type']
    report = pretrained(Detector(init_cfg=ConfigDict(init), backbone=partial(backbone, **options)))
    (row,) = report.rows
    assert row[0] == init['checkpoint'] and row[1:2] + row[3:] == ('backbone', '100 %', '-')
    assert not report.warnings


def test_parts_of_other_libraries_and_files_elsewhere_are_said_to_be_unchecked(save):
    model = Detector(init_cfg=dict(type='Pretrained', checkpoint='s3://bucket/a.pth'))
    model.text = nn.Linear(1, 1)
    model.text.name_or_path = 'bert-base-uncased'
    model.image = nn.Linear(1, 1)
    model.image.is_init, model.image.timm_model = True, nn.Identity()
    report = pretrained(model)
    assert [row[:4] for row in report.rows] == [
        ('s3://bucket/a.pth', 'backbone', '?', '?'),
        ('bert-base-uncased', 'text', '?', '?'),
        ('timm (Identity)', 'image', '?', '?'),
    ]
    assert all('not checked' in row.rest for row in report.rows)


def test_a_new_head_for_other_classes_is_one_plain_line():
    report = started(Detector(2), Detector(80).state_dict())
    assert [row[1:4] for row in report.rows] == [
        ('backbone', '8 of 8', '100 %'),
        ('neck', '2 of 2', '100 %'),
        ('bbox_head', '0 of 2', '0 %'),
    ]
    assert not report.errors and not report.warnings
    (note,) = report.notes
    assert '2 tensors of model.bbox_head have another shape in a.pth, as for another number' in note
    assert 'bbox_head.bias is (80,) in the file, (2,) in the model.' in note


def test_a_new_head_of_a_semi_supervised_detector_is_one_line_for_each_copy():
    model, before = nn.Module(), nn.Module()
    for name in ('student', 'teacher'):
        model.add_module(name, Detector(num_classes=3))
        before.add_module(name, Detector(num_classes=2))
    report = started(model, before.state_dict())
    assert not report.errors and not report.warnings
    assert ['as for another number of classes' in note for note in report.notes] == [True, True]


def test_a_part_that_a_checkpoint_lacks_is_a_warning():
    content = {k: v for k, v in Detector().state_dict().items() if not k.startswith('neck')}
    (warning,) = started(Detector(), content).warnings
    assert 'no values for 2 tensors of model.neck' in warning


@pytest.mark.parametrize(
    ('prefix', 'remedy'),
    [('', "checkpoint='a.pth')."), ('net.', "checkpoint='a.pth', prefix='net.').")],
)
def test_a_backbone_alone_is_no_checkpoint_to_start_from(prefix, remedy):
    (error,) = started(Detector(), with_prefix(Backbone().state_dict(), prefix)).errors
    assert f"set model.backbone.init_cfg=dict(type='Pretrained', {remedy}" in error


def test_another_backbone_with_the_same_head_is_an_error():
    other = Detector()
    other.backbone = Backbone(names='axyz')
    (error,) = started(Detector(), other.state_dict()).errors
    assert 'gives model.backbone only 2 of 8 tensors, 25.0 % of its parameters' in error


def test_half_a_checkpoint_is_no_model_to_test():
    content = {k: v for k, v in Detector().state_dict().items() if k[:11] != 'backbone.a.'}
    for kept, kind in ((content, 'warnings'), (dict(list(content.items())[:3]), 'errors')):
        report = WeightReport()
        report_whole(report, match_weights(Detector(), kept), 'a.pth', 'test')
        (text,) = getattr(report, kind)
        assert text.startswith('The checkpoint a.pth to test gives the model only ')


@pytest.mark.parametrize(
    ('checkpoint', 'converts', 'warned'),
    [
        ('torchvision://resnet50', True, False),
        ('torchvision://resnet50', False, True),
        ('open-mmlab://detectron2/resnet50_caffe', True, True),
        ('open-mmlab://detectron2/resnet50_caffe', False, False),
        ('open-mmlab://vgg16_caffe', True, False),
        ('mine.pth', False, False),
    ],
)
def test_the_order_of_colours_of_well_known_weights(checkpoint, converts, warned):
    model = nn.Module()
    model.data_preprocessor = mmdet.models.DetDataPreprocessor(bgr_to_rgb=converts)
    warning = colour_order_warning(model, checkpoint, 'model.backbone')
    assert (warning is not None) == warned
    model.data_preprocessor = mmpretrain.models.ClsDataPreprocessor(to_rgb=converts)
    assert colour_order_warning(model, checkpoint, 'model.backbone') == warning
    assert colour_order_warning(nn.Module(), checkpoint, 'model.backbone') is None


def test_the_table_shows_sources_as_they_are(save):
    init = save(Backbone().state_dict())
    report = pretrained(Detector(init_cfg=dict(init, checkpoint='s3://bucket/[bold]/a.pth')))
    assert '[bold]' in report.table()
    assert [percent(share) for share in (0, 1e-9, 0.5, 1 - 1e-9, 1)] == [
        '0 %', '0.1 %', '50.0 %', '99.9 %', '100 %',
    ]  # fmt: skip
