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

from mmdet_ols.experiments.comparison_plots import draw_comparison, draw_curves, draw_sweep
from mmdet_ols.results.run_folder import Run, training_folders

#: Stands for a config entry that is not there.
ABSENT = '(absent)'
#: Config entries beside the Runner's own arguments that change what a training does.
MORE_KEYS = (
    'activation_checkpointing', 'channels_last', 'compile', 'efficient_conv_bn_eval',
    'find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'strategy', 'sync_bn',
    'tta_model', 'tta_pipeline',
)  # fmt: skip
#: Hooks that serve the loss, and which of their entries do: MMPretrain's changes the data as well.
LOSS_HOOKS = {
    'OLSHook': r'.*',
    'SwitchRecipeHook': r'type|schedule\.\d+\.(action_epoch|loss(\..+)?)',
}
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
        if key == 'custom_hooks':  # where these stand must not move the others' numbers
            node = sorted(node or [], key=lambda hook: _name(hook.get('type')) in LOSS_HOOKS)
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


def _name(kind: Any) -> str:
    return str(kind).rpartition('.')[2]


def _loss_hooks(flat: Mapping[str, Any]) -> list[str]:
    """The keys of the hooks that only serve the loss."""
    return [
        key
        for hook, kind in flat.items()
        if re.fullmatch(r'(default_hooks|custom_hooks)\.\w+\.type', hook)
        for key in flat
        if key.startswith(hook[: -len('type')])
        and re.fullmatch(LOSS_HOOKS.get(_name(kind), ''), key[len(hook) - len('type') :])
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
        fine = [*allowed, *_loss_hooks(settings[first]), *_loss_hooks(settings[name])]
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
    def better_lower(self) -> bool:
        """As it is logged: an accuracy is better higher, though the error it is shown as is not."""
        return self.lower_is_better and self.scale > 0

    @property
    def digits(self) -> int:
        """How many decimals are shown."""
        return 2 if self.unit == '%' else 3

    @property
    def names(self) -> tuple[str, str]:
        """What a config may call it: its key, or `top1_error` for `accuracy/top1`."""
        return self.key, f'{self.key.rpartition("/")[2]}_error' if self.offset else self.key

    @property
    def label(self) -> str:
        return f'{self.title}{f" ({self.unit})" * bool(self.unit)}'

    @property
    def described(self) -> str:
        return f'{self.label}, {"lower" if self.lower_is_better else "higher"} is better'


#: Detection metrics of these groups are logged as fractions, those of MMPretrain in per cent.
FRACTIONS = ('pascal_voc', 'coco', 'lvis', 'openimages', 'cityscapes')
#: Words in the name of a metric that is better lower, and the unit that it is logged in.
LOWER_IS_BETTER = {
    'error': '%', 'err': '%', 'ece': '%', 'kl': 'nats', 'nll': 'nats', 'loss': '',
    'mae': '', 'mse': '', 'rmse': '',
}  # fmt: skip
ACRONYMS = ('ece', 'kl', 'nll', 'mae', 'mse', 'rmse', 'fgsm', 'pgd')


def metric_of(key: str) -> Metric:
    """How the metric that the hosts log under this key is shown, and which way is better.

    Accuracies of classification are shown as errors, as the paper does; all shares in per cent.
    """
    group, _, name = key.rpartition('/')
    accuracy = re.fullmatch(r'top(\d+)(_thr.*)?', name)
    if group == 'accuracy' and accuracy:
        title = f'top-{accuracy[1]} error{accuracy[2] or ""}'
        return Metric(key, title, True, scale=-1, offset=100, unit='%')
    if group.split('/')[0] in FRACTIONS:
        return Metric(key, name, False, scale=100, unit='%')
    # Only whole words: 'mislabelled' or 'ErrorBars' say nothing about the direction.
    words = re.split(r'[\W_]+', key.lower())
    unit = next((LOWER_IS_BETTER[word] for word in words if word in LOWER_IS_BETTER), None)
    # Whoever does not learn wrong labels makes errors on them.
    lower = unit is not None and 'wrong' not in words
    title = ' '.join(
        word.upper() if word in ACRONYMS else re.sub(r'^top(\d+)$', r'top-\1', word)
        for word in re.split(r'[/_]+', key)
    )
    return Metric(key, title, lower, unit=unit or '')


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
    # Of the group of a main metric there are only variants more.
    groups = {key.partition('/')[0] for key in chosen}
    chosen += [key for key in keys if key.partition('/')[0] not in groups]
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


class Sweep(NamedTuple):
    """One option with several values: `values` by the names of the methods that have them."""

    name: str
    key: str
    values: dict[str, str]


@dataclass
class Comparison:
    """The runs of several methods (configs) with several seeds.

    Args:
        runs: By name and seed; the first name is what the others are compared with.
        paper: `paper_result` of the configs that have one, by name: dicts with `metric` (a key, or
            as `top1_error`), `value` in per cent or the metric's unit, `std` and `table`.
        differs: As `check_comparable` gives it.
        failed: Why a run is not in the tables.
        primary: Key of the metric to put first.
        tta: Whether the runs were tested with test-time augmentation.
        best_is_of_test: Whether the validations saw the test set, so that the best one stands for
            a result that was chosen on it.
        made: What each start of a run recorded: machine, versions and so on.
        sweep: Which methods are values of one option.
    """

    runs: dict[tuple[str, int], Run]
    paper: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    differs: dict[str, dict[str, tuple[Any, Any]]] = field(default_factory=dict)
    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    primary: str | None = None
    tta: bool = False
    best_is_of_test: bool = False
    made: dict[tuple[str, int], list[dict[str, str]]] = field(default_factory=dict)
    sweep: Sweep | None = None

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
            named = [paper['metric'] for papers in self.paper.values() for paper in papers]
            found = (key for name in named for key in self.keys if name in metric_of(key).names)
            first = next(found, None)
        return headline_metrics(self.keys, first)

    def values(self, name: str, metric: Metric) -> dict[int, float]:
        """The final values of a method as they are shown, by seed."""
        return {
            seed: metric.shown(run.final[metric.key])
            for (of, seed), run in self.runs.items()
            if of == name and run.final and metric.key in run.final
        }

    def best_values(self, name: str, metric: Metric) -> dict[int, float]:
        """The values at the epoch that was best by the first metric, as they are shown, by seed."""
        first, found = self.metrics[0], {}
        for (of, seed), run in self.runs.items():
            best = run.best(first.key, first.better_lower)
            values = run.over_time(metric.key)
            if of == name and run.final and best and best[0] in values:
                found[seed] = metric.shown(values[best[0]])
        return found

    def summary(self, name: str, metric: Metric) -> Summary:
        """Of `values`."""
        return summarise(list(self.values(name, metric).values()))

    def difference(self, name: str, metric: Metric) -> Summary:
        """To the first method, over the seeds that both have."""
        first, own = self.values(self.names[0], metric), self.values(name, metric)
        return summarise([own[seed] - first[seed] for seed in own if seed in first])

    def curve(self, name: str, metric: Metric) -> dict[int, Summary]:
        """The metric over the epochs of a method's finished runs."""
        found: dict[int, list[float]] = {}
        for (of, _), run in self.runs.items():
            if of == name and run.final:
                for epoch, value in run.over_time(metric.key).items():
                    found.setdefault(epoch, []).append(metric.shown(value))
        return {epoch: summarise(values) for epoch, values in sorted(found.items())}

    @property
    def metrics_over_time(self) -> list[Metric]:
        """Those that some finished run has at several epochs."""
        finished = [run for run in self.runs.values() if run.final]
        return [m for m in self.metrics if any(len(run.over_time(m.key)) > 1 for run in finished)]

    def title_over_time(self, metric: Metric) -> str:
        """The label, with the data that it is of where that is not in the metric's name."""
        validated = {
            k for r in self.runs.values() for found in r.validations.values() for k in found
        }
        data = 'test ' if self.best_is_of_test else 'validation '
        return f'{data * (metric.key in validated)}{metric.label}'

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the main table: one row a metric and method."""
        first = self.names[0]
        header = [
            'metric', 'config', 'mean', 'sd', 'n', f'difference to {first}', '95 % interval',
            'time a run',
        ]  # fmt: skip
        if self.shows_best:
            header.append('best epoch')
        if self.paper:
            header.append('paper')
        rows = []
        for metric in self.metrics:
            for name in self.names:
                own = self.summary(name, metric)
                diff = self.difference(name, metric)
                seconds = [r.seconds for (of, _), r in self.runs.items() if of == name and r.final]
                row = [metric.described, name]
                digits = metric.digits
                row += [_number(own.mean, digits), _number(own.sd, digits), str(own.n)]
                row += (
                    ['', '']
                    if name == first
                    else [_number(diff.mean, digits, '+'), _interval(diff, own.n, digits)]
                )
                row.append(duration(summarise(seconds).mean))
                if self.shows_best:
                    row.append(_cell(self.best_values(name, metric), metric.digits))
                rows.append(row + [self.paper_cell(name, metric)] * bool(self.paper))
        return header, rows

    @property
    def shows_best(self) -> bool:
        """Whether there are several validations on the test set to choose the best one of."""
        curves = self.metrics_over_time
        return self.best_is_of_test and bool(curves) and curves[0] == self.metrics[0]

    def overview(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of mean ± sd alone; methods or metrics go down, whichever are more."""
        table = [['', *self.names]] + [
            [metric.described]
            + [_cell(self.values(name, metric), metric.digits) for name in self.names]
            for metric in self.metrics
        ]
        if len(self.names) > len(self.metrics):
            table = [list(row) for row in zip(*table)]
        return table[0], table[1:]

    def class_table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the AP of every class, in per cent; no rows where none is logged."""
        header = ['AP (%)', *self.names]
        rows = []
        for key in self.keys:
            name_of_class = class_of_key(key)
            if name_of_class is not None:
                metric = metric_of(key)
                cells = [_cell(self.values(name, metric), metric.digits) for name in self.names]
                rows.append([name_of_class, *cells])
        return header, rows

    def paper_cell(self, name: str, metric: Metric) -> str:
        for paper in self.paper.get(name, ()):
            if paper['metric'] in metric.names:
                # In per cent already; an accuracy is shown as an error.
                value = paper['value']
                value = 100 - value if metric.offset and paper['metric'] == metric.key else value
                sd = f' ± {paper["std"]:.{metric.digits}f}' if 'std' in paper else ''
                table = f' (Table {paper["table"]})' if 'table' in paper else ''
                return f'{value:.{metric.digits}f}{sd}{table}'
        return ''

    def notes(self) -> list[str]:
        """What a reader of the tables must know."""
        n = [f'{name} seed {seed}' for (name, seed), run in self.runs.items() if not run.final]
        lines = [
            'The last epoch counts, not the best one. sd is the sample standard deviation over the '
            "seeds; the interval is Student's t for the paired differences (same seed) to "
            f'{self.names[0]}.'
        ]
        if self.shows_best:
            lines.append(
                'best epoch: the value (mean ± sd) at the epoch with the best '
                f'{self.metrics[0].title}, which was chosen on the test set and so is too good; '
                "the paper's classifiers are given at that epoch."
            )
        shown = [m.key for m in self.metrics if any(self.paper_cell(a, m) for a in self.names)]
        if not self.tta and any(key.partition('/')[0] in FRACTIONS for key in shown):
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


def _cell(values: Mapping[int, float], digits: int) -> str:
    """Mean ± sample standard deviation of the values by seed."""
    mean, sd, n, *_ = summarise(list(values.values()))
    return f'{_number(mean, digits)}{f" ± {_number(sd, digits)}" * (n > 1)}'


def _number(value: float, digits: int, sign: str = '') -> str:
    return '–' if np.isnan(value) else f'{value:{sign}.{digits}f}'


def _interval(diff: Summary, n: int, digits: int) -> str:
    if np.isnan(diff.low):
        return '–'
    pairs = f' ({diff.n} pairs)' * (diff.n != n)
    return f'{diff.low:+.{digits}f} to {diff.high:+.{digits}f}{pairs}'


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

    Beside them lies `comparison_curves.csv` (one row an epoch of a run) with its picture, where
    something was measured at several epochs, and `comparison_sweep.png` of a sweep.

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
    if comparison.metrics_over_time:
        _write_curves(comparison, folder / 'comparison_curves.csv')
        draw_curves(comparison, folder / 'comparison_curves.png')
    if comparison.sweep:
        draw_sweep(comparison, folder / 'comparison_sweep.png')


def _write_curves(comparison: Comparison, path: Path) -> None:
    """One row an epoch of a finished run, with what was measured then, as it was logged."""
    keys = [metric.key for metric in comparison.metrics_over_time]
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['config', 'seed', 'epoch', *keys])
        for (name, seed), run in comparison.runs.items():
            if run.final:
                curves = [run.over_time(key) for key in keys]
                for epoch in sorted({epoch for curve in curves for epoch in curve}):
                    row = [curve.get(epoch, '') for curve in curves]
                    writer.writerow([name, seed, epoch, *row])


def to_markdown(comparison: Comparison, how: Mapping[str, str]) -> str:
    """The tables, what differs, and how they were made."""
    parts = [f'# {" / ".join(comparison.names)}']
    if len(comparison.metrics) > 1:
        parts.append(_markdown_table(*comparison.overview()))
    parts.append(_markdown_table(*comparison.table()))
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
    parts += ['![](comparison_sweep.png)'] if comparison.sweep else []
    parts += ['![](comparison.png)']
    parts += ['![](comparison_curves.png)'] if comparison.metrics_over_time else []
    parts += ['## How', _markdown_table(['', ''], facts)]
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
                row += list(run.best(best_of.key, best_of.better_lower) or ('', ''))[::-1]
            writer.writerow(row)
