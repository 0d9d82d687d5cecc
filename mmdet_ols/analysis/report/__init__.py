"""One HTML page about a run: how it went, what it confuses, and which labels look wrong."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log

from mmdet_ols.analysis.annotations import (
    Annotation,
    Suspect,
    mean_predictions,
    predict_annotations,
    rank_annotations,
    read_annotations,
    shares,
)
from mmdet_ols.analysis.soft_labels import (
    MAX_VALUES,
    confused_pairs,
    draw_soft_labels,
    fitting_names,
    soft_labels_in_checkpoint,
)
from mmdet_ols.checks.checkpoints import load_checkpoint
from mmdet_ols.config_tree import ols_hooks
from mmdet_ols.results.metrics import class_of_key, headline_metrics, metric_of
from mmdet_ols.results.run_folder import Run, read_lines, read_run, training_folders

if TYPE_CHECKING:
    from markupsafe import Markup

PAGE, TABLE, CACHE = 'report.html', 'suspicious_annotations.csv', 'report_scores.npz'
COLUMNS = (
    'rank', 'image', 'object', 'x0', 'y0', 'x1', 'y1',
    'written', 'suggested', 'disagreement', 'share_written', 'share_suggested',
)  # fmt: skip
MAX_PAIRS, CROPS_A_PAIR, MAX_MISSED = 6, 4, 24
#: Where fewer annotations look wrong, the page adds those nearest to it up to this number.
MIN_SHOWN = 10
CROP_SIZE, OUTSIDE = 168, '#8a8680'  # pixels, and the colour beyond the image
#: Above this number the lines of a chart are grey, but for the best and the worst ones.
MAX_COLOURS = 8


class Curves(NamedTuple):
    """What a run logged, restarts merged: while training, and at the ends of epochs."""

    training: list[dict[str, Any]]
    epochs: list[dict[str, Any]]


def write_report(
    work_dir: str | Path,
    out: str | Path | None = None,
    checkpoint: str | Path | None = None,
    split: str = 'train',
    max_images: int = 0,
    top: int = 50,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page about a run, finished or not, and the table of doubtful annotations.

    What is missing (no checkpoint yet, data that moved, a loss without soft labels) is left out,
    and the page says so. The network's scores are kept in the work directory, so that the next
    report of the same checkpoint takes seconds.

    Args:
        work_dir: Work directory of a training by MMEngine.
        out: The page; `report.html` in the work directory by default. The table lies beside it.
        checkpoint: The last one by default.
        split: Whose annotations are looked at: 'train', 'val' or 'test'.
        max_images: Look at this many images of the split at most; 0 looks at all.
        top: How many doubtful annotations the page shows; the table holds all. Where there are
            fewer than ten, those follow that the network nearly takes for another class.
        options: Config entries that changed, as for data that moved.

    Raises:
        FileNotFoundError: The folder holds no training, or there is no `checkpoint`.
        ValueError: A number is negative, or `checkpoint` cannot be read.
    """
    for name, value in (('max_images', max_images), ('top', top)):
        if value < 0:
            raise ValueError(f'`{name}` must not be negative, but got {value!r}.')
    work_dir = Path(work_dir)
    cfg = _read_config(work_dir)
    cfg.merge_from_dict(dict(options or {}))
    train_cfg = cfg.get('train_cfg') or {}
    length = train_cfg.get('max_epochs') or train_cfg.get('max_iters') or 0
    unit = 'epoch' if 'max_epochs' in train_cfg else 'iteration'
    period = _roll_over_unit(cfg, unit)
    by_epoch, val_interval = unit == 'epoch', train_cfg.get('val_interval', 1)
    run = read_run(work_dir, length, by_epoch, val_interval=val_interval)
    path = Path(checkpoint) if checkpoint else run.last_checkpoint
    out = Path(out or work_dir / PAGE)
    out.parent.mkdir(parents=True, exist_ok=True)
    curves = read_curves(work_dir, length, by_epoch, val_interval)
    context: dict[str, Any] = dict(
        name=work_dir.resolve().name,
        facts=_facts(cfg, run, unit),
        figures=_figures(run, unit),
        training=_training_charts(curves, period),
        accuracy=_accuracy(curves, unit),
        notes=[],
        period=period,
        split=split,
        table=TABLE,
    )
    saved: dict[str, Any] = {}
    if path is None:
        context['notes'].append('There is no checkpoint yet, so nothing is said about images.')
    else:
        try:
            saved = load_checkpoint(path)
        except (FileNotFoundError, ValueError) as error:
            if checkpoint:  # asked for by name
                raise
            context['notes'].append(f'Nothing is said about images: {error}')
            path = None
        else:
            context['figures'].append(('Checkpoint', path.name))
    classes = _classes(cfg, saved)
    history, damaged = _soft_label_history(work_dir, saved, period)
    if damaged:
        names = ', '.join(str(file.relative_to(work_dir)) for file in damaged)
        context['notes'].append(f'Soft labels that cannot be read are left out: {names}')
    context['soft_labels'] = [_matrices(loss, steps, classes) for loss, steps in history.items()]
    if path is not None:
        try:
            look = Look.at(cfg, path, saved, classes, split, max_images, work_dir / CACHE)
        except (FileNotFoundError, ValueError) as error:
            context['notes'].append(f'The images of the {split} data were not looked at: {error}')
        else:
            context.update(look.sections(top))
            look.write_table(out.with_name(TABLE))
    for note in context['notes']:
        print_log(note, logger='current')
    out.write_text(_render(context), encoding='utf-8')
    return out


# --- what the folder holds -----------------------------------------------------------------------


def read_curves(
    work_dir: str | Path, length: int, by_epoch: bool = True, val_interval: int = 1
) -> Curves:
    """Everything that was logged, restarts merged; the arguments are those of `read_lines`."""
    merged = read_lines(work_dir, length, by_epoch, val_interval, 'scalars.json')
    training = [line for line in merged if 'iter' in line]
    return Curves(training, [line for line in merged if 'iter' not in line])


def _read_config(work_dir: Path) -> Config:
    starts = training_folders(work_dir)
    # Not the one in the work directory itself: a later test overwrites it.
    found = [path for path in (start / 'vis_data/config.py' for start in starts) if path.is_file()]
    found = found or sorted(work_dir.glob('*.py'))
    if not starts or not found:
        raise FileNotFoundError(
            f'{work_dir} must be the work directory of a training, with the config and the '
            'scalars.json that MMEngine writes there, but it '
            + ('holds none.' if work_dir.is_dir() else 'does not exist.')
        )
    return Config.fromfile(found[-1])


def _roll_over_unit(cfg: Config, unit: str) -> str:
    """What OLSHook counts: the loop's unit, or iterations on request."""
    return unit if all(hook.get('by_epoch', True) for hook in ols_hooks(cfg)) else 'iteration'


def _classes(cfg: Config, saved: dict[str, Any]) -> list[str]:
    meta = saved.get('meta', {}).get('dataset_meta') or cfg.get('metainfo') or {}
    return [str(name) for name in meta.get('classes') or meta.get('CLASSES') or ()]


def _soft_label_history(
    work_dir: Path, saved: dict[str, Any], period: str
) -> tuple[dict[str, dict[int, np.ndarray]], list[Path]]:
    """{loss: {step: matrix}} as OLSHook recorded them, or the checkpoint's; damaged files."""
    history: dict[str, dict[int, np.ndarray]] = {}
    damaged = []
    for path in sorted(work_dir.glob('soft_labels/*/*_*.npy')):
        step = path.stem.rpartition('_')[2]
        if step.isdigit():
            try:
                matrix = np.load(path)
            except (ValueError, OSError, EOFError):
                damaged.append(path)
            else:
                history.setdefault(path.parent.name, {})[int(step)] = matrix
    try:
        last = soft_labels_in_checkpoint(saved)
    except ValueError:
        last = {}
    meta = saved.get('meta', {})
    for loss, tensor in last.items():
        if loss not in history:
            number = meta.get('epoch' if period == 'epoch' else 'iter', 0)
            history[loss] = {number: tensor.float().numpy()}
    return {loss: dict(sorted(steps.items())) for loss, steps in history.items()}, damaged


# --- the sections --------------------------------------------------------------------------------


def _facts(cfg: Config, run: Run, unit: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of (name, value) about what was trained, on what, and where."""
    model = cfg.get('model') or {}
    loader = cfg.get('train_dataloader') or {}
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    roots = sorted(set(re.findall(r"'data_root': '([^']*)'", str(loader.get('dataset')))))
    backbone = (model.get('backbone') or {}).get('type', '')
    what = [
        ('Model', ' with '.join(str(name) for name in (model.get('type'), backbone) if name)),
        ('Loss', _loss(model)),
        ('Schedule', f'{run.length} {unit}s of batches of {loader.get("batch_size", "?")}'),
        ('Optimiser', f'{optimizer.get("type", "?")}, learning rate {optimizer.get("lr", "?")}'),
        ('Data', ', '.join(roots)),
        ('Seed', str((cfg.get('randomness') or {}).get('seed', ''))),
    ]
    logs = [start / f'{start.name}.log' for start in training_folders(run.folder)]
    text = logs[-1].read_text(errors='replace')[:20000] if logs and logs[-1].is_file() else ''
    machine = [
        (name, value.strip())
        for name, value in re.findall(
            r'^ +(Python|PyTorch|TorchVision|MMEngine|CUDA available|GPU [\d,]+): (.+)$',
            text,
            re.M,
        )
    ]
    groups = [('What was trained', what), ('Where', machine)]
    return [(title, [item for item in group if item[1]]) for title, group in groups if group]


def _loss(model: Any) -> str:
    """The classification loss, as the config names it."""
    for key, value in model.items() if isinstance(model, dict) else ():
        if key in ('loss_cls', 'loss') and isinstance(value, dict):
            settings = ', '.join(f'{name}={v!r}' for name, v in value.items() if name != 'type')
            return f'{value.get("type")}({settings})'
    for value in model.values() if isinstance(model, dict) else model:
        if isinstance(value, (dict, list, tuple)) and (found := _loss(value)):
            return found
    return ''


def _figures(run: Run, unit: str) -> list[tuple[str, str]]:
    """The few numbers at the top."""
    state = 'finished' if run.trained else 'unfinished'
    figures = [(f'Training {state}', f'{run.done:g} of {run.length} {unit}s')]
    if run.seconds:
        figures.append(('Wall time', str(timedelta(seconds=round(run.seconds)))))
    if run.validations:
        last = max(run.validations)
        key = _main_metric(run.validations[last])
        best = run.best(key, _lower_is_better(key)) if key else None
        if key and best:
            figures.insert(
                0, (f'{_short(key)}, {unit} {last}', _number(run.validations[last][key]))
            )
            figures.insert(1, (f'Best {_short(key)}, {unit} {best[0]}', _number(best[1])))
    return figures


def _main_metric(keys: Iterable[str]) -> str | None:
    names = [key for key in keys if not key.startswith('ols/')]
    return headline_metrics(names)[0].key if names else None


def _lower_is_better(key: str) -> bool:
    """Of the value as it was logged: an accuracy is better higher."""
    metric = metric_of(key)
    return bool(metric.logged_lower_is_better)


def _best(key: str, points: Sequence[tuple]) -> float:
    return (min if _lower_is_better(key) else max)(value for _, value in points)


def _short(key: str) -> str:
    return key.removeprefix('pascal_voc/').removeprefix('coco/')


def _number(value: float) -> str:
    return f'{value:.3f}' if 0.01 <= abs(value) <= 1 else f'{value:.4g}'


def _training_charts(curves: Curves, period: str) -> list[dict[str, Any]]:
    """Losses, learning rate, and what the online soft labels report."""
    losses = _series(curves.training, 'iter', lambda key: key if 'loss' in key else None)
    rates = _series(curves.training, 'iter', lambda key: key if key == 'lr' else None)
    charts = [
        _chart('Losses', 'iteration', losses, log=True),
        _chart('Learning rate', 'iteration', rates),
    ]
    for ending, title in (
        ('correct_share', 'Share of correctly classified samples'),
        ('confidence', 'Share of a soft label on its own class'),
    ):
        wanted = re.compile(rf'ols/(.+)/{ending}')
        found = _series(
            curves.epochs, 'step', lambda key, wanted=wanted: (m := wanted.match(key)) and m[1]
        )
        charts.append(_chart(title, period, found, unit_interval=True))
    return [chart for chart in charts if chart]


def _accuracy(curves: Curves, unit: str) -> dict[str, Any] | None:
    """Metrics over time, and the AP of every class if it was logged."""
    other = ('step', 'time', 'data_time')

    def metric(key: str) -> str | None:
        hidden = key in other or key.startswith('ols/') or '/AP_11points/' in key
        return None if hidden or class_of_key(key) else key

    metrics = _series(curves.epochs, 'step', metric)
    if not metrics:
        return None
    per_class = _series(curves.epochs, 'step', class_of_key)
    main = _main_metric(metrics)
    assert main is not None
    ranked = sorted(per_class.items(), key=lambda item: item[1][-1][1])
    return dict(
        charts=[
            chart
            for chart in (
                _chart('Over time', unit, {_short(main): metrics[main]}),
                _chart('AP of each class', unit, per_class),
            )
            if chart
        ],
        metrics=[(name, points[-1][1], _best(name, points)) for name, points in metrics.items()],
        classes=[(name, points[-1][1], max(y for _, y in points)) for name, points in ranked],
    )


def _series(lines: Sequence[dict[str, Any]], x: str, name: Any) -> dict[str, list[tuple]]:
    """{name: [(x, y), ...]} of the logged values whose key `name` gives a name to."""
    found: dict[str, list[tuple]] = {}
    for line in lines:
        for key, value in line.items():
            label = name(key)
            if label and isinstance(value, (int, float)) and np.isfinite(value):
                found.setdefault(label, []).append((line[x], value))
    return found


def _matrices(loss: str, steps: dict[int, np.ndarray], classes: list[str]) -> dict[str, Any]:
    """The soft labels at the start, in the middle and at the end, as tables or pictures."""
    numbers = list(steps)
    middle = min(numbers, key=lambda step: abs(step - numbers[-1] / 2))
    chosen = dict.fromkeys([numbers[0], middle, numbers[-1]])
    views = []
    for step in chosen:
        matrix = torch.from_numpy(steps[step])
        names = fitting_names(matrix, classes)
        if len(matrix) > MAX_VALUES:
            views.append(dict(step=step, picture=_png(draw_soft_labels(matrix, names))))
            continue
        names = (names or [str(index) for index in range(len(matrix))])[:]
        names += ['background'] * (len(matrix) - len(names))
        off_diagonal = matrix - torch.diag(matrix.diagonal())
        last = torch.from_numpy(steps[numbers[-1]])
        scale = float((last - torch.diag(last.diagonal())).max()) or 1.0
        heat = (100 * (off_diagonal / scale).clamp(0, 1).sqrt()).round().int().tolist()
        rows = [
            (name, [(value, heat[i][j], i == j) for j, value in enumerate(matrix[i].tolist())])
            for i, name in enumerate(names)
        ]
        views.append(dict(step=step, names=names, rows=rows))
    return dict(loss=loss, views=views, wide=len(steps[numbers[-1]]) > 10)


class Look(NamedTuple):
    """What the network makes of the annotations of a split."""

    annotations: list[Annotation]
    classes: list[str]
    #: (n, C) share of each class in what was found at the annotation; zeros where nothing was.
    shares: np.ndarray
    #: (C, C) what each class usually looks like, and where that is from.
    profiles: np.ndarray
    source: str
    suspects: list[Suspect]
    #: Those that the network agrees with, the nearest to being taken for another class first.
    nearest: list[Suspect]
    missed: list[int]

    @classmethod
    def at(
        cls,
        cfg: Config,
        checkpoint: Path,
        saved: dict[str, Any],
        classes: list[str],
        split: str,
        max_images: int,
        cache: Path,
    ) -> Look:
        """Run the network over a split, or read what it said the last time."""
        annotations = read_annotations(cfg, split, max_images)
        labels = np.array([annotation.label for annotation in annotations])
        size = max(len(classes), labels.max() + 1)
        classes = classes + [str(index) for index in range(len(classes), size)]
        scores = predict_annotations(cfg, checkpoint, annotations, size, split, cache)
        profiles, source = mean_predictions(scores, labels), 'the mean predictions'
        try:
            for loss, matrix in soft_labels_in_checkpoint(saved).items():
                if len(matrix) - size in (0, 1):
                    profiles, source = (
                        matrix[:size, :size].float().numpy(),
                        f'the soft labels of {loss}',
                    )
        except ValueError:
            pass  # a run without online soft labels
        ranked = rank_annotations(scores, labels, profiles)
        return cls(annotations, classes, shares(scores), profiles, source, *ranked)

    def sections(self, top: int) -> dict[str, Any]:
        """What the page says about pairs, suspects and missed objects."""
        area = [_area(self.annotations[index]) for index in self.missed]
        largest = [self.missed[i] for i in np.argsort(area)[::-1][:MAX_MISSED]]
        return dict(
            pairs=self._pairs(),
            source=self.source,
            suspects=[self._card(item.row, item) for item in self.suspects[:top]],
            nearest=[
                self._card(item.row, item, agrees=True)
                for item in self.nearest[: max(min(top, MIN_SHOWN) - len(self.suspects), 0)]
            ],
            missed=[self._card(index) for index in largest],
            counts=dict(
                images=len({annotation.sample for annotation in self.annotations}),
                objects=len(self.annotations),
                suspects=len(self.suspects),
                missed=len(self.missed),
                boxes=self.annotations[0].box is not None,
            ),
        )

    def _pairs(self) -> list[dict[str, Any]]:
        """The most confused pairs, each with the objects of both that the network wavers about."""
        labels = np.array([annotation.label for annotation in self.annotations])
        number = {name: index for index, name in enumerate(self.classes)}
        unique = len(number) == len(self.classes)
        names = self.classes if unique else [str(i) for i in range(len(self.classes))]
        number = {name: index for index, name in enumerate(names)}
        pairs: dict[frozenset[int], tuple[int, int]] = {}
        for pair in confused_pairs(torch.from_numpy(self.profiles), names, top=4 * MAX_PAIRS):
            first, second = number[pair.true], number[pair.confused_with]
            pairs.setdefault(frozenset((first, second)), (first, second))
        found = []
        for first, second in list(pairs.values())[:MAX_PAIRS]:
            sides = []
            for true, other in ((first, second), (second, first)):
                members = np.flatnonzero(labels == true)
                # Objects that it takes wholly for the other class may be labelled wrongly; the
                # look-alikes are those of which both classes have much.
                doubt = self.shares[members][:, [true, other]].min(1)
                order = members[np.argsort(-doubt, kind='stable')]
                kept = [index for index in order if self.shares[index, [true, other]].min() > 0]
                sides.append(
                    dict(
                        name=self.classes[true],
                        other=self.classes[other],
                        share=float(self.profiles[true, other] / self.profiles[true].sum()),
                        cards=[self._card(index) for index in kept[:CROPS_A_PAIR]],
                    )
                )
            found.append(dict(sides=sides))
        return found

    def _card(
        self, index: int, suspect: Suspect | None = None, agrees: bool = False
    ) -> dict[str, Any]:
        annotation, row = self.annotations[index], self.shares[index]
        pixels = annotation.image if annotation.pixels is None else annotation.pixels
        order = [label for label in np.argsort(-row, kind='stable')[:3] if row[label] >= 0.005]
        if annotation.label not in order and row.any():
            order.append(annotation.label)
        return dict(
            image=annotation.image,
            file=Path(annotation.image).name,
            number=annotation.number + 1 if annotation.box else None,
            written=self.classes[annotation.label],
            suggestion=self.classes[suspect.suggestion] if suspect else None,
            agrees=agrees,
            shares=[
                (self.classes[label], float(row[label]), label == annotation.label)
                for label in order
            ],
            crop=crop(pixels, annotation.box),
        )

    def write_table(self, path: Path) -> None:
        """All suspects, and after them what was not found, as CSV; objects count from 1."""
        with path.open('w', newline='', encoding='utf-8') as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            rows = [*self.suspects, *(Suspect(index, -1, 0.0) for index in self.missed)]
            for rank, (index, suggestion, disagreement) in enumerate(rows, 1):
                item, row = self.annotations[index], self.shares[index]
                verdict = ['(not found)', '', '', '']
                if suggestion >= 0:
                    values = (disagreement, row[item.label], row[suggestion])
                    verdict = [self.classes[suggestion], *(f'{value:.3f}' for value in values)]
                box = [f'{edge:g}' for edge in item.box] if item.box else [''] * 4
                written = self.classes[item.label]
                number = item.number + 1 if item.box else ''
                table.writerow([rank, item.image, number, *box, written, *verdict])


def _area(annotation: Annotation) -> float:
    x0, y0, x1, y1 = annotation.box or (0, 0, 0, 0)
    return (x1 - x0) * (y1 - y0)


# --- pictures ------------------------------------------------------------------------------------


def crop(image: str | np.ndarray, box: Sequence[float] | None) -> str | None:
    """An object with some of its surroundings, and its box, as a data URI; None if unreadable.

    The image is a file, or pixels: (height, width, 3) RGB or (height, width) grey, uint8.
    """
    from PIL import Image, ImageDraw, ImageOps

    try:
        with Image.open(image) if isinstance(image, str) else Image.fromarray(image) as opened:
            picture = ImageOps.exif_transpose(opened).convert('RGB')  # as MMCV reads it
    except (OSError, TypeError):  # a TypeError is from pixels that are no picture
        return None
    x0, y0, x1, y1 = box or (0, 0, *picture.size)
    side = max(x1 - x0, y1 - y0, 16) * (1.4 if box else 1.0)
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    scale = CROP_SIZE / side
    window = Image.new('RGB', (CROP_SIZE, CROP_SIZE), OUTSIDE)
    x, y = max(left, 0), max(top, 0)  # what of the square the image has
    seen = (x, y, min(left + side, picture.width), min(top + side, picture.height))
    if seen[2] > x and seen[3] > y:
        size = [max(round(scale * (seen[i + 2] - seen[i])), 1) for i in (0, 1)]
        part = picture.resize((size[0], size[1]), Image.Resampling.BICUBIC, box=seen)
        window.paste(part, (round(scale * (x - left)), round(scale * (y - top))))
    picture = window
    if box:
        edges = [round(scale * edge) for edge in (x0 - left, y0 - top, x1 - left, y1 - top)]
        edges[2:] = max(edges[2], edges[0] + 4), max(edges[3], edges[1] + 4)  # boxes without area
        draw = ImageDraw.Draw(picture)
        for inset, colour, width in ((-1, 'black', 4), (0, 'white', 2)):  # seen on any ground
            corners = [edges[0] + inset, edges[1] + inset, edges[2] - inset, edges[3] - inset]
            draw.rectangle(corners, outline=colour, width=width)
    buffer = io.BytesIO()
    picture.save(buffer, 'JPEG', quality=82)
    return 'data:image/jpeg;base64,' + base64.b64encode(buffer.getvalue()).decode()


def _png(pixels: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'PNG')
    return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()


def _chart(
    title: str,
    x_label: str,
    series: Mapping[str, Sequence[tuple]],
    log: bool = False,
    unit_interval: bool = False,
) -> dict[str, Any] | None:
    """A line chart as inline SVG whose colours are the page's, and its legend; None if empty."""
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # Colours that become the page's variables below, so that the chart follows its colour scheme.
    ink, faint = '#fe0100', '#fe0200'
    last = sorted(series, key=lambda name: series[name][-1][1])
    half = MAX_COLOURS // 2
    coloured = list(series) if len(series) <= MAX_COLOURS else last[-half:][::-1] + last[:half]
    style: Any = {'svg.fonttype': 'none', 'svg.hashsalt': title, 'text.color': ink, 'font.size': 11}
    with rc_context(style):
        figure = Figure(figsize=(5, 2.9), layout='constrained')
        axes = figure.add_subplot()
        for name, points in series.items():
            number = coloured.index(name) if name in coloured else None
            axes.plot(
                *zip(*points),
                color=faint if number is None else f'#fe00{number:02d}',
                linewidth=1 if number is None else 1.8,
                marker='o' if len(points) < 15 else None,
                markersize=3.5,
                zorder=2 if number is None else 3,
            )
        if log and all(y > 0 for points in series.values() for _, y in points):
            axes.set_yscale('log')
        elif unit_interval:
            axes.set_ylim(0, 1)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel(x_label, color=ink)
        axes.tick_params(colors=ink, which='both')
        axes.grid(color=faint, linewidth=0.5)
        axes.spines[['top', 'right']].set_visible(False)
        axes.spines[['left', 'bottom']].set_color(faint)
        buffer = io.StringIO()
        figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
    svg = buffer.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>|<!--.*?-->', '', svg, flags=re.S)
    svg = re.sub(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', svg, count=1)
    svg = svg.replace(ink, 'var(--muted)').replace(faint, 'var(--line)')
    svg = re.sub(r'#fe00(\d\d)', lambda match: f'var(--series-{int(match[1])})', svg)
    legend = [(name, _number(series[name][-1][1]), coloured.index(name)) for name in coloured]
    return dict(title=title, svg=_safe(svg), legend=legend, more=len(series) - len(coloured))


def _safe(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704  (matplotlib escapes what it writes)


def _render(context: dict[str, Any]) -> str:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ImportError("The page needs Jinja: pip install 'mmdet_ols[plot]'.") from error
    environment = Environment(
        loader=PackageLoader('mmdet_ols.analysis.report', '.'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = dict.fromkeys(('pairs', 'suspects', 'nearest', 'missed', 'counts', 'source'))
    return environment.get_template('report.html').render({**sections, **context})
