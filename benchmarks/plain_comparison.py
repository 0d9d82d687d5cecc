#!/usr/bin/env python
"""Compare OLS and the losses that it competes with in a loop of plain PyTorch, without OpenMMLab.

    python benchmarks/plain_comparison.py data/packed/cars.zip --recipe cars --device cuda \
        --weights mobilenetv2.pth --methods hard ls ols --seeds 0 1 2 --record plain.csv
    python benchmarks/plain_comparison.py data/packed/cifar10n.zip --recipe cifar10n --device cuda \
        --methods hard ls ols boothard sce:alpha=0.1,beta=1.0 --seeds 0 1 2 --record plain.csv

The images, which `pack_images.py` has put into one file, lie on the device as one tensor; crops and
flips are made there. The recipes are those of the paper: MobileNetV2 for 100 epochs at a learning
rate of 0.01 that drops at 45 and 80, and ResNet-29 for 300 epochs at 0.1 that drops at 150 and 225.
On a GPU a step is captured once as a CUDA graph and replayed, in bfloat16; both can be turned off.

Each finished run is a row of `--record`, in the form of `tools/compare.py --record`, and runs that
have a row are left out. `mmdet-ols evidence FILE.csv` makes tables of the rows.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from plain_data import RECIPES, Images, Recipe, cropped, normalised, read_images
from plain_networks import build
from timing import circumstances
from torch import Tensor, nn

from mmdet_ols import BootstrapLoss, OLSLoss, SCELoss, TfKDRegLoss
from mmdet_ols.experiments.evidence import PLAIN_LOOP, EvidenceFile, EvidenceRow

#: Steps before one is captured: torch, cuDNN and the optimizer make what they need in these.
WARM_UP = 12
BINS = 15


# --- training -------------------------------------------------------------------------------------


def cross_entropy(num_classes: int, epsilon: float = 0.0) -> nn.Module:
    """PyTorch's own loss, for hard and for smoothed labels."""
    return nn.CrossEntropyLoss(label_smoothing=epsilon)


#: method -> the loss that it trains with; the options of a method are those of the loss.
LOSSES: dict[str, Callable[..., nn.Module]] = dict(
    hard=cross_entropy,
    ls=partial(cross_entropy, epsilon=0.1),
    ols=OLSLoss,
    boothard=partial(BootstrapLoss, mode='hard'),
    sce=SCELoss,
    tfkd_reg=TfKDRegLoss,
)


def criterion_of(method: str, classes: int) -> nn.Module:
    """The loss of a method, which may have options of its loss, as in ols:alpha=0.3.

    Raises:
        ValueError: There is no such method, or it has no such option.
    """
    name, _, options = method.partition(':')
    if name not in LOSSES:
        raise ValueError(
            f'--methods must be of {", ".join(LOSSES)}, with options as in ols:OPTION=VALUE,..., '
            f'but got {method!r}.'
        )
    pairs = (option.partition('=') for option in filter(None, options.split(',')))
    settings = {key: _value(value) for key, _, value in pairs}
    try:
        return LOSSES[name](num_classes=classes, **settings)
    except TypeError as error:
        raise ValueError(f'--methods {method}: {error}') from error


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


class Step:
    """A training step, which on a GPU is captured as a CUDA graph and replayed.

    Args:
        network: The network.
        criterion: The loss.
        optimizer: Of the network's weights.
        amp: Whether the network computes in bfloat16.
        graph: Whether to capture a step; batches then have one size.
    """

    def __init__(
        self,
        network: nn.Module,
        criterion: nn.Module,
        optimizer: torch.optim.Optimizer,
        amp: bool,
        graph: bool,
    ) -> None:
        self.network, self.criterion, self.optimizer = network, criterion, optimizer
        self.amp, self.captures, self.taken = amp, graph, 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, inputs: Tensor, labels: Tensor) -> None:
        """Train on a batch."""
        self.taken += 1
        if not self.captures:
            self._train(inputs, labels)
        elif self.taken <= WARM_UP:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                self._train(inputs, labels)
            torch.cuda.current_stream().wait_stream(aside)
        else:
            if self.graph is None:
                self._capture(inputs, labels)
            assert self.graph is not None
            self.inputs.copy_(inputs)
            self.labels.copy_(labels)
            self.graph.replay()

    def forget(self) -> None:
        """Capture the next step again: a graph keeps the learning rate that it was made with."""
        self.graph = None

    def _capture(self, inputs: Tensor, labels: Tensor) -> None:
        self.inputs, self.labels = inputs.clone(), labels.clone()
        self.optimizer.zero_grad()
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._train(self.inputs, self.labels)

    def _train(self, inputs: Tensor, labels: Tensor) -> None:
        # A graph must not keep the casts of weights that have changed since.
        device = inputs.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.amp, cache_enabled=False):
            logits = self.network(inputs)
        loss = self.criterion(logits.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def batches(count: int, size: int, device: str, draws: torch.Generator) -> Iterator[Tensor]:
    """Indices of one epoch in random order; a last batch that is not full is left out."""
    order = torch.randperm(count, device=device, generator=draws)
    yield from order[: count // size * size].split(size)


def train(
    recipe: Recipe, method: str, seed: int, data: tuple[Images, Images], options: argparse.Namespace
) -> dict[int, dict[str, float]]:
    """Train with one method and seed.

    Returns:
        What was measured after some epochs, the last one included.
    """
    train_set, test_set = data
    torch.manual_seed(seed)
    classes = int(train_set.clean.max()) + 1
    device = options.device
    network = build(recipe.network, classes, options.weights)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    criterion = criterion_of(method, classes).to(device)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.lr,
        momentum=0.9,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )
    step = Step(network, criterion, optimizer, options.amp, options.graph)
    draws = torch.Generator(device).manual_seed(seed)
    measured = {}
    for epoch in range(1, recipe.epochs + 1):
        if epoch - 1 in recipe.milestones:
            for group in optimizer.param_groups:
                group['lr'] *= 0.1
            step.forget()
        network.train()
        criterion.train()
        for index in batches(len(train_set.labels), recipe.batch_size, device, draws):
            pixels = cropped(train_set.pixels[index], recipe.crop, recipe.padding, draws)
            step(normalised(pixels, recipe), train_set.labels[index])
        if isinstance(criterion, OLSLoss):
            criterion.update_soft_labels()
        if epoch % options.interval == 0 or epoch == recipe.epochs:
            measured[epoch] = measure(network, recipe, train_set, test_set, options.amp)
            listed = ', '.join(f'{key} {value:.2f}' for key, value in measured[epoch].items())
            print(f'{method} seed {seed} epoch {epoch}: {listed}', flush=True)
    return measured


# --- measuring ------------------------------------------------------------------------------------


@torch.no_grad()
def scores_of(network: nn.Module, recipe: Recipe, pixels: Tensor, amp: bool) -> Tensor:
    """The probabilities of images (N, C), in eval mode."""
    network.eval()
    parts = []
    for part in pixels.split(500):
        inputs = normalised(cropped(part, recipe.crop, 0, None), recipe)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=amp):
            parts.append(network(inputs).float().softmax(1))
    return torch.cat(parts)


def measure(
    network: nn.Module, recipe: Recipe, train_set: Images, test_set: Images, amp: bool
) -> dict[str, float]:
    """Accuracy and calibration on the test images, and errors on wrong labels of the training."""
    scores = scores_of(network, recipe, test_set.pixels, amp)
    right = scores.topk(min(5, scores.shape[1])).indices == test_set.labels[:, None]
    result = {
        'accuracy/top1': 100 * right[:, 0].float().mean().item(),
        'accuracy/top5': 100 * right.any(1).float().mean().item(),
        'calibration/ece': 100 * calibration_error(scores.amax(1), right[:, 0]),
    }
    wrong = train_set.labels != train_set.clean
    if wrong.any():
        predicted = scores_of(network, recipe, train_set.pixels, amp).argmax(1)
        memorised = (predicted == train_set.labels)[wrong]
        result['train/clean_error'] = 100 * (predicted != train_set.clean).float().mean().item()
        result['train/wrong_label_error'] = 100 * (1 - memorised.float().mean().item())
    return result


def calibration_error(confidence: Tensor, right: Tensor) -> float:
    """The expected calibration error over `BINS` bins of equal width, as a fraction."""
    bins = (confidence.double() * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64, device=confidence.device)
    gaps.index_add_(0, bins, confidence.double() - right.double())
    return gaps.abs().sum().item() / len(confidence)


# --- the command ----------------------------------------------------------------------------------


def parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    first, _, rest = str(__doc__).partition('\n')
    parser = argparse.ArgumentParser(
        description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path, metavar='DATA.zip', help='made by pack_images.py')
    parser.add_argument('--recipe', choices=RECIPES, required=True)
    parser.add_argument('--methods', nargs='+', default=['hard', 'ls', 'ols'], metavar='METHOD')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0], help='(0)')
    rows = 'a row for each run (comparison.csv)'
    parser.add_argument('--record', default='comparison.csv', metavar='FILE.csv', help=rows)
    parser.add_argument('--weights', type=Path, help='where the backbone starts from')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu', help='(cpu)')
    parser.add_argument(
        '--labels', choices=['given', 'clean'], default='given', help='to learn (given)'
    )
    parser.add_argument('--epochs', type=int, help='with the same shares at each learning rate')
    parser.add_argument('--lr', type=float, help="the recipe's by default")
    parser.add_argument('--interval', type=int, default=10, help='epochs between two tests (10)')
    parser.add_argument('--amp', action=argparse.BooleanOptionalAction, help='(on a GPU)')
    parser.add_argument('--graph', action=argparse.BooleanOptionalAction, help='(on a GPU)')
    parser.add_argument('--commit', help='of the project, where it is no git repository')
    args = parser.parse_args(words)
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda needs a GPU that PyTorch sees, but there is none: leave it out')
    on_gpu = args.device == 'cuda'
    args.amp = on_gpu if args.amp is None else args.amp
    args.graph = on_gpu if args.graph is None else args.graph
    if args.graph and not on_gpu:
        parser.error('--graph needs --device cuda')
    return args


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that a command line asks for."""
    recipe = RECIPES[args.recipe]
    if args.epochs is not None:
        drops = (round(args.epochs * at / recipe.epochs) for at in recipe.milestones)
        recipe = replace(recipe, epochs=args.epochs, milestones=tuple(drops))
    return recipe if args.lr is None else replace(recipe, lr=args.lr)


def row_of(
    args: argparse.Namespace, recipe: Recipe, method: str, seed: int, digest: str
) -> EvidenceRow:
    """The row of a run, without what it reached."""
    made = circumstances(args.device)
    weights = args.weights.name if args.weights else None
    base = dict(asdict(recipe), data=digest, weights=weights, amp=args.amp)
    if args.labels != 'given':
        base['labels'] = args.labels
    options = [f'--recipe={args.recipe}', f'--device={args.device}']
    options += ['--labels=clean'] if args.labels == 'clean' else []
    options += [f'--{key}={value}' for key in ('epochs', 'lr') if (value := getattr(args, key))]
    options += [f'--weights={weights}'] if weights else []
    return EvidenceRow(
        settings=_key({**base, 'method': method}),
        base=_key(base),
        name=method,
        method=method,
        config=args.data.name,
        options=shlex.join(options),
        test=PLAIN_LOOP,
        seed=seed,
        length=f'{recipe.epochs} epochs',
        seconds=0,
        commit=args.commit or made['commit'],
        machine=made['machine'],
        torch=made['torch'],
        date=made['date'],
    )


def _key(settings: dict[str, Any]) -> str:
    return hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:16]


def missing_rows(
    args: argparse.Namespace, recipe: Recipe, evidence: EvidenceFile
) -> list[EvidenceRow]:
    """The runs without a row yet.

    Raises:
        ValueError: There is no such method, or it has no such option.
        OSError: The file of images cannot be read.
    """
    digest = hashlib.sha256(args.data.read_bytes()).hexdigest()
    wanted = [row_of(args, recipe, m, s, digest) for s in args.seeds for m in args.methods]
    missing = [row for row in wanted if evidence.row(row.identity) is None]
    for row in missing:
        criterion_of(row.method, 2)
    return missing


def images_on_device(args: argparse.Namespace, recipe: Recipe) -> tuple[Images, Images]:
    """The images to train on and to test on.

    Raises:
        ValueError: They cannot be used with the recipe, or the weights cannot.
        OSError: A file cannot be read.
    """
    train_images, test_images = read_images(args.data)
    if len(train_images.labels) < recipe.batch_size:
        raise ValueError(
            f'{args.data} must hold at least {recipe.batch_size} training images, one batch of the '
            f'recipe, but has {len(train_images.labels)}.'
        )
    if args.weights:
        build(recipe.network, 2, args.weights)  # raises if they are of another network
    if args.labels == 'clean':
        train_images.labels = train_images.clean
    return train_images.to(args.device), test_images.to(args.device)


def main(words: Sequence[str] | None = None) -> None:
    args = parse_args(words)
    wanted = len(args.seeds) * len(args.methods)
    try:  # what is misspelt is an error now, not after hours
        recipe, evidence = recipe_of(args), EvidenceFile(args.record)
        missing = missing_rows(args, recipe, evidence)
        if missing:
            on_device = images_on_device(args, recipe)
    except (ValueError, OSError) as error:
        raise SystemExit(f'error: {error}') from error
    for row in missing:
        start = time.perf_counter()
        measured = train(recipe, row.method, row.seed, on_device, args)
        best = max(measured, key=lambda epoch: measured[epoch]['accuracy/top1'])
        evidence.add(
            replace(
                row,
                seconds=round(time.perf_counter() - start),
                best_by='accuracy/top1',
                best_epoch=best,
                metrics=measured[recipe.epochs],
                best=measured[best],
            )
        )
    print(f'{args.record}: {wanted} runs, {wanted - len(missing)} of them from before')


if __name__ == '__main__':
    main()
