#!/usr/bin/env python
"""Compare losses on a GPU as PyTorch starts them, kernel by kernel, and as a captured CUDA graph.

    python benchmarks/graph_speed.py
    python benchmarks/graph_speed.py --sizes 256x1000

The difference is what the CPU needs to start the kernels: a graph is started by one call. A time is
that of a forward and a backward pass, between two events on the GPU, when nothing else runs on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from statistics import quantiles

import torch
from loss_cases import SMOOTHED, Batch, Size, make_batch, ols_forms
from timing import circumstances
from torch import nn
from torch.profiler import ProfilerActivity, profile

SIZES = ('128x100', '4096x1000', '1024x21841')
#: Before a graph is captured, PyTorch and the compiler make what they need in these.
WARM_UP = 5


def losses(num_classes: int) -> dict[str, nn.Module]:
    """Return the losses that compete, on the GPU."""
    return {
        'PyTorch cross_entropy': nn.CrossEntropyLoss(),
        SMOOTHED: nn.CrossEntropyLoss(label_smoothing=0.1),
        **ols_forms('cuda', ["'plain'"], num_classes=num_classes),  # it is what 'auto' takes
    }


def forward_backward(loss: nn.Module, batch: Batch) -> object:
    """What is timed."""
    return torch.autograd.grad(loss(batch.logits, batch.label), batch.logits)


def captured(step: Callable[[], object]) -> Callable[[], None]:
    """A CUDA graph of a step, as a function that replays it."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def microseconds(step: Callable[[], object], turns: int) -> str:
    """The median of some turns, and the quartiles."""
    taken = []
    for turn in range(WARM_UP + turns):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        step()
        end.record()
        torch.cuda.synchronize()
        if turn >= WARM_UP:
            taken.append(1e3 * start.elapsed_time(end))
    low, middle, high = quantiles(taken, n=4, method='inclusive')
    return f'{middle:.0f} ({low:.0f} to {high:.0f})'


def kernels(step: Callable[[], object]) -> int:
    """How many kernels a step starts."""
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        step()
        torch.cuda.synchronize()
    on_gpu = torch.autograd.DeviceType.CUDA
    return sum(event.count for event in seen.key_averages() if event.device_type == on_gpu)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--sizes', nargs='+', default=SIZES, help=f'({" ".join(SIZES)})')
    parser.add_argument('--turns', type=int, default=50, help='how many are timed (50)')
    args = parser.parse_args(words)
    if not torch.cuda.is_available():
        parser.error('needs a GPU that PyTorch sees, but there is none')
    print('| rows x classes | loss | kernels | one by one, µs | as a graph, µs |')
    print('| --- | --- | ---: | ---: | ---: |')
    for text in args.sizes:
        size = Size.parse(text)
        batch = make_batch(size, torch.float32, 'cuda', seed=0)
        for name, loss in losses(size.num_classes).items():
            step = partial(forward_backward, loss, batch)
            for _ in range(WARM_UP):
                step()
            eager, graph = microseconds(step, args.turns), microseconds(captured(step), args.turns)
            print(f'| {text} | {name} | {kernels(step)} | {eager} | {graph} |', flush=True)
    made = circumstances('cuda')
    print(f'n = {args.turns}; {made["machine"]}; torch {made["torch"]}; {made["commit"]}')


if __name__ == '__main__':
    main()
