#!/usr/bin/env python
"""Measure what OLS costs compared with the losses that it replaces: time and memory, as ratios.

    python benchmarks/loss_speed.py                   CPU, one thread: seven minutes, 13 GB
    python benchmarks/loss_speed.py --device cuda     a GPU, and larger batches
    python benchmarks/loss_speed.py --whole-step --seconds 300    training steps of networks, too
    python benchmarks/loss_speed.py --from-csv benchmarks/loss_speed*.csv --write-docs    tables

All losses of a size take turns in one process, in a new order each time, on the same data: random
logits, half of which are classified correctly on purpose, as in the middle of a training (the rest
by chance), and soft labels that OLS has learned from such logits, so that each has a peak and a
long tail. A slow loss pauses for some turns; a ratio compares the turns in which both took part.
The reference, `1 =` in the tables, is PyTorch's label smoothing; for sigmoid scores and in the YOLO
head it is MMDetection's cross entropy, and for whole steps hard labels.

One batch is computed again and again, so what fits into the caches stays there: PyTorch's losses
need only the logits and what they compute from them, while OLS also needs its soft labels and sums.
In a training the network fills the caches between two losses. `cold caches` imitates that: 128 MiB
are written before each step, and the logits are read, since the network has just computed them.

bfloat16 logits go to each loss as they are, without autocast: PyTorch's own loss then computes in
bfloat16, OLSLoss in float32. The prediction maps of `yolo_head` are random numbers.

Peak memory is the most that forward and backward hold of PyTorch's memory at any one time,
including the gradient of the logits. It is given in sizes of the logits: 1 is that gradient only.
(The resident size grows by as much if malloc is told to map each tensor by itself. What the fused
form keeps elsewhere, three rows and some indices, is not included.) The state has its own column.

The floor is the time that memory needs to move what every implementation must read and write:
logits, their gradient, the soft labels of the batch's classes, and the sums of the correctly
classified samples. Its bandwidth is that of copies of 256 MiB, measured after each size. Batches
that fit into the caches may be faster.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from loss_cases import Group, Size, head_group, is_skipped, loss_group, network_group
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from timing import (
    ROOT,
    Samples,
    Step,
    Stopwatch,
    circumstances,
    interleave,
    keep_freed_memory,
    peak_memory,
    seconds_per_byte,
    summary,
)
from torch import Tensor

SIZES = ('128x100', '256x1000', '256x21841', '512x1203+1', '8x10647x20')
GPU_SIZES = ('4096x1000', '1024x21841')
PARTS_OF_TRAINING = ('yolo_head', 'first_call')
WHOLE_STEPS = ('resnet50', 'yolo')
DTYPES = (torch.float32, torch.bfloat16)
#: Fewest and most turns of a candidate, and the least seconds of a turn. A turn has several calls,
#: because the first of them find the caches full of the previous candidate's data.
LEAST_ROUNDS, MOST_ROUNDS, LEAST_SECONDS = 5, 100, 20e-3

BOTH = 'forward + backward'
COLD = 'forward + backward, cold caches'
FLOOR = 'floor: memory traffic'
COLUMNS = (
    'case', 'dtype', 'candidate', 'part', 'n', 'median_us', 'q1_us', 'q3_us', 'min_us', 'max_us',
    'reference', 'ratio', 'ratio_q1', 'ratio_q3', 'ratio_of_minima',
    'peak_mib', 'peak_in_logits', 'state_mib',
    'device', 'machine', 'threads', 'python', 'torch', 'mmdet', 'mmpretrain', 'mmdet_ols',
    'commit', 'date',
)  # fmt: skip
MIB = 2**20

Row = dict[str, Any]


# --- Timing ---------------------------------------------------------------------------------------


def time_group(group: Group, device: str, seconds: float, say: Callable[[str], None]) -> list[Row]:
    """Time every part of every candidate, the roll-overs and the floor."""
    watch = Stopwatch(device)
    rows = time_steps(group, device, watch, seconds, say)
    if group.logits:
        say('with cold caches')
        rows += time_with_cold_caches(group, device, watch, seconds / 2)
    say('roll-over')
    rows += time_roll_overs(group, watch, seconds / 4)
    if group.bytes_to_move:
        times = [group.bytes_to_move * copy for copy in seconds_per_byte(watch, device)]
        floor, whole = summary(dict(enumerate(times))), rows[0]
        floor['ratio'] = floor['median_us'] / whole['median_us']
        floor['ratio_of_minima'] = floor['min_us'] / whole['min_us']
        rows.append(row_of(group, FLOOR, BOTH, floor))
    return rows


def row_of(group: Group, candidate: str, part: str, times: Row) -> Row:
    """Return a row of the table: what was timed, and how long it took."""
    reference = next(iter(group.candidates)) if 'ratio' in times else ''
    what = dict(case=group.case, dtype=group.dtype, candidate=candidate, part=part)
    return {**what, 'reference': reference, **times}


def time_steps(
    group: Group, device: str, watch: Stopwatch, seconds: float, say: Callable[[str], None]
) -> list[Row]:
    """Time the parts of a step in turns, after the memory of each candidate was measured."""
    samplers, memory = {}, {}
    for name, candidate in group.candidates.items():
        say(f'warming up {name}')
        calls = watch.calls_for(candidate.step, LEAST_SECONDS)
        samplers[name] = sampler(candidate.step, calls, watch)
        if group.logits:
            peak = peak_memory(candidate.step, device)
            memory[name] = dict(
                peak_mib=peak / MIB,
                peak_in_logits=peak / sum(tensor.nbytes for tensor in group.logits),
                state_mib=candidate.state_bytes / MIB,
            )
    say('in turns')
    taken = interleave(samplers, seconds, MOST_ROUNDS, LEAST_ROUNDS)
    places = {part: slice(place, place + 1) for place, part in enumerate(group.parts)}
    if len(places) > 1:
        places = {BOTH: slice(None), **places}
    rows = []
    for part, place in places.items():
        against = select(taken[next(iter(taken))], place)
        for name, samples in taken.items():
            more = memory.get(name, {}) if part == BOTH else {}
            rows.append(
                {**row_of(group, name, part, summary(select(samples, place), against)), **more}
            )
    return rows


def time_with_cold_caches(group: Group, device: str, watch: Stopwatch, seconds: float) -> list[Row]:
    """Time whole steps, before each of which the caches are filled with something else."""
    evict = cache_eviction(group.logits, device)
    samplers = {
        name: sampler(candidate.step, 3, watch, evict)
        for name, candidate in group.candidates.items()
    }
    taken = interleave(samplers, seconds, MOST_ROUNDS, LEAST_ROUNDS)
    against = select(taken[next(iter(taken))], slice(None))
    return [
        row_of(group, name, COLD, summary(select(samples, slice(None)), against))
        for name, samples in taken.items()
    ]


def time_roll_overs(group: Group, watch: Stopwatch, seconds: float) -> list[Row]:
    """Time the roll-over of the candidates that have one."""
    samplers = {
        name: sampler(candidate.roll_over, 1, watch)
        for name, candidate in group.candidates.items()
        if candidate.roll_over
    }
    return [
        row_of(group, name, 'roll-over', summary(select(samples, slice(None))))
        for name, samples in interleave(samplers, seconds, MOST_ROUNDS, least=2).items()
    ]


def sampler(
    step: Step, calls: int, watch: Stopwatch, before: Callable[[], object] = lambda: None
) -> Callable[[], tuple[float, ...]]:
    """Return a function that times some calls, without what is done before each of them."""

    def prepared() -> tuple[Any, ...]:
        before()
        return step()

    return lambda: watch.seconds(prepared, calls)


def cache_eviction(logits: list[Tensor], device: str) -> Callable[[], None]:
    """Return a function that evicts all but the logits from the caches, as a network does."""
    junk = torch.zeros(2**25, device=device)

    def evict() -> None:
        junk.add_(1)
        for tensor in logits:
            tensor.detach().sum()

    return evict


def select(samples: Samples, place: slice) -> dict[int, float]:
    """Add up the seconds of some parts, by round."""
    return {number: sum(seconds[place]) for number, seconds in samples.items()}


#: It runs in a process of its own, which has imported, compiled and cached nothing yet.
FIRST_CALL = """
import sys, time, torch
from mmdet_ols import OLSLoss
implementation, device, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
logits = torch.randn(256, 1000, device=device, requires_grad=True)
label = torch.randint(1000, (256,), device=device)
start = time.perf_counter()
criterion = OLSLoss(num_classes=1000, implementation=implementation).to(device)
criterion(logits, label).backward()
logits.grad.sum().item()  # waits for a GPU
print(time.perf_counter() - start)
"""


def first_call(implementation: str, device: str) -> tuple[float, ...]:
    """Time making a loss and training one step with it, where nothing was compiled before."""
    with tempfile.TemporaryDirectory() as empty:
        caches = ('XDG_CACHE_HOME', 'TORCHINDUCTOR_CACHE_DIR', 'TRITON_CACHE_DIR')
        arguments = (implementation, device, str(torch.get_num_threads()))
        done = subprocess.run(
            [sys.executable, '-c', FIRST_CALL, *arguments],
            cwd=ROOT,
            env={**os.environ, **{name: str(Path(empty, name)) for name in caches}},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise SystemExit(f'error: a first step with {implementation!r} failed:\n{done.stderr}')
    return (float(done.stdout.split()[-1]),)


def time_first_calls(device: str, skip: list[str], say: Callable[[str], None]) -> list[Row]:
    def sample_of(implementation: str) -> Callable[[], tuple[float, ...]]:
        def sample() -> tuple[float, ...]:
            say(implementation)
            return first_call(implementation, device)

        return sample

    forms = ('plain', 'fused', 'compiled')
    samplers = {
        f"OLSLoss(implementation='{form}')": sample_of(form)
        for form in forms
        if not is_skipped(form, skip)
    }
    return [
        dict(case='256x1000', dtype='float32', candidate=name, part='first call')
        | summary(select(samples, slice(None)))
        for name, samples in interleave(samplers, seconds=20, rounds=3, least=1).items()
    ]


def time_case(
    case: str, dtype: torch.dtype, options: argparse.Namespace, say: Callable[[str], None]
) -> list[Row]:
    device, skip = options.device, options.skip
    gc.collect()  # frees the matrices of 21,841 classes before there are new ones
    torch._dynamo.reset()  # a function compiled for eight shapes is not compiled for further ones
    say('making data')
    try:
        if case == 'first_call':
            return time_first_calls(device, skip, say)
        if case == 'yolo_head':
            group = head_group(device, skip)
        elif case in WHOLE_STEPS:
            group = network_group(case, device, skip)
        else:
            group = loss_group(case, dtype, device, skip)
    except ImportError as error:
        print(f'{case} was left out: {error}', file=sys.stderr)
        return []
    for note in group.notes:
        print(f'{case}: {note}', file=sys.stderr)
    return time_group(group, device, options.seconds, say)


def measure(options: argparse.Namespace) -> list[Row]:
    """Time all cases, and write the rows of each to the CSV as soon as they are known."""
    others = (*PARTS_OF_TRAINING, *WHOLE_STEPS)
    cases = [
        (case, dtype)
        for case in dict.fromkeys(options.sizes)
        for dtype in (DTYPES[:1] if case in others else DTYPES)
    ]
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    made = circumstances(options.device)
    rows: list[Row] = []
    columns = TextColumn('{task.description}'), BarColumn(), TimeElapsedColumn()
    # Only the tables go to the standard output.
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    with options.out.open('w', newline='') as file, bar:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        task = bar.add_task('', total=len(cases))
        for case, dtype in cases:

            def say(what: str, head: str = f'{case} {dtype}') -> None:
                bar.update(task, description=f'{head}: {what}')

            timed = [{**row, **made} for row in time_case(case, dtype, options, say)]
            writer.writerows(timed)
            file.flush()
            rows += timed
            bar.advance(task)
    return rows


# --- Tables ---------------------------------------------------------------------------------------


def tables(rows: list[Row]) -> str:
    """Turn the rows into Markdown tables, one machine after the other."""
    # As if read from a file: everything is text, and missing values are ''.
    rows = [{column: str(row.get(column, '')) for column in COLUMNS} for row in rows]
    lines: list[str] = []
    for made_on in dict.fromkeys((row['machine'], row['threads']) for row in rows):
        here = [row for row in rows if (row['machine'], row['threads']) == made_on]
        for dtype in dict.fromkeys(row['dtype'] for row in here):
            both = [row for row in here if row['part'] == BOTH and row['dtype'] == dtype]
            lines += pivot(both, f'{dtype}: {BOTH}, times the reference', ratio_cell)
        peaks = [row for row in here if row['peak_mib'] and row['dtype'] == 'float32']
        lines += pivot(peaks, 'float32: peak memory, times the logits, and state', memory_cell)
        cold = [row for row in here if row['part'] == COLD and row['dtype'] == 'float32']
        lines += pivot(cold, f'float32: {COLD}, times the reference', ratio_cell)
        for part, title in (
            ('roll-over', 'roll-over, once an epoch'),
            ('first call', 'first call, with empty caches'),
            ('training step', 'whole training step, times that with hard labels'),
        ):
            lines += pivot([row for row in here if row['part'] == part], title, ratio_cell)
        lines += [footer(here), '']
    return '\n'.join(lines)


def pivot(rows: list[Row], title: str, cell: Callable[[Row], str]) -> list[str]:
    """Make a table with a line for each candidate and a column for each case."""
    if not rows:
        return []
    cases = list(dict.fromkeys(row['case'] for row in rows))
    names = sorted(dict.fromkeys(row['candidate'] for row in rows), key=lambda name: name == FLOOR)
    cells = {(row['candidate'], row['case']): cell(row) for row in rows}
    body = [[name, *(cells.get((name, case), '') for case in cases)] for name in names]
    lines = [[title, *cases], ['---'] + ['---:'] * len(cases), *body]
    return [f'| {" | ".join(line)} |' for line in lines] + ['']


def ratio_cell(row: Row) -> str:
    if not row['ratio'] or row['candidate'] == row['reference']:
        microseconds = float(row['median_us'])
        unit, size = next(
            (unit, size)
            for unit, size in (('s', 1e6), ('ms', 1e3), ('µs', 0))
            if microseconds >= size
        )
        reference = '1 = ' if row['ratio'] else ''
        return f'{reference}{microseconds / (size or 1):.3g} {unit}'
    text = f'{float(row["ratio"]):.2f}'
    if row['ratio_q1']:
        text += f' ({float(row["ratio_q1"]):.2f} to {float(row["ratio_q3"]):.2f})'
    return text


def memory_cell(row: Row) -> str:
    text, state = f'{float(row["peak_in_logits"]):.1f}', float(row['state_mib'])
    return f'{text}, {state:,.1f} MiB' if state > 0 else text


def footer(rows: list[Row]) -> str:
    last = rows[-1]
    turns = [int(row['n']) for row in rows if row['candidate'] != FLOOR]
    versions = ', '.join(f'{name} {last[name]}' for name in ('torch', 'mmdet', 'mmpretrain'))
    threads = '1 thread' if last['threads'] == '1' else f'{last["threads"]} threads'
    return (
        f'*{last["machine"]}, {threads}; Python '
        f'{last["python"]}, {versions}; commit {last["commit"]}, {last["date"]}. Ratios of medians '
        f'of {min(turns)} to {max(turns)} turns, in brackets the quartiles of the ratios in each '
        'turn.*'
    )


def write_docs(markdown: str, folder: Path = ROOT) -> None:
    """Put the tables into docs/speed.md."""
    write_between_marks(markdown, folder / 'docs/speed.md')


def write_between_marks(markdown: str, path: Path) -> None:
    start, end = '<!-- loss_speed -->', '<!-- /loss_speed -->'
    before, found_start, rest = path.read_text().partition(start)
    _, found_end, after = rest.partition(end)
    if not (found_start and found_end):
        raise SystemExit(f'error: {path} has no lines {start} and {end}; put them where it belongs')
    path.write_text(f'{before}{start}\n{markdown.strip()}\n{end}{after}')


# --- The command ----------------------------------------------------------------------------------


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--sizes',
        nargs='+',
        metavar='SIZE',
        help='ROWSxCLASSES; ROWSxCLASSES+1 with a background column; IMAGESxANCHORSxCLASSES with '
        f'sigmoid scores; yolo_head; first_call ({" ".join((*SIZES, *PARTS_OF_TRAINING))}; on a '
        f'GPU also {" ".join(GPU_SIZES)})',
    )
    parser.add_argument('--whole-step', action='store_true', help=f'also {" ".join(WHOLE_STEPS)}')
    parser.add_argument('--threads', type=int, default=1, help='of the CPU (1)')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu', help='(cpu)')
    parser.add_argument(
        '--seconds', type=float, default=6.0, help='in which the losses of a size take turns (6)'
    )
    parser.add_argument(
        '--skip', nargs='+', default=[], metavar='WORD', help='leave out losses with it in the name'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=ROOT / 'benchmarks/loss_speed.csv',
        help='(benchmarks/loss_speed.csv)',
    )
    parser.add_argument(
        '--from-csv', nargs='+', type=Path, metavar='CSV', help='time nothing, but make the tables'
    )
    parser.add_argument(
        '--write-docs',
        action='store_true',
        help='put the tables into docs/speed.md',
    )
    options = parser.parse_args(arguments)
    if options.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda needs a GPU that PyTorch sees, but there is none: leave it out')
    if not options.sizes:
        more = GPU_SIZES if options.device == 'cuda' else ()
        options.sizes = [*SIZES, *more, *PARTS_OF_TRAINING]
    options.sizes += WHOLE_STEPS if options.whole_step else ()
    for size in options.sizes:
        if size not in (*PARTS_OF_TRAINING, *WHOLE_STEPS):
            try:
                Size.parse(size)
            except ValueError as error:
                parser.error(str(error))
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    rows: list[Row] = []
    for path in options.from_csv or ():
        with path.open(newline='') as file:
            rows += csv.DictReader(file)
    markdown = tables(rows if options.from_csv else measure(options))
    print(markdown)
    if options.write_docs:
        write_docs(markdown)


if __name__ == '__main__':
    main()
