"""How long the runs of a plan take, by what was measured so far."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmdet_ols.reproduction.plan import Plan
from mmdet_ols.results.run_folder import Run


class RunTimes:
    """Estimates the time of runs from finished ones, and from the pace of those that have begun.

    A run takes as long as the finished ones with the same settings; where there are none, as those
    of the same config with other methods; where there are none either, as its own pace says.

    Args:
        plan: Whose runs to estimate; its rows of other machines count as well.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._runs = {folder: plan.read(folder) for folder in plan.folders}
        self._by_settings: dict[str, list[float]] = {}
        self._by_base: dict[str, list[float]] = {}
        rows = plan.evidence.rows() if plan.evidence is not None else []
        for row in rows:
            self._note(row.settings, row.base, row.seconds)
        for folder, run in self._runs.items():
            variant = plan.variant(folder)
            if run.final and not run.recorded:
                self._note(variant.portable_key, variant.portable_base, run.seconds)

    def whole(self, folder: Path) -> float | None:
        """Seconds that a run takes from start to end; None where nothing tells."""
        variant, run = self.plan.variant(folder), self._runs[folder]
        measured = self._by_settings.get(variant.portable_key)
        measured = measured or self._by_base.get(variant.portable_base)
        if measured:
            return sum(measured) / len(measured)
        return run.seconds / run.done * run.length if run.done and run.seconds else None

    def left(self, folder: Path) -> float | None:
        """Seconds that a run has before it; None where nothing tells."""
        run: Run = self._runs[folder]
        if run.final:
            return 0.0
        whole = self.whole(folder)
        return None if whole is None else whole * (1 - min(run.done / run.length, 1))

    def total_left(self, folders: Iterable[Path]) -> tuple[float, int]:
        """Seconds that runs have before them, and of how many nothing tells."""
        left = [self.left(folder) for folder in folders]
        return sum(filter(None, left)), left.count(None)

    def _note(self, settings: str, base: str, seconds: float) -> None:
        if seconds:
            self._by_settings.setdefault(settings, []).append(seconds)
            self._by_base.setdefault(base, []).append(seconds)
