"""What a trustworthy comparison needs: turns, spread, memory, bandwidth and provenance."""

from __future__ import annotations

import ctypes
import inspect
import itertools
import json
import math
import platform
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).parents[1]

#: Runs once what is timed, and returns the moments at its start, between its parts and at its end.
Step = Callable[[], tuple[Any, ...]]
#: Round -> seconds of each part.
Samples = dict[int, tuple[float, ...]]


class Stopwatch:
    """The clock of a device: seconds on a CPU, events on a GPU."""

    def __init__(self, device: str) -> None:
        self.on_gpu = device != 'cpu'

    def now(self) -> Any:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, step: Step, calls: int) -> tuple[float, ...]:
        """Return the mean seconds of each part of a step over several calls."""
        calls_moments = [step() for _ in range(calls)]
        if self.on_gpu:
            torch.cuda.synchronize()

        def between(start: Any, end: Any) -> float:
            return start.elapsed_time(end) / 1e3 if self.on_gpu else end - start

        parts = [itertools.starmap(between, zip(m, m[1:])) for m in calls_moments]
        return tuple(sum(times) / calls for times in zip(*parts))

    def calls_for(self, step: Step, least: float) -> int:
        """Warm a step up, and return how many calls of it take `least` seconds."""
        self.seconds(step, 3)  # compiles whatever has to be compiled
        return math.ceil(least / sum(self.seconds(step, 1)))


class StepClock(Stopwatch):
    """The clock of a device; for one thread of a CPU it is that of the process."""

    def now(self) -> Any:
        if self.on_gpu or torch.get_num_threads() > 1:
            return super().now()
        return time.process_time()


def keep_freed_memory() -> None:
    """Stop glibc's malloc from giving memory back to the kernel whenever a tensor is freed.

    Otherwise most of what is measured is page faults, and which loss has them depends on what
    happens to lie above its tensors. PyTorch's own cross entropy takes 2201 instead of 380 us at
    256 x 1,000 in a fresh process, where each tensor is mapped first, and 36 instead of 13 ms at
    256 x 21,841, where the end of the heap is returned in every step.
    """
    trim_threshold, mmap_threshold = -1, -3
    if platform.libc_ver()[0] == 'glibc':
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 2**25)  # the largest value that it accepts: 32 MiB
        libc.mallopt(trim_threshold, 2**31 - 1)


def interleave(
    samplers: dict[str, Callable[[], tuple[float, ...]]], seconds: float, rounds: int, least: int
) -> dict[str, Samples]:
    """Let all samplers take turns, so that other load on the machine affects all alike.

    Args:
        samplers: By name; each returns the seconds of its parts.
        seconds: After so long no new round starts, provided that there were `least`.
        rounds: The largest number of rounds.
        least: The smallest number of rounds. After these, a slow sampler pauses until the others
            have caught up.
    """
    taken: dict[str, Samples] = {name: {} for name in samplers}
    spent = dict.fromkeys(samplers, 0.0)
    order = random.Random(0)
    for number in range(rounds):
        if number >= least and sum(spent.values()) > seconds:
            break
        # In a new order each time: after a large one, the caches are full of its data.
        for name in order.sample(list(samplers), len(samplers)):
            if number >= least and spent[name] > 3 * sum(spent.values()) / len(spent):
                continue
            start = time.perf_counter()
            taken[name][number] = samplers[name]()
            spent[name] += time.perf_counter() - start
    return taken


def summary(
    times: dict[int, float], reference: dict[int, float] | None = None
) -> dict[str, float | int]:
    """Make the columns of a row: the spread over the rounds, and the ratio to a reference.

    Args:
        times: Round -> seconds.
        reference: The same for the reference. Only rounds in which both took part count, because
            the machine may have been busier or idler in the others.
    """
    row: dict[str, float | int] = dict(n=len(times))
    values = list(times.values())
    points = (min(values), *_quartiles(values), max(values))
    for name, seconds in zip(('min', 'q1', 'median', 'q3', 'max'), points):
        row[f'{name}_us'] = seconds * 1e6
    if reference:
        shared = [(times[number], reference[number]) for number in times.keys() & reference.keys()]
        ours, theirs = (list(side) for side in zip(*shared))
        low, _, high = _quartiles([ours / theirs for ours, theirs in shared])
        row.update(
            ratio=_quartiles(ours)[1] / _quartiles(theirs)[1],
            ratio_q1=low,
            ratio_q3=high,
            ratio_of_minima=min(ours) / min(theirs),
        )
    return row


def _quartiles(values: list[float]) -> list[float]:
    points = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    return torch.tensor(values, dtype=torch.float64).quantile(points).tolist()


def peak_memory(step: Step, device: str) -> int:
    """Return the most bytes that a step holds at any one time, beyond what existed before it.

    On a CPU it is the running sum of what PyTorch's allocator hands out and takes back, which its
    profiler records. The resident size of the process would be less exact, since it depends on what
    malloc has kept from before.
    """
    if device != 'cpu':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    options: dict[str, Any] = dict(activities=[ProfilerActivity.CPU], profile_memory=True)
    if 'acc_events' in inspect.signature(profile).parameters:  # newer torch warns without it
        options['acc_events'] = True
    with profile(**options) as recorded:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'trace.json')
        recorded.export_chrome_trace(str(path))
        events = json.loads(path.read_text())['traceEvents']
    changes = sorted(
        ((event['ts'], event['args']['Bytes']) for event in events if event['name'] == '[memory]'),
        key=lambda change: change[0],
    )
    return max(itertools.accumulate((size for _, size in changes), initial=0))


def seconds_per_byte(stopwatch: Stopwatch, device: str, copies: int = 7) -> list[float]:
    """Measure how long it takes to read or write a byte of memory, by copies of 256 MiB."""
    source = torch.ones(2**26, device=device)  # for zeros, the kernel would keep a single page
    target = torch.ones_like(source)

    def step() -> tuple[Any, ...]:
        start = stopwatch.now()
        target.copy_(source)
        return start, stopwatch.now()

    stopwatch.seconds(step, 2)
    return [stopwatch.seconds(step, 1)[0] / (2 * source.nbytes) for _ in range(copies)]


def circumstances(device: str) -> dict[str, Any]:
    """Make the columns that say with which machine, versions and commit a row was measured."""
    return dict(
        device=device,
        machine=torch.cuda.get_device_name() if device != 'cpu' else _cpu_name(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        **{name: _version(name) for name in ('torch', 'mmdet', 'mmpretrain', 'mmdet_ols')},
        commit=_commit(),
        date=time.strftime('%Y-%m-%d', time.gmtime()),
    )


def _cpu_name() -> str:
    information = Path('/proc/cpuinfo')
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return import_module(name).__version__
    except ImportError:
        return 'not installed'


def _commit() -> str:
    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(['git', *arguments], cwd=ROOT, capture_output=True, text=True)
        except OSError:  # there is no git
            return ''
        return done.stdout.strip() if done.returncode == 0 else ''

    # Only files that a timing depends on make it dirty, not the tables that are written from it.
    changed = git('status', '--porcelain', '--', 'mmdet_ols', 'configs', 'benchmarks/*.py')
    commit = git('rev-parse', '--short', 'HEAD') or 'unknown'
    return f'{commit}-dirty' if changed else commit
