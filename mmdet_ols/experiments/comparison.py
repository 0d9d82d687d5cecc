"""The comparison itself: the runs of several rows with several seeds, and what they reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mmdet_ols.experiments.settings import Differences
from mmdet_ols.results.metrics import Metric, headline_metrics, metric_of
from mmdet_ols.results.run_folder import Run
from mmdet_ols.results.statistics import Summary, paired_difference, summarise


class Sweep(NamedTuple):
    """One option with several values: `values` by the names of the rows that have them."""

    name: str
    key: str
    values: dict[str, str]


@dataclass
class Comparison:
    """The runs of several rows (methods, configs) with several seeds.

    Args:
        runs: By name and seed; the others are compared with the first name.
        paper: The paper's figures by name: dicts with `metric` (a key, or as `top1_error`),
            `value` in per cent or the metric's unit, `sd`, `table` and `note`.
        differs: In what each row but the first differs from it.
        compared_as_they_are: The names of the rows whose methods could not be undone.
        failed: Why a run is not in the tables.
        primary: Key of the metric to put first.
        primary_lower_is_better: Its direction, where nothing describes it.
        tta: Whether the runs were tested with test-time augmentation.
        best_is_of_test: Whether the validations saw the test set, so that the best of them is a
            result that was chosen on it.
        made: What each start of a run recorded: machine, versions and so on.
        sweep: Which rows are values of one option.
        shown: Keys of the metrics of the tables, in this order; the hosts' main ones by default.
    """

    runs: dict[tuple[str, int], Run]
    paper: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    differs: dict[str, Differences] = field(default_factory=dict)
    compared_as_they_are: Sequence[str] = ()
    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    primary: str | None = None
    primary_lower_is_better: bool | None = None
    tta: bool = False
    best_is_of_test: bool = False
    made: dict[tuple[str, int], list[dict[str, str]]] = field(default_factory=dict)
    sweep: Sweep | None = None
    shown: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.runs))

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(seed for _, seed in self.runs))

    @property
    def finished(self) -> dict[tuple[str, int], Run]:
        """The runs that are in the tables."""
        return {key: run for key, run in self.runs.items() if run.final}

    @property
    def followed(self) -> dict[tuple[str, int], Run]:
        """The finished runs of which more is known than the end and the best epoch."""
        return {key: run for key, run in self.finished.items() if not run.recorded}

    @property
    def keys(self) -> list[str]:
        """Every metric that a finished run has."""
        return list(dict.fromkeys(key for run in self.runs.values() for key in run.final or {}))

    @property
    def metrics(self) -> list[Metric]:
        """What the tables show, the most important first."""
        keys = self.keys
        if self.shown:
            return [metric_of(key) for key in self.shown if key in keys]
        first = self.primary if self.primary in keys else self._metric_of_the_paper(keys)
        shown = headline_metrics(keys, first)
        if shown and shown[0].key == self.primary and shown[0].lower_is_better is None:
            shown[0] = shown[0]._replace(lower_is_better=self.primary_lower_is_better)
        return shown

    def _metric_of_the_paper(self, keys: Sequence[str]) -> str | None:
        named = [figure['metric'] for figures in self.paper.values() for figure in figures]
        matches = (key for name in named for key in keys if name in metric_of(key).names)
        return next(matches, None)

    def values(self, name: str, metric: Metric) -> dict[int, float]:
        """The final values of a row as they are shown, by seed."""
        return {
            seed: metric.shown(run.final[metric.key])
            for (row, seed), run in self.runs.items()
            if row == name and run.final and metric.key in run.final
        }

    def best_values(self, name: str, metric: Metric) -> dict[int, float]:
        """The values at the epoch that was best by the first metric, as they are shown, by seed."""
        first, values = self.metrics[0], {}
        for (row, seed), run in self.finished.items():
            best = run.best(first.key, first.logged_lower_is_better)
            curve = run.over_time(metric.key)
            if row == name and best and best[0] in curve:
                values[seed] = metric.shown(curve[best[0]])
        return values

    def summary(self, name: str, metric: Metric) -> Summary:
        """Summarise the final values of a row."""
        return summarise(list(self.values(name, metric).values()))

    def difference(self, name: str, metric: Metric) -> Summary:
        """Summarise a row minus the first one, over the seeds that both have."""
        return paired_difference(self.values(name, metric), self.values(self.names[0], metric))

    def curve(self, name: str, metric: Metric) -> dict[int, Summary]:
        """Summarise the metric at every epoch of a row's finished runs."""
        values: dict[int, list[float]] = {}
        for (row, _), run in self.followed.items():
            if row == name:
                for epoch, value in run.over_time(metric.key).items():
                    values.setdefault(epoch, []).append(metric.shown(value))
        return {epoch: summarise(shown) for epoch, shown in sorted(values.items())}

    @property
    def metrics_over_time(self) -> list[Metric]:
        """The metrics that some finished run has at several epochs."""
        runs = self.followed.values()
        return [m for m in self.metrics if any(len(run.over_time(m.key)) > 1 for run in runs)]

    @property
    def shows_best(self) -> bool:
        """Whether there are several validations on the test set to choose the best one of."""
        curves = self.metrics_over_time
        if not self.best_is_of_test or not self.metrics:
            return False
        first = self.metrics[0]
        recorded = any(run.best_by == first.key for run in self.finished.values())
        if not recorded and (not curves or curves[0] != first):
            return False
        return first.lower_is_better is not None

    def title_over_time(self, metric: Metric) -> str:
        """The metric's label, with the data that it was measured on unless its key says so."""
        validations = [values for run in self.runs.values() for values in run.validations.values()]
        if not any(metric.key in values for values in validations):
            return metric.label
        return f'{"test" if self.best_is_of_test else "validation"} {metric.label}'

    def paper_figure(self, name: str, metric: Metric) -> Mapping[str, Any] | None:
        """What the paper gives for a row, with `value` as the metric is shown."""
        for figure in self.paper.get(name, ()):
            if figure['metric'] in metric.names:
                value = figure['value']  # in per cent already, but an accuracy is shown as an error
                if metric.offset and figure['metric'] == metric.key:
                    value = 100 - value
                return {**figure, 'value': value}
        return None
