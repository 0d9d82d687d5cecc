"""The comparison in a loop of plain PyTorch: its data, its networks, its measures and its rows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_image_configs import cifar10n
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.testing import assert_close
from torchmetrics.functional.classification import binary_calibration_error

from mmdet_ols import OLSLoss
from mmdet_ols.experiments.evidence import read_rows
from mmdet_ols.experiments.evidence_page import Selection, evidence_tables
from mmdet_ols.reproduction import made_data

sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))

import pack_images
import plain_comparison
from plain_data import RECIPES, cropped, read_images
from plain_networks import build

BENCHMARKS = Path(__file__).parents[1] / 'benchmarks'
CONFIG = 'configs/cifar10/resnet18_worst_cifar10n.py'


@pytest.fixture(scope='module')
def packed(tmp_path_factory):
    """40 training images of CIFAR-10N's kind, every other label wrong, and 10 for the test."""
    root = tmp_path_factory.mktemp('plain')
    cifar10n(root / 'cifar10')
    path = root / 'packed.zip'
    config = str(BENCHMARKS.parent / CONFIG)
    pack_images.main([config, '--data-root', str(root / 'cifar10'), '--out', str(path)])
    return path


def test_packed_images_are_those_of_the_folder(packed):
    train, test = read_images(packed)
    assert train.pixels.shape == (40, 3, 32, 32) and test.pixels.shape == (10, 3, 32, 32)
    assert train.pixels.dtype == torch.uint8
    label = torch.arange(40) // 4
    assert_close(train.clean, label)
    assert_close(train.labels, (label + torch.arange(40) % 2) % 10)
    assert_close(test.labels, torch.arange(10))
    assert_close(test.clean, test.labels)
    # Red first: these images have a mean colour of their own.
    expected = torch.tensor(made_data.COLOURS, dtype=torch.float)
    assert_close(test.pixels.float().mean((0, 2, 3)), expected, atol=8, rtol=0)


def test_photographs_encoded_anew_stay_alike(packed, tmp_path):
    path, config = tmp_path / 'webp.zip', str(BENCHMARKS.parent / CONFIG)
    options = ['--data-root', str(packed.parent / 'cifar10'), '--out', str(path), '--webp', '90']
    pack_images.main([config, *options])
    before, after = read_images(packed)[1], read_images(path)[1]
    means = [part.pixels.float().mean((2, 3)) for part in (before, after)]
    assert_close(*means, atol=4, rtol=0)
    assert not torch.equal(before.pixels, after.pixels)


def test_crops_are_parts_of_the_images_some_of_them_flipped():
    places = torch.stack(torch.meshgrid(torch.arange(12), torch.arange(10), indexing='ij'))
    pixels = torch.cat([places, places[:1]])[None].repeat(64, 1, 1, 1).to(torch.uint8)
    centre = cropped(pixels, 6, 0, None)
    assert_close(centre, pixels[:, :, 3:9, 2:8])
    crops = cropped(pixels, 6, 0, torch.Generator().manual_seed(0)).int()
    rows, columns = crops[:, 0], crops[:, 1]
    assert ((rows[:, 1:] - rows[:, :-1]) == 1).all()
    assert (rows == rows[:, :, :1]).all() and (columns == columns[:, :1]).all()
    steps = columns[:, 0, 1:] - columns[:, 0, :-1]
    assert set(steps.flatten().tolist()) == {-1, 1} and (steps == steps[:, :1]).all()
    assert set(rows[:, 0, 0].tolist()) == set(range(7))  # 12 - 6 + 1 places
    assert set(columns.amin((1, 2)).tolist()) == set(range(5))
    padded = cropped(pixels + 1, 10, 2, torch.Generator().manual_seed(0))
    assert padded.shape[-2:] == (10, 10) and (padded == 0).any()


def test_mobilenet_is_that_of_mmpretrain(tmp_path):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        theirs = MODELS.build(dict(type='MobileNetV2'))
    theirs.eval()  # MMPretrain's returns nothing
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    weights = {f'backbone.{name}': value for name, value in theirs.state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'weights.pth')
    ours = build('mobilenetv2', 5, tmp_path / 'weights.pth').eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        (expected,) = theirs(images)
        assert_close(ours.backbone(images), expected)
        assert ours(images).shape == (2, 5)
    torch.save(dict(state_dict={'backbone.other': torch.ones(1)}), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'--weights must hold .* has no backbone\.conv1'):
        build('mobilenetv2', 5, tmp_path / 'other.pth')


def test_calibration_error_is_that_of_torchmetrics():
    confidence, right = torch.rand(500) * 0.999, torch.rand(500) < 0.6
    expected = binary_calibration_error(confidence.double(), right.long(), n_bins=15)
    ours = plain_comparison.calibration_error(confidence, right)
    assert ours == pytest.approx(expected.item(), abs=1e-9)
    assert plain_comparison.calibration_error(torch.ones(4), torch.ones(4).bool()) == 0


@pytest.mark.parametrize(
    'method, told', [('soft', 'must be of hard, ls, ols'), ('ls:x=0.2', "ls:x=0.2: .*'x'")]
)
def test_a_method_that_is_none_is_an_error_before_images_are_unpacked(method, told, tmp_path):
    (tmp_path / 'images.zip').write_bytes(b'')
    words = ['--recipe', 'cars', '--record', tmp_path / 'rows.csv', '--methods', 'hard', method]
    with pytest.raises(SystemExit, match=f'^error: --methods {told}'):
        plain_comparison.main([str(tmp_path / 'images.zip'), *map(str, words)])


def test_options_reach_the_loss():
    criterion = plain_comparison.criterion_of('ols:alpha=0.3,start=hard', 3)
    assert isinstance(criterion, OLSLoss) and criterion.alpha == 0.3


def test_methods_are_those_losses():
    scores, label = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    log, hard = scores.log_softmax(1), nn.functional.one_hot(label, 3)
    seen = nn.functional.one_hot(scores.argmax(1), 3)
    reverse = -(log.exp() * hard.clamp(min=1e-4).log()).sum(1)
    expected = {
        'hard': -(hard * log).sum(1),
        'ls': -((0.9 * hard + 0.1 / 3) * log).sum(1),
        'boothard': -((0.8 * hard + 0.2 * seen) * log).sum(1),
        'sce:alpha=0.1,beta=1.0': -0.1 * (hard * log).sum(1) + reverse,
    }
    for method, losses in expected.items():
        criterion = plain_comparison.criterion_of(method, 3)
        assert_close(criterion(scores, label), losses.mean())


def tiny_network(name, classes, weights):
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, classes))


def test_runs_become_rows_and_rows_count_as_runs(packed, tmp_path, monkeypatch, capsys):
    tiny = replace(RECIPES['cifar10n'], batch_size=8, crop=16, padding=0, lr=0.01)
    monkeypatch.setitem(RECIPES, 'cifar10n', tiny)
    monkeypatch.setattr(plain_comparison, 'build', tiny_network)
    rolled = []
    update = OLSLoss.update_soft_labels
    monkeypatch.setattr(
        OLSLoss, 'update_soft_labels', lambda self: rolled.append(1) or update(self)
    )
    path = tmp_path / 'rows.csv'
    words = [str(packed), '--recipe', 'cifar10n', '--epochs', '3', '--interval', '2']
    words += ['--record', str(path), '--commit', 'abc', '--methods', 'hard', 'ols']
    plain_comparison.main(words)
    assert len(rolled) == 3
    assert 'ols seed 0 epoch 2: accuracy/top1' in capsys.readouterr().out
    rows = read_rows(path)
    assert [(row.method, row.seed, row.length) for row in rows] == [
        ('hard', 0, '3 epochs'), ('ols', 0, '3 epochs')
    ]  # fmt: skip
    assert rows[0].base == rows[1].base and rows[0].settings != rows[1].settings
    assert rows[0].commit == 'abc' and rows[0].best_epoch in (2, 3)
    assert {'accuracy/top1', 'calibration/ece', 'train/wrong_label_error'} <= set(rows[0].metrics)
    assert rows[0].metrics['calibration/ece'] != rows[1].metrics['calibration/ece']

    monkeypatch.setattr(plain_comparison, 'train', lambda *_: pytest.fail('trained again'))
    plain_comparison.main(words)
    assert read_rows(path) == rows
    text = evidence_tables(rows, Selection(reference='hard'))
    command = 'python benchmarks/plain_comparison.py packed.zip --methods hard ols --seeds 0'
    assert f'{command} --recipe=cifar10n --device=cpu --epochs=3\n' in text


def test_labels_may_be_the_true_ones(packed, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        plain_comparison, 'train', lambda recipe, method, seed, data, options: seen.append(data[0])
        or {1: {'accuracy/top1': 0.0}}
    )  # fmt: skip
    monkeypatch.setitem(RECIPES, 'cifar10n', replace(RECIPES['cifar10n'], batch_size=8))
    words = [str(packed), '--recipe', 'cifar10n', '--record', str(tmp_path / 'rows.csv')]
    words += ['--commit', 'abc', '--methods', 'hard', '--epochs', '1']
    for labels in ('given', 'clean'):
        plain_comparison.main([*words, '--labels', labels])
    given, clean = seen
    assert torch.equal(clean.labels, clean.clean) and not torch.equal(given.labels, given.clean)
    rows = read_rows(tmp_path / 'rows.csv')
    assert len(rows) == 2 and ['--labels=clean' in row.options for row in rows] == [False, True]


def test_the_papers_network_trains_on_a_batch():
    network = build('resnet29', 10, None)
    logits = network(torch.randn(4, 3, 16, 16))
    logits.sum().backward()
    assert logits.shape == (4, 10) and network.backbone.body.stem[0].weight.grad is not None


def test_the_learning_rate_drops_at_the_same_shares_of_a_shorter_training():
    words = ['x.zip', '--recipe', 'cars', '--record', 'x.csv', '--epochs', '20', '--lr', '0.05']
    recipe = plain_comparison.recipe_of(plain_comparison.parse_args(words))
    assert (recipe.epochs, recipe.milestones, recipe.lr) == (20, (9, 16), 0.05)


def test_it_needs_no_openmmlab():
    code = (
        'import sys\n'
        'class Missing:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        root = name.partition(".")[0]\n'
        '        if root in ("mmengine", "mmcv", "mmdet", "mmpretrain", "cv2", "rich"):\n'
        '            raise ModuleNotFoundError(name, name=root)\n'
        'sys.meta_path.insert(0, Missing())\n'
        f'sys.path[:0] = [{str(BENCHMARKS)!r}, {str(BENCHMARKS.parent)!r}]\n'
        'import plain_comparison, plain_networks\n'
        'plain_networks.build("resnet29", 3, None)\n'
        'try:\n'
        '    plain_comparison.main(["--help"])\n'
        'except SystemExit as ended:\n'
        '    sys.exit(ended.code)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert '--recipe' in done.stdout
