"""How long the runs of a plan take, by what was measured so far."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmdet_ols.experiments.settings import settings_key
from mmdet_ols.reproduction.plan import Plan
from mmdet_ols.reproduction.step_times import StepTimes, step_settings


class RunTimes:
    """Estimates the time of runs from finished ones, and from the pace of those that have begun.

    A run takes as long as the finished ones with the same settings; where there are none, as those
    of the same config with other methods whose training steps compute the same; where there are
    none either, as its own pace says. Only where it has not begun, the time of its training steps
    is taken.

    Args:
        plan: Whose runs to estimate; its rows of other machines count as well.
        steps: The times of training steps on some device.
    """

    def __init__(self, plan: Plan, steps: StepTimes | None = None) -> None:
        self.plan, self.steps = plan, steps
        self._data = {
            folder: cell.data for cell in plan.cells for folder in plan.folders_of(cell).values()
        }
        self._by_steps: dict[tuple[str, str], float | None] = {}
        #: How far each run is.
        self.runs = {folder: plan.read(folder) for folder in plan.folders}
        self._by_settings: dict[str, list[float]] = {}
        self._by_alike: dict[tuple[str, str], list[float]] = {}
        variants = {variant.portable_key: variant for variant in map(plan.variant, self.runs)}
        #: What a run has to share with another one to take as long, by the settings of each run.
        self._alike = {
            key: (variant.portable_base, settings_key(step_settings(variant)))
            for key, variant in variants.items()
        }
        for row in plan.evidence.rows() if plan.evidence is not None else []:
            self._note(row.settings, row.seconds)
        for folder, run in self.runs.items():
            if run.final and not run.recorded:
                self._note(plan.variant(folder).portable_key, run.seconds)

    def whole(self, folder: Path) -> float | None:
        """Seconds that a run takes from start to end; None where it is not known."""
        seconds = self._by_runs(folder)
        return self._of_steps(folder) if seconds is None else seconds

    def left(self, folder: Path) -> float | None:
        """Seconds that a run has left; None where it is not known."""
        run = self.runs[folder]
        if run.final:
            return 0.0
        whole = self.whole(folder)
        return None if whole is None else whole * (1 - min(run.done / run.length, 1))

    def total_left(self, folders: Iterable[Path]) -> tuple[float, int]:
        """Seconds that runs have left, and of how many it is not known."""
        left = [self.left(folder) for folder in folders]
        return sum(filter(None, left)), left.count(None)

    def total_by_steps(self) -> tuple[float, int]:
        """Seconds left of the runs for which only step times tell, and how many these are."""
        left = [
            self.left(folder)
            for folder, run in self.runs.items()
            if not run.final and self._by_runs(folder) is None
        ]
        known = [seconds for seconds in left if seconds is not None]
        return sum(known), len(known)

    def _by_runs(self, folder: Path) -> float | None:
        settings, run = self.plan.variant(folder).portable_key, self.runs[folder]
        measured = self._by_settings.get(settings)
        measured = measured or self._by_alike.get(self._alike[settings])
        if measured:
            return sum(measured) / len(measured)
        return run.seconds / run.done * run.length if run.done and run.seconds else None

    def _of_steps(self, folder: Path) -> float | None:
        if self.steps is None:
            return None
        variant, data = self.plan.variant(folder), self._data[folder]
        key = variant.portable_key, data
        if key not in self._by_steps:
            self._by_steps[key] = self.steps.whole(variant, data)
        return self._by_steps[key]

    def _note(self, settings: str, seconds: float) -> None:
        """Note how long a run took; one that is not planned tells of no other."""
        if seconds and settings in self._alike:
            self._by_settings.setdefault(settings, []).append(seconds)
            self._by_alike.setdefault(self._alike[settings], []).append(seconds)
