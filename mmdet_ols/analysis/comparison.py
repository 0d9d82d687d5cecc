"""Comparing trainings that differ in the loss alone: are they comparable, and what do they say?"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmdet_ols.analysis.run_folder import Run, training_folders

#: Stands for a config entry that is not there.
ABSENT = '(absent)'
#: Config entries beside the Runner's own arguments that change what a training does.
MORE_KEYS = (
    'activation_checkpointing', 'channels_last', 'compile', 'efficient_conv_bn_eval',
    'find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'strategy', 'sync_bn',
    'tta_model', 'tta_pipeline',
)  # fmt: skip
#: What names a run or says where it goes.
NAMES = ('cfg', 'experiment_name', 'launcher', 'resume', 'work_dir')


# --- Which configs are comparable -------------------------------------------------------------


def flat_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Everything in a config that decides what its training does, under dotted keys.

    Helper variables of the config file, which no one reads after it is parsed, are left out, and
    so are its names and places. Lists and tuples are alike: MMEngine's dumps mix them.
    """
    from inspect import signature

    from mmengine.runner import Runner

    used = {*signature(Runner.__init__).parameters, *MORE_KEYS} - {'self', *NAMES}
    flat: dict[str, Any] = {}

    def walk(key: str, node: Any) -> None:
        if isinstance(node, Mapping) and node:
            for name, child in node.items():
                walk(f'{key}.{name}', child)
        elif isinstance(node, (list, tuple)) and node:
            for index, child in enumerate(node):
                walk(f'{key}.{index}', child)
        elif callable(node):
            flat[key] = f'{node.__module__}.{node.__name__}'
        else:
            flat[key] = [] if node == () else node

    for key in sorted(used & set(cfg)):
        node = cfg[key]
        if key == 'custom_hooks':  # where our hook stands must not move the others' numbers
            node = sorted(node or [], key=lambda hook: 'OLSHook' in str(hook.get('type')))
        if node not in (None, {}, []):
            walk(key, node)
    return flat


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys of two flat configs whose values differ, with both values."""
    return {
        key: (a.get(key, ABSENT), b.get(key, ABSENT))
        for key in sorted({*a, *b})
        if a.get(key, ABSENT) != b.get(key, ABSENT)
    }


def may_differ(key: str, allowed: Sequence[str] = ()) -> bool:
    """Whether methods may differ in a key: losses and label smoothing may, and what is `allowed`.

    `allowed` names keys, each with everything below it.
    """
    if _is_below(key, allowed):
        return True
    first, *rest = key.split('.')
    return first == 'model' and any(
        'loss' in part or part == 'one_hot_smoother' or part.startswith('label_smooth')
        for part in rest
    )


def _is_below(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f'{name}.') for name in names)


def _ols_hooks(flat: Mapping[str, Any]) -> list[str]:
    """The keys of the hooks that only serve the loss."""
    return [
        key[: -len('.type')]
        for key, kind in flat.items()
        if re.fullmatch(r'(default_hooks|custom_hooks)\.\w+\.type', key)
        and str(kind).rpartition('.')[2] == 'OLSHook'
    ]


def check_comparable(
    settings: Mapping[str, Mapping[str, Any]], allowed: Sequence[str] = ()
) -> dict[str, dict[str, tuple[Any, Any]]]:
    """Compare the settings of every method with those of the first one.

    Args:
        settings: As `flat_settings` gives them, by the names of the methods.
        allowed: Keys in which they may differ on purpose.

    Returns:
        For each but the first, in what it differs: dotted key, the first's value, its own.

    Raises:
        ValueError: They differ in more than the loss: schedule, data, model and so on; or no
            method has an allowed key.
    """
    there = {key for flat in settings.values() for key in flat}
    for name in allowed:
        if not any(_is_below(key, [name]) for key in there):
            # Inner keys as well, as in model.backbone.
            known = {'.'.join(key.split('.')[: n + 1]) for key in there for n in range(9)}
            near = ', '.join(difflib.get_close_matches(name, sorted(known))) or 'nothing'
            raise ValueError(
                f'--allow must name config entries that decide what a training does, but no method '
                f'has {name!r}; similar are: {near}.'
            )
    first, *others = settings
    found = {name: differences(settings[first], settings[name]) for name in others}
    for name, keys in found.items():
        fine = [*allowed, *_ols_hooks(settings[first]), *_ols_hooks(settings[name])]
        wrong = {key: values for key, values in keys.items() if not may_differ(key, fine)}
        if wrong:
            raise ValueError(
                f'{name} cannot be compared with {first}, since they differ in more than the loss:'
                f'\n{describe(wrong, first, name)}\nMake these equal (--cfg-options changes all '
                'configs alike), or name the keys that differ on purpose with --allow.'
            )
    return found


def check_same_config(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Make sure that what lies in a work directory was made with these settings.

    Args:
        folder: A work directory; all starts of its training count.
        settings: As `flat_settings` gives them.

    Raises:
        ValueError: It was made with others; the message says what differs.
    """
    from mmengine.config import Config

    for start in training_folders(folder):
        dumped = start / 'vis_data' / 'config.py'
        if not dumped.is_file():
            continue
        made_with = Config.fromfile(dumped, import_custom_modules=False)
        # Resuming makes MMEngine forget what a training once started from.
        forgotten = ['load_from'] * bool(made_with.get('resume'))
        found = differences(flat_settings(made_with), settings)
        wrong = {key: values for key, values in found.items() if key not in forgotten}
        if wrong:
            raise ValueError(
                f'The run in {folder} was made with another config:\n'
                f'{describe(wrong, "made with", "asked for")}\n'
                f'Ask for what it was made with, name another --work-dir, or remove {folder}.'
            )


def describe(found: Mapping[str, tuple[Any, Any]], first: str, second: str, top: int = 8) -> str:
    """Differences as lines of text."""
    lines = [
        f'  {key}: {_short(a)} ({first}), {_short(b)} ({second})'
        for key, (a, b) in list(found.items())[:top]
    ]
    return '\n'.join(lines + [f'  and {len(found) - top} more'] * (len(found) > top))


def _short(value: Any, length: int = 60) -> str:
    text = value if value is ABSENT else repr(value)
    return text if len(text) <= length else text[: length - 3] + '...'


# --- Metrics --------------------------------------------------------------------------------------


class Metric(NamedTuple):
    """How a logged value is shown: `offset` + `scale` * value, in `unit`."""

    key: str
    title: str
    lower_is_better: bool
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ''

    def shown(self, value: float) -> float:
        return self.offset + self.scale * value

    @property
    def label(self) -> str:
        return f'{self.title}{f" ({self.unit})" * bool(self.unit)}'


#: Detection metrics of these groups are logged as fractions, those of MMPretrain in per cent.
FRACTIONS = ('pascal_voc', 'coco', 'lvis', 'openimages', 'cityscapes')


def metric_of(key: str) -> Metric:
    """How the metric that the hosts log under this key is shown, and which way is better.

    Accuracies of classification are shown as errors, as the paper does; all shares in per cent.
    """
    group, _, name = key.rpartition('/')
    accuracy = re.fullmatch(r'top(\d+)(_thr.*)?', name)
    if group == 'accuracy' and accuracy:
        title = f'top-{accuracy[1]} error{accuracy[2] or ""}'
        return Metric(key, title, True, scale=-1, offset=100, unit='%')
    # Only whole words: 'mislabelled' or 'ErrorBars' say nothing about the direction.
    words = re.split(r'[\W_]+', name.lower())
    lower = not {'error', 'err', 'loss', 'ece', 'nll', 'kl', 'mae', 'mse', 'rmse'}.isdisjoint(words)
    fraction = group.split('/')[0] in FRACTIONS
    return Metric(key, name, lower, scale=100 if fraction else 1, unit='%' if fraction else '')


def class_of_key(key: str) -> str | None:
    """The class whose AP a metric is, or None."""
    found = re.fullmatch(r'pascal_voc/AP/(.+)|coco/(.+)_precision', key)
    return (found[1] or found[2]) if found else None


def headline_metrics(keys: Iterable[str], first: str | None = None) -> list[Metric]:
    """The metrics that the table shows, the most important one first.

    Args:
        keys: Everything that was logged.
        first: The key to put first; the hosts' own main metrics otherwise.
    """
    keys = [key for key in dict.fromkeys(keys) if class_of_key(key) is None]
    main = r'accuracy/top\d+|.*/mAP|.*/mAP_11\w*|.*/(bbox|segm)_mAP(_50|_75)?'
    chosen = [key for key in keys if re.fullmatch(main, key)] or keys
    if first is not None:
        chosen = [first, *(key for key in chosen if key != first)]
    return [metric_of(key) for key in chosen]


# --- Statistics -----------------------------------------------------------------------------------


class Summary(NamedTuple):
    """Mean, sample standard deviation and interval of `n` values; NaN where n is too small."""

    mean: float
    sd: float
    n: int
    low: float
    high: float


def summarise(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """Mean and sample standard deviation, with Student's t interval of the mean.

    Given differences of runs with the same seed, the interval is that of the paired test.
    """
    from scipy.stats import t

    n = len(values)
    if n == 0:
        return Summary(np.nan, np.nan, 0, np.nan, np.nan)
    mean = float(np.mean(values))
    if n == 1:
        return Summary(mean, np.nan, 1, np.nan, np.nan)
    sd = float(np.std(values, ddof=1))
    half = float(t.ppf(0.5 + confidence / 2, n - 1)) * sd / n**0.5
    return Summary(mean, sd, n, mean - half, mean + half)


# --- The comparison -------------------------------------------------------------------------------


@dataclass
class Comparison:
    """The runs of several methods (configs) with several seeds.

    Args:
        runs: By name and seed; the first name is what the others are compared with.
        paper: `paper_result` of the configs that have one, by name.
        differs: As `check_comparable` gives it.
        failed: Why a run is not in the tables.
        primary: Key of the metric to put first.
        tta: Whether the runs were tested with test-time augmentation.
        made: What each start of a run recorded: machine, versions and so on.
    """

    runs: dict[tuple[str, int], Run]
    paper: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    differs: dict[str, dict[str, tuple[Any, Any]]] = field(default_factory=dict)
    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    primary: str | None = None
    tta: bool = False
    made: dict[tuple[str, int], list[dict[str, str]]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.runs))

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(seed for _, seed in self.runs))

    @property
    def keys(self) -> list[str]:
        """Every metric that a finished run has."""
        return list(dict.fromkeys(key for run in self.runs.values() for key in run.final or {}))

    @property
    def metrics(self) -> list[Metric]:
        first = self.primary if self.primary in self.keys else None
        if first is None:  # the paper's own, where the configs are the paper's
            named = [paper['metric'] for paper in self.paper.values()]
            first = next((key for key in named if key in self.keys), None)
        return headline_metrics(self.keys, first)

    def values(self, name: str, metric: Metric) -> dict[int, float]:
        """The final values of a method as they are shown, by seed."""
        return {
            seed: metric.shown(run.final[metric.key])
            for (of, seed), run in self.runs.items()
            if of == name and run.final and metric.key in run.final
        }

    def difference(self, name: str, metric: Metric) -> Summary:
        """To the first method, over the seeds that both have."""
        first, own = self.values(self.names[0], metric), self.values(name, metric)
        return summarise([own[seed] - first[seed] for seed in own if seed in first])

    def curve(self, name: str, metric: Metric) -> dict[int, Summary]:
        """The metric over the epochs of a method's finished runs."""
        found: dict[int, list[float]] = {}
        for (of, _), run in self.runs.items():
            if of == name and run.final:
                for epoch, values in run.validations.items():
                    if metric.key in values:
                        found.setdefault(epoch, []).append(metric.shown(values[metric.key]))
        return {epoch: summarise(values) for epoch, values in sorted(found.items())}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the main table: one row a metric and method."""
        first = self.names[0]
        header = [
            'metric', 'config', 'mean', 'sd', 'n', f'difference to {first}', '95 % interval',
            'time a run',
        ]  # fmt: skip
        if self.paper:
            header.append('paper')
        rows = []
        for metric in self.metrics:
            better = 'lower is better' if metric.lower_is_better else 'higher is better'
            for name in self.names:
                own = summarise(list(self.values(name, metric).values()))
                diff = self.difference(name, metric)
                seconds = [r.seconds for (of, _), r in self.runs.items() if of == name and r.final]
                row = [f'{metric.label}, {better}', name]
                row += [_number(own.mean), _number(own.sd), str(own.n)]
                row += (
                    ['', ''] if name == first else [_number(diff.mean, '+'), _interval(diff, own.n)]
                )
                row.append(duration(summarise(seconds).mean))
                rows.append(row + [self._paper_cell(name, metric)] * bool(self.paper))
        return header, rows

    def class_table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the AP of every class, in per cent; no rows where none is logged."""
        header = ['AP (%)', *self.names]
        rows = []
        for key in self.keys:
            name_of_class = class_of_key(key)
            if name_of_class is not None:
                metric = metric_of(key)
                cells = [summarise(list(self.values(name, metric).values())) for name in self.names]
                rows.append(
                    [name_of_class, *(f'{_number(c.mean)} ± {_number(c.sd)}' for c in cells)]
                )
        return header, rows

    def _paper_cell(self, name: str, metric: Metric) -> str:
        paper = self.paper.get(name, {})
        if paper.get('metric') not in (metric.key, metric.title):
            return ''
        # In per cent already; an accuracy is shown as an error.
        value = paper['value']
        value = 100 - value if metric.offset and paper['metric'] == metric.key else value
        return f'{value:.2f} (Table {paper["table"]})' if 'table' in paper else f'{value:.2f}'

    def notes(self) -> list[str]:
        """What a reader of the tables must know."""
        n = [f'{name} seed {seed}' for (name, seed), run in self.runs.items() if not run.final]
        lines = [
            'The last epoch counts, not the best one. sd is the sample standard deviation over the '
            "seeds; the interval is Student's t for the paired differences (same seed) to "
            f'{self.names[0]}.'
        ]
        if not self.tta and any(self._paper_cell(a, m) for a in self.names for m in self.metrics):
            lines.append('The paper tests detectors at several scales (--tta), these runs at one.')
        missing = [text for text in n if text not in {f'{a} seed {b}' for a, b in self.failed}]
        if missing:
            lines.append(f'Not finished yet, so not in the tables: {", ".join(missing)}.')
        if self.primary is not None and self.primary not in self.keys:
            lines.append(f'No run logged {self.primary}, only {", ".join(self.keys)}.')
        for (name, seed), why in self.failed.items():
            lines.append(f'FAILED, so not in the tables: {name} seed {seed}: {why.splitlines()[0]}')
        return lines

    def recorded(self) -> list[list[str]]:
        """Name and value of what the finished runs recorded; whose it is, where they differ."""
        shown = [key for key, run in self.runs.items() if run.final]
        found: dict[str, dict[str, list[str]]] = {}  # fact, value, runs
        for name, seed in shown:
            starts = self.made.get((name, seed)) or [{'made': 'not recorded'}]
            for fact, value in dict.fromkeys(item for start in starts for item in start.items()):
                found.setdefault(fact, {}).setdefault(value, []).append(f'{name} seed {seed}')
        return [
            [fact, value if len(of) == len(shown) else f'{value} ({", ".join(of)})']
            for fact, values in found.items()
            for value, of in values.items()
        ]


def _number(value: float, sign: str = '') -> str:
    return '–' if np.isnan(value) else f'{value:{sign}.2f}'


def _interval(diff: Summary, n: int) -> str:
    if np.isnan(diff.low):
        return '–'
    pairs = f' ({diff.n} pairs)' * (diff.n != n)
    return f'{diff.low:+.2f} to {diff.high:+.2f}{pairs}'


def duration(seconds: float) -> str:
    """As in '1 h 02 min', '3 min 20 s' or '12 s'."""
    if np.isnan(seconds):
        return '–'
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f'{minutes // 60} h {minutes % 60:02d} min'
    return f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'


# --- What is written ------------------------------------------------------------------------------


def check_extras() -> None:
    """Make sure that a comparison can be written.

    Raises:
        ImportError: scipy or matplotlib is missing.
    """
    try:
        import matplotlib.figure  # noqa: F401
        import scipy.stats  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"Comparing needs scipy and matplotlib ({error}): pip install 'mmdet_ols[plot]'."
        ) from error


def write_comparison(comparison: Comparison, folder: str | Path, how: Mapping[str, str]) -> None:
    """Write `comparison.md`, `comparison.csv` (one row a run) and `comparison.png` into a folder.

    Args:
        comparison: With one finished run at least.
        folder: Made if absent.
        how: What holds for all runs beside what they recorded, for the Markdown.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'comparison.md').write_text(to_markdown(comparison, how), encoding='utf-8')
    _write_csv(comparison, folder / 'comparison.csv')
    draw_comparison(comparison, folder / 'comparison.png')


def to_markdown(comparison: Comparison, how: Mapping[str, str]) -> str:
    """The tables, what differs, and how they were made."""
    parts = [f'# {" / ".join(comparison.names)}', _markdown_table(*comparison.table())]
    parts += comparison.notes()
    for name, found in comparison.differs.items():
        entries = '; '.join(f'`{k}`: {_short(a)} → {_short(b)}' for k, (a, b) in found.items())
        parts.append(
            f'{name} differs from {comparison.names[0]} in {entries}.'
            if found
            else f'{name} does not differ from {comparison.names[0]}.'
        )
    header, rows = comparison.class_table()
    if rows:
        parts += ['## Classes', _markdown_table(header, rows)]
    facts = [*how.items(), *comparison.recorded()]
    parts += ['![](comparison.png)', '## How', _markdown_table(['', ''], facts)]
    return '\n\n'.join(parts) + '\n'


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    cells = [[cell.replace('|', '\\|') for cell in line] for line in lines]
    return '\n'.join(f'| {" | ".join(line)} |' for line in cells)


def _write_csv(comparison: Comparison, path: Path) -> None:
    """One row a run; metrics under the names and in the units that they were logged with."""
    best_of = comparison.metrics[0] if comparison.metrics else None
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        best = [f'best {best_of.key}', 'best at'] if best_of else []
        writer.writerow(['config', 'seed', 'state', 'done', 'seconds', *comparison.keys, *best])
        for (name, seed), run in comparison.runs.items():
            failed = (name, seed) in comparison.failed
            state = 'finished' if run.final else 'failed' if failed else 'unfinished'
            row = [name, seed, state, f'{run.done:g}', f'{run.seconds:.0f}']
            row += [(run.final or {}).get(key, '') for key in comparison.keys]
            if best_of:
                # An accuracy is better higher, though the error it is shown as is not.
                lower = best_of.lower_is_better and best_of.scale > 0
                row += list(run.best(best_of.key, lower) or ('', ''))[::-1]
            writer.writerow(row)


def draw_comparison(comparison: Comparison, path: str | Path) -> None:
    """Draw every run, the means with their intervals, and the metric over the epochs."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = comparison.metrics
    if not metrics:
        return
    metric, names = metrics[0], comparison.names
    colors = colormaps['tab10'](range(10))
    figure = Figure(figsize=(11, 4.5), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)  # no pyplot: nothing global, no display needed
    left, right = figure.subplots(1, 2)
    by_name = [comparison.values(name, metric) for name in names]
    for seed in comparison.seeds:  # the same seed in every method: what the paired interval is of
        points = [(x, values[seed]) for x, values in enumerate(by_name) if seed in values]
        left.plot(*zip(*points), color='0.8', linewidth=1, zorder=1)
    for x, (name, values) in enumerate(zip(names, by_name)):
        color, own = colors[x % len(colors)], summarise(list(values.values()))
        left.scatter([x] * len(values), list(values.values()), s=28, color=color, alpha=0.6)
        if own.n:
            half = own.high - own.mean if own.n > 1 else 0
            left.errorbar(
                x + 0.15, own.mean, yerr=half, fmt='D', color=color, capsize=4, markersize=6
            )
        paper = comparison._paper_cell(name, metric).split()
        if paper:
            left.plot(
                x - 0.15, float(paper[0]), '*', color=color, markersize=13, markeredgecolor='black'
            )
        curve = comparison.curve(name, metric)
        means = [point.mean for point in curve.values()]
        sds = np.nan_to_num([point.sd for point in curve.values()])
        right.plot(list(curve), means, color=color, marker='.', label=name)
        right.fill_between(
            list(curve), np.subtract(means, sds), np.add(means, sds), color=color, alpha=0.15
        )
    star = '; star: the paper' * any(comparison._paper_cell(name, metric) for name in names)
    left.set_xticks(range(len(names)), names, rotation=20 * (len(names) > 4))
    left.set_xlim(-0.5, len(names) - 0.5)
    left.set_ylabel(metric.label)
    left.set_title(f'last epoch: each seed, mean and its 95 % interval{star}', fontsize=10)
    right.xaxis.get_major_locator().set_params(integer=True)
    right.set_xlabel('epoch')
    right.set_ylabel(metric.label)
    right.set_title('validation: mean ± standard deviation', fontsize=10)
    right.legend(frameon=False)
    figure.savefig(path)
