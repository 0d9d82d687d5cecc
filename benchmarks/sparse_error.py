#!/usr/bin/env python
"""Measure how far the soft labels of OLSSparseLoss are from the dense ones, and what they cost.

    python benchmarks/sparse_error.py                      handwritten digits, and made-up streams
    python benchmarks/sparse_error.py --data data/cifar10  images instead, one folder for each class

Each stream of predictions goes through the dense state and, at the same time, through sparse states
of all sizes, over three periods. After each period, every row that was taught is compared:

- distance: total variation between the sparse row and the dense one, in [0, 1]. It is the share of
  the soft label that lies on other columns. Mean, standard deviation and maximum over the rows.
- least: the same for the m largest entries of the dense row. The distance cannot be smaller; the
  difference is the price of the sketch, which has to find these entries while they come in.
- loss: mean absolute difference of the losses (alpha = 0.5) of samples that were not learned from,
  as a share of the mean dense loss.

The real stream is a training of a small network with the dense loss. In the made-up streams a class
is taken for the others by Zipf's law (exponent 1.2), in an order of its own; its samples scatter
around that by a factor of e^1.5, and between two periods a tenth of the order's spread changes.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from loss_cases import Size, make_batch, nbytes_of, smoothed_cross_entropy
from rich.progress import Progress
from timing import ROOT, Stopwatch, circumstances, interleave, keep_freed_memory, summary
from torch import Tensor, nn

from mmdet_ols import OLSLoss, OLSSparseLoss
from mmdet_ols.core import Samples

PERIODS = 3
ENTRIES = (2, 5, 10, 20, 50, 100, 200)
COLUMNS = (
    'stream', 'classes', 'top_m', 'period', 'rows', 'distance', 'distance_sd', 'distance_max',
    'least', 'loss', 'state_mib', 'dense_mib',
    'candidate', 'part', 'n', 'median_us', 'q1_us', 'q3_us', 'min_us', 'max_us',
    'ratio', 'ratio_q1', 'ratio_q3', 'ratio_of_minima',
    'device', 'machine', 'threads', 'python', 'torch', 'mmdet', 'mmpretrain', 'mmdet_ols',
    'commit', 'date',
)  # fmt: skip
MIB = 2**20

Row = dict[str, Any]
#: Scores (N, C) and labels (N,), and whether they belong to the samples that are not learned from.
Batch = tuple[Tensor, Tensor, bool]


# --- Streams --------------------------------------------------------------------------------------


class MadeUp:
    """Predictions for some of many classes."""

    def __init__(self, num_classes: int, seen: int, samples: int, seed: int = 0) -> None:
        self.name, self.num_classes = f'{num_classes:,} made-up classes', num_classes
        self.draws = torch.Generator().manual_seed(seed)
        self.classes = torch.randperm(num_classes, generator=self.draws)[:seen]
        self.place = torch.rand(seen, num_classes, generator=self.draws)
        self.samples = samples

    def batches(self, dense: DenseRows) -> Iterator[Batch]:
        """Yield the batches of one period."""
        rank = self.place.argsort(1).argsort(1).add(1).float()
        shares = rank.pow_(-1.2)
        shares.scatter_(1, self.classes[:, None], 0)
        shares *= 0.4 / shares.sum(1, keepdim=True)
        shares.scatter_(1, self.classes[:, None], 0.6)
        logits = shares.log_()
        which = torch.arange(len(self.classes)).repeat(self.samples)
        which = which[torch.randperm(len(which), generator=self.draws)]
        held_out = torch.randperm(len(self.classes), generator=self.draws)[:256]
        for chosen in (*which.split(256), held_out):
            noise = torch.randn(len(chosen), self.num_classes, generator=self.draws)
            yield logits[chosen].add_(noise, alpha=1.5), self.classes[chosen], chosen is held_out
        self.place += 0.1 / 12**0.5 * torch.randn(self.place.shape, generator=self.draws)


class Training:
    """The predictions of a small network while it is trained with the dense loss."""

    def __init__(self, data: Path | None) -> None:
        images, self.label, self.name = read_folders(data) if data else read_digits()
        self.images = (images - images.mean()) / images.std()
        self.num_classes = int(self.label.max()) + 1
        self.classes = torch.arange(self.num_classes)
        channels, side = images.shape[1:3]
        layers: list[nn.Module] = []
        for width in (32, 64, 128):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
            channels = width
        self.model = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(channels * (side // 8) ** 2, self.num_classes)
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        self.held_out = torch.randperm(len(images))[: len(images) // 5]
        others = torch.ones(len(images), dtype=torch.bool)
        others[self.held_out] = False
        self.training = others.nonzero().squeeze(1)

    def batches(self, dense: DenseRows) -> Iterator[Batch]:
        """Yield the batches of one period, which is two epochs."""
        for _ in range(2):
            order = self.training[torch.randperm(len(self.training))]
            for chosen in order.split(128):
                scores, label = self.model(self.images[chosen]), self.label[chosen]
                self.optimizer.zero_grad()
                F.cross_entropy(scores, dense.target(label)).backward()
                self.optimizer.step()
                yield scores.detach(), label, False
        with torch.no_grad():
            self.model.eval()
            yield self.model(self.images[self.held_out]), self.label[self.held_out], True
            self.model.train()


def read_digits() -> tuple[Tensor, Tensor, str]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None]
    return images, torch.tensor(digits.target), 'training on digits'


def read_folders(data: Path) -> tuple[Tensor, Tensor, str]:
    """Read at most 500 images of each class."""
    import numpy as np
    from PIL import Image

    folder = data / 'train' if (data / 'train').is_dir() else data
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    if not classes:
        raise SystemExit(f'error: --data needs a folder of images for each class; none in {folder}')
    paths = [
        (path, label) for label, at in enumerate(classes) for path in sorted(at.iterdir())[:500]
    ]
    images: Any = np.stack(
        [np.asarray(Image.open(path).convert('RGB').resize((32, 32))) for path, _ in paths]
    )
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    return pixels, torch.tensor([label for _, label in paths]), f'training on {data.name}'


# --- Distances ------------------------------------------------------------------------------------


class DenseRows:
    """Eq. 5 and 6 for the rows of some classes, because all 21,841 would take 3.8 GB."""

    def __init__(self, classes: Tensor, num_classes: int) -> None:
        self.rows = torch.full((len(classes), num_classes), 1 / num_classes)
        self.sums = torch.zeros_like(self.rows)
        self.place = torch.zeros(num_classes, dtype=torch.int64)
        self.place[classes] = torch.arange(len(classes))

    def learn(self, scores: Tensor, label: Tensor) -> None:
        right = scores.argmax(1) == label
        self.sums.index_add_(0, self.place[label[right]], scores[right].softmax(1))

    def roll_over(self) -> Tensor:
        """Roll over, and return which rows (n,) were taught."""
        total = self.sums.sum(1, keepdim=True)
        self.rows = torch.where(total > 0, self.sums / total, self.rows)
        self.sums.zero_()
        return (total > 0).squeeze(1)

    def target(self, label: Tensor) -> Tensor:
        half = 0.5 * self.rows[self.place[label]]
        return half.scatter_add(1, label[:, None], half.new_full((len(label), 1), 0.5))


def follow(stream: MadeUp | Training, advance: Callable[[], None]) -> list[Row]:
    """Teach the dense rows and all sparse states the same predictions.

    Returns:
        A row of results for each size and period.
    """
    size = stream.num_classes
    dense = DenseRows(stream.classes, size)
    sparse = {m: OLSSparseLoss(size, top_m=m) for m in sorted({min(m, size) for m in ENTRIES})}
    rows: list[Row] = []
    for period in range(1, PERIODS + 1):
        for scores, label, held_out in stream.batches(dense):
            if not held_out:
                dense.learn(scores, label)
                for criterion in sparse.values():
                    criterion.learn(
                        Samples(scores, label, torch.ones_like(label, dtype=torch.bool))
                    )
        taught = dense.roll_over()
        for m, criterion in sparse.items():
            criterion.update_soft_labels()
            row = compare(dense, criterion, stream.classes[taught], scores, label)
            rows.append(dict(stream=stream.name, classes=size, top_m=m, period=period, **row))
        advance()
    return rows


@torch.no_grad()
def compare(
    dense: DenseRows, sparse: OLSSparseLoss, taught: Tensor, scores: Tensor, label: Tensor
) -> Row:
    """Compare the rows of the classes `taught`, and the losses of samples."""
    expected = dense.rows[dense.place[taught]]
    kept = sparse.state.mixed_targets(taught, 0.0, taught >= 0, torch.float32)
    distance = 0.5 * (kept - expected).abs().sum(1)
    values, columns = expected.topk(sparse.top_m, 1)
    others = sparse.num_columns - sparse.top_m
    rest = (1 - values.sum(1, keepdim=True)) / max(others, 1)
    best = rest.repeat(1, sparse.num_columns).scatter_(1, columns, values)
    targets = dense.target(label), sparse.make_target(Samples(scores, label, label >= 0))
    dense_loss, loss = (-(target * scores.log_softmax(1)).sum(1) for target in targets)
    return dict(
        rows=len(taught),
        distance=distance.mean().item(),
        distance_sd=distance.std().item(),
        distance_max=distance.max().item(),
        least=0.5 * (best - expected).abs().sum(1).mean().item(),
        loss=((loss - dense_loss).abs().mean() / dense_loss.mean()).item(),
        state_mib=nbytes_of(sparse) / MIB,
        dense_mib=8 * sparse.num_columns * (sparse.num_columns + 1) / MIB,
    )


# --- Time -----------------------------------------------------------------------------------------


def time_steps(text: str, seconds: float) -> list[Row]:
    """Time forward and backward of the losses in turns, and their roll-overs."""
    size, watch = Size.parse(text), Stopwatch('cpu')
    batch = make_batch(size, torch.float32, 'cpu', 0)
    plain = OLSLoss(size.num_classes, implementation='plain')
    fused = OLSLoss(size.num_classes, state=plain.state)  # whose matrices take 3.8 GB
    criteria: dict[str, Any] = {
        'PyTorch cross_entropy(label_smoothing=0.1)': smoothed_cross_entropy,
        "OLSLoss(implementation='plain')": plain,
        'OLSLoss()': fused,
    }
    for m in (10, 100):
        criteria[f'OLSSparseLoss(top_m={m})'] = OLSSparseLoss(size.num_classes, top_m=m)

    def sampler(criterion: Any) -> Any:
        def step() -> tuple[Any, ...]:
            start = watch.now()
            torch.autograd.grad(criterion(batch.logits, batch.label), batch.logits)
            return start, watch.now()

        watch.seconds(step, 2)
        return lambda: watch.seconds(step, 2)

    samples = interleave({name: sampler(c) for name, c in criteria.items()}, seconds, 30, 5)
    times = {
        name: {turn: taken[0] for turn, taken in turns.items()} for name, turns in samples.items()
    }
    reference = times['PyTorch cross_entropy(label_smoothing=0.1)']
    rows: list[Row] = []
    for name, criterion in criteria.items():
        row = dict(stream=text, candidate=name)
        rows.append({**row, 'part': 'forward + backward', **summary(times[name], reference)})
        if 'Sparse' in name or 'plain' in name:
            start = watch.now()
            criterion.update_soft_labels()
            once = {0: watch.now() - start}
            rows.append({**row, 'part': 'roll-over', **summary(once)})
    return rows


# --- Tables ---------------------------------------------------------------------------------------


def tables(rows: list[Row]) -> str:
    lines = [
        '| stream | m | distance | at most | least | loss | state |',
        '| --- ' + '| ---: ' * 6 + '|',
    ]
    for row in rows:
        if row.get('period') == PERIODS:
            cells = (
                f'{row["stream"]} ({row["rows"]:,} rows)',
                str(row['top_m']),
                f'{row["distance"]:.4f} ± {row["distance_sd"]:.4f}',
                f'{row["distance_max"]:.4f}',
                f'{row["least"]:.4f}',
                f'{row["loss"]:.2%}',
                ' of '.join(megabytes(row[name]) for name in ('state_mib', 'dense_mib')),
            )
            lines.append(f'| {" | ".join(cells)} |')
    timed = [row for row in rows if 'candidate' in row]
    if timed:
        lines += ['', f'| {timed[0]["stream"]} | time | |', '| --- | ---: | ---: |']
    for row in timed:
        ratio = f'{row["ratio"]:.2f} times PyTorch' if 'ratio' in row else row['part']
        lines.append(f'| {row["candidate"]} | {row["median_us"] / 1e3:.3g} ms | {ratio} |')
    last = rows[-1]
    lines += [
        '',
        f'*Period {PERIODS}; mean ± standard deviation over the rows. {last["machine"]}, '
        f'{last["threads"]} thread; torch {last["torch"]}; commit {last["commit"]}, '
        f'{last["date"]}.*',
    ]
    return '\n'.join(lines)


def megabytes(mib: float) -> str:
    if mib < 0.1:
        return f'{1024 * mib:.2g} KiB'
    return f'{mib:,.3g} MiB' if mib < 1000 else f'{mib:,.0f} MiB'


# --- The command ----------------------------------------------------------------------------------


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--data', type=Path, metavar='FOLDER', help='one folder of images for each class'
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=20.0,
        help='for how long the losses take turns; 0 times nothing (20)',
    )
    parser.add_argument(
        '--out', type=Path, default=ROOT / 'benchmarks/sparse_error.csv',
        help='(benchmarks/sparse_error.csv); the table is written next to it as .md',
    )  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    made = circumstances('cpu')
    rows: list[Row] = []
    makers = (
        lambda: Training(options.data),
        lambda: MadeUp(1000, seen=1000, samples=60),
        lambda: MadeUp(21841, seen=256, samples=40),
    )
    with Progress(transient=True) as bar:
        task = bar.add_task('', total=PERIODS * len(makers) + bool(options.seconds))
        for make in makers:
            stream = make()
            bar.update(task, description=stream.name)
            rows += follow(stream, lambda: bar.advance(task))
        if options.seconds:
            bar.update(task, description='time')
            rows += time_steps('256x21841', options.seconds)
            bar.advance(task)
    rows = [{**row, **made} for row in rows]
    with options.out.open('w', newline='') as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    table = tables(rows)
    options.out.with_suffix('.md').write_text(table + '\n')
    print(table)


if __name__ == '__main__':
    main()
