"""What was trained, where, and the few numbers at the top of the page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from mmdet_ols.analysis.report.accuracy import main_metric, short_name
from mmdet_ols.analysis.report.charts import format_number
from mmdet_ols.analysis.report.record import TrainingRecord
from mmdet_ols.datasets.tree import leaf_datasets
from mmdet_ols.results.metrics import metric_of

Facts = list[tuple[str, str]]


def facts(record: TrainingRecord) -> list[tuple[str, Facts]]:
    """Groups of (name, value) about what was trained, on what, and where."""
    groups = [('What was trained', _trained(record)), ('Where', record.machine)]
    return [(title, [item for item in group if item[1]]) for title, group in groups]


def figures(record: TrainingRecord) -> Facts:
    """The few numbers at the top, each with its name."""
    run, schedule = record.run, record.schedule
    numbers = []
    if run.validations:
        last = max(run.validations)
        key = main_metric(run.validations[last])
        if key:
            name, value = short_name(key), run.validations[last][key]
            numbers.append((f'{name}, {schedule.unit} {last}', format_number(value)))
            direction = metric_of(key).logged_lower_is_better
            best = None if direction is None else run.best(key, direction)
            if best:
                numbers.append((f'Best {name}, {schedule.unit} {best[0]}', format_number(best[1])))
    state = 'finished' if run.trained else 'unfinished'
    numbers.append((f'Training {state}', f'{_count(run.done)} of {run.length} {schedule.unit}s'))
    if run.seconds:
        numbers.append(('Wall time', str(timedelta(seconds=round(run.seconds)))))
    if record.checkpoint is not None:
        numbers.append(('Checkpoint', record.checkpoint.name))
    return numbers


def _count(done: float) -> str:
    """A number of epochs or iterations, of which the running one counts in part."""
    return f'{done:.2f}'.rstrip('0').rstrip('.')


def _trained(record: TrainingRecord) -> Facts:
    cfg, schedule = record.cfg, record.schedule
    model = cfg.get('model') or {}
    backbone = (model.get('backbone') or {}).get('type', '')
    loader = cfg.get('train_dataloader') or {}
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    batch_size = loader.get('batch_size', '?')
    roots = {dataset.get('data_root') for dataset in leaf_datasets(loader.get('dataset'))}
    return [
        ('Model', ' with '.join(str(name) for name in (model.get('type'), backbone) if name)),
        ('Method', str(cfg.get('applied_method') or '')),
        ('Loss', next(_classification_losses(model), '')),
        ('Schedule', f'{schedule.length} {schedule.unit}s of batches of {batch_size}'),
        ('Optimiser', f'{optimizer.get("type", "?")}, learning rate {optimizer.get("lr", "?")}'),
        ('Data', ', '.join(sorted(str(root) for root in roots if root))),
        ('Seed', str((cfg.get('randomness') or {}).get('seed', ''))),
    ]


def _classification_losses(model: Any) -> Iterator[str]:
    """The classification losses of a model as its config writes them, outer parts first.

    That of a region proposal network is left out: it only tells objects from background.
    """
    items = list(model.items() if isinstance(model, dict) else enumerate(model))
    for key, value in items:
        if key in ('loss_cls', 'loss') and isinstance(value, dict):
            settings = ', '.join(f'{name}={v!r}' for name, v in value.items() if name != 'type')
            yield f'{value.get("type")}({settings})'
    for key, value in items:
        if isinstance(value, (dict, list, tuple)) and key != 'rpn_head':
            yield from _classification_losses(value)
