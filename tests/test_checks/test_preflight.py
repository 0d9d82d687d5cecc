"""Configs and data are looked at before a training starts."""

import json
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as checkpoints

from mmdet_ols.checks import data, losses
from mmdet_ols.checks import pretrained as pretrained_module
from mmdet_ols.checks.data import check_datasets, fetch_datasets
from mmdet_ols.checks.losses import check_losses
from mmdet_ols.checks.pretrained import check_pretrained
from mmdet_ols.datasets.voc_annotations import voc_classes

BOX = dict(xmin=2, ymin=3, xmax=20, ymax=30)


def write_xml(path, objects, box=BOX):
    edges = ''.join(f'<{edge}>{value}</{edge}>' for edge, value in box.items())
    nodes = ''.join(
        f'<object><name>{name}</name><bndbox>{edges}</bndbox></object>' for name in objects
    )
    path.write_text(f'<annotation>{nodes}</annotation>')


@pytest.fixture
def root(tmp_path):
    """Three images, with cats, dogs and foxes, in VOC's layout."""
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (tmp_path / folder).mkdir(parents=True)
    content = {'a': ['cat', 'dog'], 'b': ['fox', 'cat'], 'c': []}
    for name, objects in content.items():
        write_xml(tmp_path / 'Annotations' / f'{name}.xml', objects)
        (tmp_path / 'JPEGImages' / f'{name}.jpg').write_bytes(b'')
    (tmp_path / 'ImageSets/Main/trainval.txt').write_text('\n'.join(content))
    return tmp_path


@pytest.fixture
def said(monkeypatch):
    messages = []
    for module in (data, losses):
        monkeypatch.setattr(module, 'print_log', lambda message, **kwargs: messages.append(message))
    return messages


def config(root, classes=('cat', 'dog', 'fox'), **changes):
    dataset = dict(
        type='XMLDataset',
        data_root=str(root),
        ann_file='ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root=''),
        metainfo=dict(classes=classes),
    )
    dataset.update(changes)
    wrapped = dict(type='RepeatDataset', times=2, dataset=dict(type='Concat', datasets=[dataset]))
    return Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=wrapped)))


def test_good_data_pass_in_silence(root, said):
    check_datasets(config(root))
    assert said == []


def test_missing_root_says_what_was_expected(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r'(?s)`data_root` of train_dataloader, XMLDataset.*'
        r'absent does not exist.*ImageSets/Main/SPLIT\.txt',
    ):
        check_datasets(config(tmp_path / 'absent'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(ann_file='ImageSets/Main/train.txt'), r'`ann_file`.*train\.txt.*holds trainval\.txt'),
        (dict(data_prefix=dict(sub_data_root='VOC2007/')), r'`sub_data_root`.*VOC2007.*holds Anno'),
    ],
)
def test_missing_path_says_what_was_found(root, change, message):
    with pytest.raises(FileNotFoundError, match=f'(?s){message}'):
        check_datasets(config(root, **change))


@pytest.mark.parametrize('path', ['Annotations/b.xml', 'JPEGImages/c.jpg'])
def test_missing_file_of_an_image_is_named(root, path):
    (root / path).unlink()
    with pytest.raises(FileNotFoundError, match=path):
        check_datasets(config(root))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('<annotation><object>', 'not valid XML'),
        ('<annotation><object><name>cat</name></object></annotation>', r'object 1: <bndbox/xmin>'),
    ],
)
def test_broken_annotation_is_named(root, content, message):
    (root / 'Annotations/b.xml').write_text(content)
    with pytest.raises(ValueError, match=rf'b\.xml.*{message}'):
        check_datasets(config(root))


def test_box_that_is_no_number_is_named(root):
    write_xml(root / 'Annotations/b.xml', ['cat'], {**BOX, 'ymax': 'many'})
    with pytest.raises(ValueError, match=r"b\.xml, object 1: .*'many'"):
        check_datasets(config(root))


def test_boxes_without_area_are_counted(root, said):
    write_xml(root / 'Annotations/b.xml', ['cat', 'cat'], {**BOX, 'ymax': 3})
    check_datasets(config(root))
    assert len(said) == 1 and '2 boxes have no area' in said[0]


def test_objects_of_unnamed_classes_are_counted(root, said):
    check_datasets(config(root, classes=('dog',)))
    assert len(said) == 1
    assert '3 objects of 2 classes' in said[0] and 'cat (2), fox (1)' in said[0]


def test_objects_of_unnamed_classes_are_an_error_on_request(root, said):
    with pytest.raises(ValueError, match=r'fox \(1\)'):
        check_datasets(config(root, classes=('cat', 'dog')), strict=True)


def test_no_object_of_a_named_class_is_always_an_error(root):
    with pytest.raises(ValueError, match='nothing is left to learn from'):
        check_datasets(config(root, classes=('person',)))


def test_classes_of_the_data_set_class_count_where_the_config_names_none(root, said):
    check_datasets(config(root, type='VOCDataset', metainfo=dict()))
    assert len(said) == 1 and 'name: fox (1).' in said[0]


def test_coco_annotations(root, said):
    content = dict(
        categories=[dict(id=1, name='cat'), dict(id=7, name='cow')],
        annotations=[dict(category_id=1), dict(category_id=7), dict(category_id=7)],
    )
    (root / 'coco.json').write_text(json.dumps(content))
    coco = dict(type='CocoDataset', ann_file='coco.json', data_prefix=dict(img='JPEGImages'))
    check_datasets(config(root, **coco))
    assert len(said) == 1 and 'cow (2)' in said[0]
    (root / 'coco.json').write_text('{"annotations": ')
    with pytest.raises(ValueError, match=r"coco\.json is not in COCO's format"):
        check_datasets(config(root, **coco))


def test_voc_classes_are_those_of_the_annotations(root, tmp_path_factory):
    assert voc_classes(root) == ('cat', 'dog', 'fox')
    empty = tmp_path_factory.mktemp('empty')
    with pytest.raises(FileNotFoundError, match=r'(?s)expected this layout.*holds \[\]'):
        voc_classes(empty)


def model_config(num_classes=3, hooks=None, **loss):
    head = dict(
        type='YOLOV3Head', num_classes=3, loss_cls=dict(type='OLSLoss', num_classes=num_classes)
    )
    return Config(dict(model=dict(bbox_head=[head]), default_hooks=hooks or {}))


def test_loss_and_head_must_agree_about_the_classes():
    with pytest.raises(
        ValueError, match=r'OLSLoss.*\(YOLOV3Head\), but got 80 for 3: set num_classes=3'
    ):
        check_losses(model_config(80))


def test_a_loss_without_hook_is_said_loudly(said):
    check_losses(model_config(hooks=dict(timer=dict(type='IterTimerHook'))))
    assert said[0] == 'YOLOV3Head: OLSLoss(num_classes=3)'
    assert len(said) == 2 and 'no OLSHook' in said[1]
    check_losses(model_config(hooks=dict(ols=dict(type='OLSHook'))))
    assert said[2:] == said[:1]


def test_data_that_are_not_local_files_of_ours_to_check_are_left_alone(tmp_path, said):
    absent = tmp_path / 'absent'
    for changes in (
        dict(type='mmpretrain.CIFAR10', ann_file='', data_prefix=''),  # downloads itself
        dict(backend_args=dict(backend='petrel')),
        dict(data_root='', ann_file='', data_prefix=dict(img='s3://bucket')),
    ):
        check_datasets(config(absent, **changes))
    assert said == []


def test_data_sets_that_download_themselves_are_fetched_once():
    built = []

    @DATASETS.register_module()
    class Downloads:
        def __init__(self, split, data_root, download=True):
            built.append(split)
            if split == 'bad':
                raise RuntimeError('no network')

    @DATASETS.register_module()
    class Lies:
        def __init__(self, data_root):
            built.append('lies')

    try:
        train, test = (dict(type='Downloads', split=s, data_root='x') for s in ('train', 'test'))
        parts = [train, dict(type='Lies', data_root='x')]
        whole = dict(type='RepeatDataset', times=2, dataset=dict(datasets=parts))
        loaders = {
            f'{split}_dataloader': dict(dataset=dataset)
            for split, dataset in (('train', whole), ('val', test), ('test', dict(test)))
        }
        fetch_datasets(Config(loaders))
        assert built == ['train', 'test']
        bad = dict(type='Downloads', split='bad', data_root='x')
        with pytest.raises(ValueError, match="val_dataloader, Downloads, .* 'x', .*no network"):
            fetch_datasets(Config(dict(val_dataloader=dict(dataset=bad))))
    finally:
        for name in ('Downloads', 'Lies'):
            DATASETS.module_dict.pop(name)


def test_json_of_other_kinds_is_not_taken_for_coco_detection(root, said):
    (root / 'multi.json').write_text('{"metainfo": {}, "data_list": []}')
    check_datasets(config(root, type='mmpretrain.MultiLabelDataset', ann_file='multi.json'))
    assert said == []


def test_names_may_stand_in_a_file_and_hold_spaces(root, said):
    (root / 'classes.txt').write_text('cat\ndog\nfox\n')
    (root / 'ImageSets/Main/trainval.txt').write_text('a\nwith space\n')
    write_xml(root / 'Annotations/with space.xml', ['fox'])
    (root / 'JPEGImages/with space.jpg').write_bytes(b'')
    check_datasets(config(root, classes=str(root / 'classes.txt')))
    assert said == []


def test_a_hook_that_counts_epochs_in_an_iteration_based_loop(said):
    cfg = model_config(hooks=dict(ols=dict(type='OLSHook', by_epoch=True)))
    for loop in (dict(by_epoch=False), dict(type='IterBasedTrainLoop')):
        cfg.train_cfg = dict(max_iters=9, **loop)
        with pytest.raises(ValueError, match='`by_epoch` of OLSHook must not be True'):
            check_losses(cfg)
    for hook in (dict(type='OLSHook'), dict(type='OLSHook', by_epoch=False)):
        cfg.default_hooks.ols = hook  # the hook asks the loop by itself
        check_losses(cfg)


class Server(BaseHTTPRequestHandler):
    """Serves weights; 'absent' is not found, 'silent' is never answered, 'cut' ends too early."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if 'absent' in self.path:
            return self.send_error(404)
        if 'silent' in self.path:
            return time.sleep(1.5)
        self.send_response(200)
        self.send_header('Content-Length', str(len(self.server.weights)))
        self.end_headers()
        end = 10 if 'cut' in self.path else None
        self.wfile.write(self.server.weights[:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('NO_PROXY', '*')
    monkeypatch.setenv('no_proxy', '*')
    with ThreadingHTTPServer(('127.0.0.1', 0), Server) as httpd:
        weights = BytesIO()
        torch.save({'state_dict': {'weight': torch.ones(2)}}, weights)
        httpd.weights, httpd.asked = weights.getvalue(), []
        httpd.url = f'http://127.0.0.1:{httpd.server_port}'
        thread = Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield httpd
        httpd.shutdown()


def pretrained(checkpoint):
    """A config whose second stage starts from a checkpoint."""
    first = dict(type='A', init_cfg=None)
    second = dict(type='B', init_cfg=[dict(type='Normal'), dict(checkpoint=checkpoint)])
    second['init_cfg'][1]['type'] = 'Pretrained'
    return Config(dict(model=dict(stages=[first, second])))


def test_weights_are_fetched_once_to_where_mmengine_looks(server, tmp_path, monkeypatch):
    cfg = pretrained(f'{server.url}/zoo/net-1.pth')
    monkeypatch.setenv('LOCAL_RANK', '1')
    check_pretrained(cfg)
    assert server.asked == []
    monkeypatch.setenv('LOCAL_RANK', '0')
    check_pretrained(cfg)
    assert (tmp_path / 'torch/hub/checkpoints/net-1.pth').read_bytes() == server.weights
    check_pretrained(cfg)
    CheckpointLoader.load_checkpoint(f'{server.url}/zoo/net-1.pth', map_location='cpu')
    assert server.asked == ['/zoo/net-1.pth']


@pytest.mark.parametrize(
    ('name', 'reason'), [('absent', '404'), ('silent', 'timed out'), ('x', 'refused')]
)
def test_weights_that_cannot_be_fetched(name, reason, server, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained_module, 'SERVER_TIMEOUT', 0.3)
    url = f'{server.url}/{name}.pth'
    if name == 'x':
        with socket.create_server(('127.0.0.1', 0)) as closed:
            url = f'http://127.0.0.1:{closed.getsockname()[1]}/x.pth'
    file = tmp_path / f'torch/hub/checkpoints/{name}.pth'
    with pytest.raises(FileNotFoundError) as caught:
        check_pretrained(pretrained(url))
    message = str(caught.value)
    assert f'Fetch it from {url} by other means and save it as {file}.' in message
    assert reason in message.partition('are not there: ')[2].lower()
    assert message.endswith('--cfg-options model.stages.1.init_cfg=None')
    # The remedies work.
    cfg = pretrained(url)
    cfg.merge_from_dict({'model.stages.1.init_cfg': None})
    check_pretrained(cfg)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(server.weights)
    check_pretrained(pretrained(url))
    assert socket.getdefaulttimeout() is None


def test_weights_that_come_only_in_part_are_not_kept(server, tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError, match=r"cut\.pth', cannot be used: .*cut short.*=None"):
            check_pretrained(pretrained(f'{server.url}/cut.pth'))
    assert server.asked == ['/cut.pth'] * 2
    assert not any((tmp_path / 'torch/hub/checkpoints').iterdir())


def test_names_of_weights_are_resolved_as_mmengine_does(server, monkeypatch):
    url = f'{server.url}/net.pth'
    for table in ('get_external_models', 'get_torchvision_models', 'get_mmcls_models'):
        monkeypatch.setattr(checkpoints, table, lambda: {'mmdet/net': url, 'net': url})
    monkeypatch.setattr(checkpoints, 'get_deprecated_model_names', lambda: {'old': 'net'})
    for name in ('open-mmlab://mmdet/net', 'openmmlab://old', 'torchvision://net', 'mmcls://net'):
        check_pretrained(pretrained(name))
        CheckpointLoader.load_checkpoint(name, map_location='cpu')
    assert server.asked == ['/net.pth']
    with pytest.raises(ValueError, match="no model 'open-mmlab://mmdet/nat'; it knows mmdet/net"):
        check_pretrained(pretrained('open-mmlab://mmdet/nat'))


def test_weights_in_local_files(tmp_path, server):
    path = tmp_path / 'weights.pth'
    with pytest.raises(FileNotFoundError, match=r'no checkpoint file.*weights\.pth.*init_cfg=None'):
        check_pretrained(pretrained(str(path)))
    path.write_bytes(server.weights)
    check_pretrained(pretrained(str(path)))
    path.write_bytes(server.weights[:100])
    with pytest.raises(ValueError, match='was cut short'):
        check_pretrained(pretrained(str(path)))
    check_pretrained(pretrained('s3://bucket/weights.pth'))
