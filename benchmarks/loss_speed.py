#!/usr/bin/env python
"""What OLS costs compared with the losses it replaces: time and memory, as ratios in one run.

    python benchmarks/loss_speed.py                   CPU, one thread: seven minutes, 13 GB
    python benchmarks/loss_speed.py --device cuda     a GPU, and larger batches
    python benchmarks/loss_speed.py --whole-step --seconds 300    training steps of networks, too
    python benchmarks/loss_speed.py --from-csv benchmarks/loss_speed*.csv --write-docs    tables

All losses of a size take turns in one process, in another order each time, on the same data: random
logits, of which half have their class right as in the midst of training (the rest by chance), and
soft labels that OLS has learned from such logits, so that each has a peak and a long tail. A loss
that is slow sits turns out; a ratio compares the turns in which both took part. The reference,
`1 =` in the tables, is PyTorch's label smoothing, under sigmoid and in the YOLO head MMDetection's
cross entropy, and in a whole step the hard labels.

One batch is computed again and again, so that what fits into the caches stays there: PyTorch's
losses have nothing but the logits and what they make, OLS its soft labels and sums as well. In a
training the network takes the caches between two losses. `cold caches` does the same: 128 MiB are
written before each step, and the logits read, as they would just have been made.

bfloat16 logits go to each loss as they are, without autocast: PyTorch's own then computes in
bfloat16, OLSLoss in float32. The prediction maps of `yolo_head` are random numbers.

Peak memory is what forward and backward hold at most at a time of PyTorch's memory, the logits'
gradient included, in sizes of the logits: 1 is just that gradient. (The resident size grows by as
much if malloc is told to map each tensor by itself. What the fused form keeps elsewhere, three rows
and some indices, is not in it.) The state has a column of its own.

The floor is the time in which memory could move what every implementation must read and write:
logits, their gradient, the soft labels of the batch's classes, and the sums of those that were
right. Its bandwidth is that of copies of 256 MiB, measured after each size. Batches that fit into
the caches may be faster.
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
#: Fewest and most turns of a candidate, and the shortest that is timed (in seconds, by several
#: calls: the first of them find the caches full of the last candidate's data).
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
    """Every part of every candidate, the roll-overs, and the floor."""
    watch = Stopwatch(device)
    reference = next(iter(group.candidates))
    rows: list[Row] = []

    def add(name: str, part: str, found: Row, **more: Any) -> None:
        against = reference if 'ratio' in found else ''
        row = dict(case=group.case, dtype=group.dtype, candidate=name, part=part, reference=against)
        rows.append({**row, **found, **more})

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
    found = interleave(samplers, seconds, MOST_ROUNDS, LEAST_ROUNDS)
    places = {part: slice(place, place + 1) for place, part in enumerate(group.parts)}
    if len(places) > 1:
        places = {BOTH: slice(None), **places}
    for part, place in places.items():
        against = select(found[reference], place)
        for name, samples in found.items():
            more = memory.get(name, {}) if part == BOTH else {}
            add(name, part, summary(select(samples, place), against), **more)

    if group.logits:
        say('with cold caches')
        evict = cache_eviction(group.logits, device)
        samplers = {
            name: sampler(candidate.step, 3, watch, evict)
            for name, candidate in group.candidates.items()
        }
        found = interleave(samplers, seconds / 2, MOST_ROUNDS, LEAST_ROUNDS)
        against = select(found[reference], slice(None))
        for name, samples in found.items():
            add(name, COLD, summary(select(samples, slice(None)), against))

    say('roll-over')
    roll_overs = {
        name: sampler(candidate.roll_over, 1, watch)
        for name, candidate in group.candidates.items()
        if candidate.roll_over
    }
    for name, samples in interleave(roll_overs, seconds / 4, MOST_ROUNDS, least=2).items():
        add(name, 'roll-over', summary(select(samples, slice(None))))

    if group.bytes_to_move:
        times = [group.bytes_to_move * copy for copy in seconds_per_byte(watch, device)]
        floor, whole = summary(dict(enumerate(times))), rows[0]
        floor['ratio'] = floor['median_us'] / whole['median_us']
        floor['ratio_of_minima'] = floor['min_us'] / whole['min_us']
        add(FLOOR, BOTH, floor)
    return rows


def sampler(
    step: Step, calls: int, watch: Stopwatch, before: Callable[[], object] = lambda: None
) -> Callable[[], tuple[float, ...]]:
    """Time a number of calls, and not what is done before each."""

    def prepared() -> tuple[Any, ...]:
        before()
        return step()

    return lambda: watch.seconds(prepared, calls)


def cache_eviction(logits: list[Tensor], device: str) -> Callable[[], None]:
    """What empties the caches but for the logits, as a network does between two losses."""
    junk = torch.zeros(2**25, device=device)

    def evict() -> None:
        junk.add_(1)
        for tensor in logits:
            tensor.detach().sum()

    return evict


def select(samples: Samples, place: slice) -> dict[int, float]:
    """Seconds of some parts together, by round."""
    return {number: sum(seconds[place]) for number, seconds in samples.items()}


#: A process of its own, since it has imported, compiled and cached nothing yet.
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
    """Seconds to make a loss and train one step with it, where nothing was compiled before."""
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

    forms = ('plain', 'fused', 'compiled') if device == 'cpu' else ('plain', 'compiled')
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
    gc.collect()  # the matrices of 21,841 classes before there are new ones
    torch._dynamo.reset()  # a function that was compiled for eight shapes stays uncompiled after
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
    """Time all cases, and write each one's rows to the CSV as soon as they are there."""
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

            found = [{**row, **made} for row in time_case(case, dtype, options, say)]
            writer.writerows(found)
            file.flush()
            rows += found
            bar.advance(task)
    return rows


# --- Tables ---------------------------------------------------------------------------------------


def tables(rows: list[Row]) -> str:
    """Markdown of the rows, one machine after the other."""
    # As if read from a file: everything is text, and what is missing is ''.
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
    """A table with a line for each candidate and a column for each case; none without rows."""
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
        return '1 = ' * bool(row['ratio']) + f'{microseconds / (size or 1):.3g} {unit}'
    text = f'{float(row["ratio"]):.2f}'
    if row['ratio_q1']:
        text += f' ({float(row["ratio_q1"]):.2f} to {float(row["ratio_q3"]):.2f})'
    return text


def memory_cell(row: Row) -> str:
    text, state = f'{float(row["peak_in_logits"]):.1f}', float(row['state_mib'])
    return text + f', {state:,.1f} MiB' * (state > 0)


def footer(rows: list[Row]) -> str:
    last = rows[-1]
    turns = [int(row['n']) for row in rows if row['candidate'] != FLOOR]
    versions = ', '.join(f'{name} {last[name]}' for name in ('torch', 'mmdet', 'mmpretrain'))
    return (
        f'*{last["machine"]}, {last["threads"]} thread{"s" * (last["threads"] != "1")}; Python '
        f'{last["python"]}, {versions}; commit {last["commit"]}, {last["date"]}. Ratios of medians '
        f'of {min(turns)} to {max(turns)} turns, in brackets the quartiles of the ratios in each '
        'turn.*'
    )


def write_docs(markdown: str, folder: Path = ROOT) -> None:
    """Put all tables into docs/speed.md, and the first one with the last line into README.md."""
    first, *_, last = markdown.strip().split('\n\n')
    write_between_marks(markdown, folder / 'docs/speed.md')
    write_between_marks(f'{first}\n\n{last}', folder / 'README.md')


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
        help='put the tables into docs/speed.md, and the first one into README.md',
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
