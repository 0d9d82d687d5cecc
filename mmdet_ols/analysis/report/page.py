"""The page itself: from a work directory to an HTML file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmdet_ols.analysis.report.accuracy import accuracy
from mmdet_ols.analysis.report.charts import training_charts
from mmdet_ols.analysis.report.facts import facts, figures
from mmdet_ols.analysis.report.history import soft_label_views
from mmdet_ols.analysis.report.opinions import (
    OPINION_TABLE,
    LabelOpinions,
    opinion_section,
    read_opinions,
    write_opinions,
)
from mmdet_ols.analysis.report.record import TrainingRecord, read_training
from mmdet_ols.analysis.report.suspects import AnnotationAudit, audit_annotations, audit_sections
from mmdet_ols.analysis.report.table import TABLE, write_table
from mmdet_ols.analysis.report.templates import page_template
from mmdet_ols.core.arguments import check_choice, check_integer

PAGE = 'report.html'
SPLIT_NAMES = {'train': 'training', 'val': 'validation', 'test': 'test'}


def write_report(
    work_dir: str | Path,
    out: str | Path | None = None,
    checkpoint: str | Path | None = None,
    split: str = 'train',
    max_images: int = 0,
    top: int = 50,
    options: Mapping[str, Any] | None = None,
    change_config: Callable[[Config], None] | None = None,
) -> Path:
    """Write the page about a run, finished or not, and the table of suspicious annotations.

    What is missing (no checkpoint yet, data that moved, a loss without soft labels) is left out,
    and the page says so. The network's scores are kept in the work directory, so that the next
    report of the same checkpoint takes seconds.

    Args:
        work_dir: Work directory of a training by MMEngine.
        out: The page; `report.html` in the work directory by default. The table lies in its folder.
        checkpoint: The checkpoint to run; the last one by default.
        split: The split whose annotations are examined: 'train', 'val' or 'test'.
        max_images: Examine at most this many images of the split; 0 examines all.
        top: How many suspicious annotations the page shows; the table holds all. Where there are
            fewer than ten, the page adds those that the network nearly takes for another class.
        options: Config entries that changed since the training, such as the place of the data.
        change_config: Called with the config after that, for changes that are no single entries.

    Raises:
        FileNotFoundError: The folder holds no training, or there is no `checkpoint`.
        ValueError: A number is negative, `split` is unknown, `out` is a folder, or `checkpoint`
            cannot be read.
    """
    check_choice('split', split, SPLIT_NAMES)
    check_integer('max_images', max_images, least=0)
    check_integer('top', top, least=0)
    record = read_training(work_dir, checkpoint, options, change_config)
    out = _page_file(out or record.folder / PAGE)
    audit = _audit(record, split, max_images)
    opinions = _opinions(record)
    for note in record.notes:
        print_log(note, logger='current')
    sections = _training_sections(record)
    if audit is not None:
        sections.update(audit_sections(audit, top))
        write_table(audit, out.with_name(TABLE))
    if opinions is not None:
        read = audit.annotations if audit is not None and split == 'train' else []
        images = {item.sample: item for item in read if item.box is None}
        sections['opinions'] = opinion_section(opinions, record.classes, images, top)
        write_opinions(opinions, record.classes, images, out.with_name(OPINION_TABLE))
    html = render(dict(sections, split=SPLIT_NAMES[split], table=TABLE))
    out.write_text(html, encoding='utf-8', errors='backslashreplace')
    return out


def _page_file(out: str | Path) -> Path:
    """The file of the page, in a folder that is made here, before the network takes its time."""
    out = Path(out)
    if out.is_dir():
        raise ValueError(
            f'`out` must be the file of the page, but {out} is a folder: name a file in it, such '
            f'as {out / PAGE}.'
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    return out


def _audit(record: TrainingRecord, split: str, max_images: int) -> AnnotationAudit | None:
    """Examine the annotations; where that is not possible, add the reason to the notes."""
    if record.checkpoint is None:
        return None
    try:
        return audit_annotations(record, split, max_images)
    except (FileNotFoundError, ValueError) as error:
        note = f'The images of the {split} data were not examined: {error}'
        if isinstance(error, FileNotFoundError):
            note += ' (--data-root names the folder of data that moved).'
        record.notes.append(note)
        return None


def _opinions(record: TrainingRecord) -> LabelOpinions | None:
    """What the method thinks of the labels; where that is damaged, add it to the notes."""
    try:
        return read_opinions(record.folder)
    except ValueError as error:
        record.notes.append(f'The opinions of the labels are left out: {error}')
        return None


def _training_sections(record: TrainingRecord) -> dict[str, Any]:
    return dict(
        name=_title(record.folder.resolve()),
        facts=facts(record),
        figures=figures(record),
        training=training_charts(record.curves, record.period),
        accuracy=accuracy(record.curves, record.schedule.unit),
        soft_labels=[
            soft_label_views(loss, steps, record.classes) for loss, steps in record.history.items()
        ],
        period=record.period,
        notes=record.notes,
    )


def _title(folder: Path) -> str:
    """What the page is about; the folder of a run of a comparison is named by its seed only."""
    seed = re.fullmatch(r'seed_(\d+)', folder.name)
    return f'{folder.parent.name} seed {seed[1]}' if seed else folder.name


def render(sections: dict[str, Any]) -> str:
    """The page as HTML; sections that are not given are left out.

    Raises:
        ImportError: Jinja is missing.
    """
    template = page_template('report.html')
    absent = dict.fromkeys(
        ('pairs', 'suspects', 'nearest', 'missed', 'counts', 'source', 'opinions')
    )
    return template.render({**absent, **sections})
