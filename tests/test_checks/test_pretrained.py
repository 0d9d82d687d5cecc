"""Pretrained weights are fetched and read before a training starts."""

import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as checkpoints

from mmdet_ols.checks import downloads
from mmdet_ols.checks.option_names import OptionNames, naming_options
from mmdet_ols.checks.pretrained import check_pretrained


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
        thread = Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
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
    monkeypatch.setattr(downloads, 'SERVER_TIMEOUT', 0.3)
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
    with naming_options(OptionNames(entries='--set net')), pytest.raises(OSError) as caught:
        check_pretrained(pretrained(url))
    assert str(caught.value).endswith(' weights: --set net model.stages.1.init_cfg=None')
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


def test_weights_without_a_type_are_looked_for_too(tmp_path):
    """So MMDetection's configs of PVT name them."""
    cfg = pretrained(str(tmp_path / 'weights.pth'))
    del cfg.model.stages[1].init_cfg[1]['type']
    with pytest.raises(FileNotFoundError, match=r'no checkpoint file.*weights\.pth'):
        check_pretrained(cfg)


@pytest.mark.parametrize(
    ('init_cfg', 'message'),
    [
        (dict(type='Pretrained'), r'`checkpoint` of model\.neck\.init_cfg must name a file'),
        ('weights.pth', r"`model\.neck\.init_cfg` must be a dict, .* but got 'weights\.pth'"),
        (
            [dict(type='Xavir', layer='Conv2d')],
            r"model\.neck\.init_cfg: no .* is registered as 'Xavir' \(did you mean `Xavier`",
        ),
    ],
)
def test_initializers_that_would_stop_the_first_step(init_cfg, message):
    with pytest.raises(ValueError, match=message):
        check_pretrained(Config(dict(model=dict(neck=dict(type='A', init_cfg=init_cfg)))))
