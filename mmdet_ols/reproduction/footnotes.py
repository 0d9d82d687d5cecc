"""What a reader must know about numbers, as footnotes of their table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mmdet_ols.paper import choice_of, questions_about
from mmdet_ols.reproduction.claims import Number
from mmdet_ols.reproduction.making import name_of
from mmdet_ols.reproduction.results import CellResult


class Footnotes(NamedTuple):
    """The notes of a table.

    Attributes:
        of_all: What holds for every number that is made.
        marked: The others, whose marks are their places from 1.
        marks: The marks of each number, in the order of the numbers.
    """

    of_all: list[str]
    marked: list[str]
    marks: list[list[int]]


def footnotes(numbers: Sequence[Number]) -> Footnotes:
    """Collect what a reader must know about the numbers of a table, each sentence once."""
    notes = [notes_of(number) for number in numbers]
    made = [own for own, number in zip(notes, numbers) if number.result is not None]
    shared = set.intersection(*map(set, made)) if made else set()
    texts = _unique(text for own in notes for text in own)
    of_all = [text for text in texts if text in shared]
    marked = [text for text in texts if text not in shared]
    marks = [sorted(marked.index(text) + 1 for text in own if text in marked) for own in notes]
    return Footnotes(of_all, marked, marks)


def notes_of(number: Number) -> list[str]:
    """What a reader must know about a number of the paper and about ours."""
    figure, result = number.figure, number.result
    notes = [] if result is None else notes_of_result(result)
    if figure.note:
        notes.append(f"The paper's number: {figure.note}.")
    return _unique(notes)


def notes_of_result(result: CellResult) -> list[str]:
    """What a reader must know about the runs of a cell: what was reduced, open or went wrong."""
    notes = [*result.notes, *open_question_notes(result)]
    for seed, why in result.failures.items():
        notes.append(f'{name_of(result)}, seed {seed}: failed ({why or "see its log"})')
    return _unique(notes)


def open_question_notes(result: CellResult) -> list[str]:
    """What the paper leaves open about a cell, and what its runs have."""
    made = result.cell._replace(config=result.config, method=result.method, options=result.options)
    notes = []
    for question in questions_about(result.cell):
        choice = choice_of(question, result.cell, made)
        wanted = question.applied(result.cell, choice)
        # What is run at another scale may be another network or other data.
        as_in_paper = Path(wanted.config).name == Path(result.config).name
        notes.append(f'{question.sentence} {choice.sentence}' if as_in_paper else question.sentence)
    return notes


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
