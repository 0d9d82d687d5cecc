"""Describing a finished run as a row of the file that keeps results."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmdet_ols.experiments.comparison import Comparison
from mmdet_ols.experiments.evidence import EvidenceRow
from mmdet_ols.experiments.identity import portable_config, portable_options
from mmdet_ols.experiments.specification import RunSpec, Variant
from mmdet_ols.results.run_folder import Run

#: Between several values of one fact, where a run was started more than once.
AND = ' + '


class BestEpoch(NamedTuple):
    """The epoch at which the main metric was best on the test set, and what was reached there."""

    by: str = ''
    epoch: int | None = None
    values: Mapping[str, float] = {}


def identity_of(variant: Variant, spec: RunSpec, tta: bool) -> tuple[str, int, str]:
    """By what the row of a run is known: settings, seed and kind of test."""
    return variant.portable_key, spec.seed, 'tta' if tta else 'plain'


def describe_run(
    variant: Variant,
    spec: RunSpec,
    run: Run,
    tta: bool,
    records: Sequence[Mapping[str, str]],
    best: BestEpoch,
) -> EvidenceRow:
    """Make the row of a finished run.

    Args:
        variant: What it is a run of.
        spec: Its specification.
        run: What its folder says.
        tta: Whether it was tested with test-time augmentation.
        records: What each start of it recorded.
        best: Its best epoch.
    """
    settings, seed, test = identity_of(variant, spec, tta)
    versions = [record.get('versions', '') for record in records]
    return EvidenceRow(
        settings=settings,
        base=variant.portable_base,
        name=variant.name,
        method=spec.method or '',
        config=portable_config(spec.config),
        options=portable_options([*spec.options, *(['amp'] if spec.amp else [])]),
        test=test,
        seed=seed,
        length=f'{variant.length} {"epochs" if variant.by_epoch else "iterations"}',
        seconds=round(run.seconds),
        commit=_matches(r'mmdet_ols \S+ \(git ([^)]+)\)|mmdet_ols (\S+)', versions),
        machine=AND.join(dict.fromkeys(filter(None, (r.get('machine') for r in records)))),
        torch=_matches(r'\btorch ([^,\s]+)', versions),
        date=records[-1].get('date', '') if records else '',
        best_by=best.by,
        best_epoch=best.epoch,
        metrics=dict(run.final or {}),
        best=dict(best.values),
    )


def best_epoch_of(comparison: Comparison) -> BestEpoch:
    """The best epoch of the only run of a comparison, if validations saw the test set."""
    (run,) = comparison.runs.values()
    if not comparison.shows_best:
        return BestEpoch()
    first = comparison.metrics[0]
    best = run.best(first.key, first.logged_lower_is_better)
    if best is None:
        return BestEpoch()
    curves = {metric.key: run.over_time(metric.key) for metric in comparison.metrics_over_time}
    values = {key: curve[best[0]] for key, curve in curves.items() if best[0] in curve}
    return BestEpoch(first.key, best[0], values)


def differ(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    """Whether two results differ by more than the rounding of what is written."""
    return a.keys() != b.keys() or any(
        not math.isclose(a[key], b[key], rel_tol=1e-6, abs_tol=1e-9)
        and not (math.isnan(a[key]) and math.isnan(b[key]))
        for key in a
    )


def _matches(pattern: str, texts: Sequence[str]) -> str:
    """What the groups of a pattern matched, each once."""
    matches = (re.search(pattern, text) for text in texts)
    return AND.join(dict.fromkeys(next(filter(None, m.groups())) for m in matches if m))
