"""What a reader must know about numbers, as footnotes of their table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmdet_ols.paper import OpenQuestion, choice_of, questions_about
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
    texts = list(dict.fromkeys(text for own in notes for text in own))
    of_all = [text for text in texts if text in shared]
    marked = [text for text in texts if text not in shared]
    marks = [sorted(marked.index(text) + 1 for text in own if text in marked) for own in notes]
    return Footnotes(of_all, marked, marks)


def notes_of(number: Number) -> list[str]:
    """What a reader must know about a number of the paper and about ours."""
    note, result = number.figure.note, number.result
    notes = [] if result is None else notes_of_result(result)
    known = [] if result is None else open_about(result)
    if note and not any(question.covers_note(note) for question in known):
        notes.append(f"The paper's number: {note}.")
    return list(dict.fromkeys(notes))


def notes_of_result(result: CellResult) -> list[str]:
    """What a reader must know about the runs of a cell: what was reduced, open or went wrong."""
    made = result.cell._replace(config=result.config, method=result.method, options=result.options)
    notes = list(result.notes)
    for question in open_about(result):
        choice = choice_of(question, result.cell, made)
        notes.append(f'{question.sentence} {choice.sentence}')
    for seed, why in result.failures.items():
        notes.append(f'{name_of(result)}, seed {seed}: failed ({why or "see its log"})')
    return list(dict.fromkeys(notes))


def open_about(result: CellResult) -> list[OpenQuestion]:
    """What the paper leaves open about the runs of a cell.

    At another scale, these are of another network or other data, so that only what is open about
    methods is left.
    """
    questions = questions_about(result.cell)
    names = {result.cell.config} | {
        question.applied(result.cell, choice).config
        for question in questions
        for choice in question.choices
    }
    if Path(result.config).name in {Path(name).name for name in names}:
        return questions
    return [question for question in questions if question.is_of_method]
