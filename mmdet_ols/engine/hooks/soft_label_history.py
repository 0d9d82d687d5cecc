"""The history of the soft labels in a run: matrices in the work directory, and pictures."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from mmdet_ols.core import SoftLabelState
from mmdet_ols.core.arguments import check_integer
from mmdet_ols.core.whole_files import whole_file
from mmdet_ols.engine.hooks.roll_over_period import Period

#: Above this number of score columns the history of the soft labels is not kept by default.
MAX_RECORDED = 256


class SoftLabelHistory:
    """Writes and draws the soft labels of a run as they change.

    Args:
        draw_interval: Draw at every so many roll-overs; 0 never draws.
        record_interval: Write at every so many roll-overs, and at the start; 0 never does. None
            writes all up to `MAX_RECORDED` score columns and none above.

    Raises:
        ValueError: An interval is out of range.
    """

    def __init__(self, draw_interval: int = 0, record_interval: int | None = None) -> None:
        never = '0 means never'
        check_integer('draw_interval', draw_interval, least=0, remedy=never)
        check_integer('record_interval', record_interval, least=0, remedy=never, optional=True)
        self.draw_interval = draw_interval
        self.record_interval = record_interval
        self._warnings: set[str] = set()  # what has been said about drawing in this run

    def begin(self, runner: Any, period: Period) -> None:
        """Start the history of a run at the step at which the run starts or goes on.

        What a run that this one replaces has left of later steps is removed, since two histories
        must not mix. That goes for all losses: some may appear later in the run.
        """
        if self.record_interval == 0 or not _is_main_process():
            return
        for path in Path(runner.work_dir, 'soft_labels').glob('*/*.npy'):
            match = re.fullmatch(r'(?:epoch|iter)_(\d+)', path.stem)
            if match and int(match[1]) > period.steps_done(runner):
                path.unlink()

    def add_start(self, runner: Any, name: str, loss: SoftLabelState, period: Period) -> None:
        """Keep the soft labels that a loss starts with."""
        if self._records(loss):
            _record(runner, name, loss, period, period.steps_done(runner))

    def add(self, runner: Any, name: str, loss: SoftLabelState, period: Period, step: int) -> None:
        """Keep the soft labels of the roll-over after `step` epochs or iterations."""
        number = period.number_of(step)
        if self.draw_interval and number % self.draw_interval == 0:
            self._try_to_draw(runner, name, loss, step)
        if self._records(loss) and number % (self.record_interval or 1) == 0:
            _record(runner, name, loss, period, step)

    def _try_to_draw(self, runner: Any, name: str, loss: SoftLabelState, step: int) -> None:
        """Draw the soft labels of a loss; what goes wrong is said once, and training goes on."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('default')
            try:
                _draw(runner, name, loss, step)
            except Exception as error:  # whatever matplotlib or a backend of the Visualizer raises
                self._warn(
                    runner,
                    f'The soft labels of {name} cannot be drawn, and the training goes on without '
                    f'their pictures: {type(error).__name__}: {error}. Leave `draw_interval` of '
                    'OLSHook out to be spared this.',
                )
        for warning in caught:
            self._warn(runner, str(warning.message))

    def _warn(self, runner: Any, message: str) -> None:
        if message not in self._warnings:
            self._warnings.add(message)
            runner.logger.warning(message)

    def _records(self, loss: SoftLabelState) -> bool:
        """Whether this process keeps the history of a loss."""
        by_default = self.record_interval is None and loss.num_columns <= MAX_RECORDED
        return bool(self.record_interval or by_default) and _is_main_process()


def _draw(runner: Any, name: str, loss: SoftLabelState, step: int) -> None:
    from mmdet_ols.visualization import draw_soft_labels, matching_names

    metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', {})
    soft_labels = loss.soft_labels
    names = matching_names(soft_labels, metainfo.get('classes'))
    image = draw_soft_labels(soft_labels, names, title=f'{name}, {step}')
    runner.visualizer.add_image(f'soft_labels_{name}', image, step=step)


def _record(runner: Any, name: str, loss: SoftLabelState, period: Period, step: int) -> None:
    import numpy as np  # not at the top: without a host, torch is all that the package needs

    folder = Path(runner.work_dir, 'soft_labels', name)
    folder.mkdir(parents=True, exist_ok=True)
    unit = 'epoch' if period.by_epoch else 'iter'
    with whole_file(folder / f'{unit}_{step}.npy', 'wb') as file:
        np.save(file, loss.soft_labels.cpu().numpy())


def _is_main_process() -> bool:
    from mmengine.dist import is_main_process

    return is_main_process()
