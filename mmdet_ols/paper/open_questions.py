"""What the paper leaves open: the questions, what is done here, and what else can be chosen.

`open_questions.csv` has a row for each value that a question can have, the default first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mmdet_ols.core.suggestions import did_you_mean
from mmdet_ols.paper.tables import Cell, method_parts, read_rows


class Choice(NamedTuple):
    """One value of an open question, and what it changes in a cell.

    Attributes:
        value: As in `NAME=VALUE`.
        sentence: What a reader of the results must know if it was chosen.
        to_config: The config that replaces the cell's; a '*' stands for what the star in the
            question's pattern matched. Empty leaves the config.
        method_options: Options that the question's method gets, as in `start=zeros`.
        options: Words that the cell's options get.
    """

    value: str
    sentence: str
    to_config: str
    method_options: str
    options: tuple[str, ...]


class OpenQuestion(NamedTuple):
    """Something that the paper does not say, or says differently from its authors' code.

    Attributes:
        name: As in `NAME=VALUE`.
        sentence: The question, as a sentence.
        tables: The tables and figures whose readers must know it; all if empty.
        configs: Patterns of the configs that it concerns.
        methods: The methods that it concerns; all if empty.
        covers: How notes of the paper's figures begin that say no more than this; or empty.
        choices: Its values, the default first.
    """

    name: str
    sentence: str
    tables: tuple[str, ...]
    configs: tuple[str, ...]
    methods: tuple[str, ...]
    covers: str
    choices: tuple[Choice, ...]

    @property
    def default(self) -> Choice:
        return self.choices[0]

    @property
    def is_of_method(self) -> bool:
        """Whether it is about methods, whatever they train."""
        return bool(self.methods) and not any(c.to_config or c.options for c in self.choices)

    def covers_note(self, note: str) -> bool:
        """Whether the note of a figure says no more than the question."""
        return bool(self.covers) and note.startswith(self.covers)

    def concerns(self, cell: Cell) -> bool:
        """Whether a reader of a cell must know of the question."""
        return self._is_shown_in(cell.table) and self._is_about(cell)

    def _is_shown_in(self, table: str) -> bool:
        return not self.tables or table in self.tables

    def _is_about(self, cell: Cell) -> bool:
        """Whether how a cell is made depends on the question."""
        if self.methods and not set(self.methods) & method_parts(cell.method).keys():
            return False
        return any(fnmatchcase(cell.config, pattern) for pattern in self.configs)

    def applied(self, cell: Cell, choice: Choice) -> Cell:
        """The cell as it is made with a choice.

        Tables that share a run go on sharing it: only a choice of another config is for the
        question's own tables.
        """
        if not self._is_about(cell):
            return cell
        moves = choice.to_config and self._is_shown_in(cell.table)
        return cell._replace(
            config=self._config(cell.config, choice) if moves else cell.config,
            method=_with_options(cell.method, self.methods, choice.method_options),
            options=cell.options + tuple(o for o in choice.options if o not in cell.options),
        )

    def _config(self, config: str, choice: Choice) -> str:
        pattern = next(pattern for pattern in self.configs if fnmatchcase(config, pattern))
        before, _, after = pattern.partition('*')
        return choice.to_config.replace('*', config[len(before) : len(config) - len(after)])


@lru_cache
def open_questions() -> tuple[OpenQuestion, ...]:
    """Everything that the paper leaves open, in the order of the file."""
    questions: dict[str, OpenQuestion] = {}
    for row in read_rows('open_questions.csv'):
        choice = Choice(
            row['value'],
            row['choice'],
            row['to_config'],
            row['method_options'],
            tuple(row['options'].split()),
        )
        known = questions.get(row['name'])
        if known is None:
            questions[row['name']] = OpenQuestion(
                row['name'],
                row['question'],
                _list(row['tables']),
                _list(row['config']),
                _list(row['method']),
                row['covers'],
                (choice,),
            )
        else:
            questions[row['name']] = known._replace(choices=(*known.choices, choice))
    return tuple(questions.values())


def questions_about(cell: Cell) -> list[OpenQuestion]:
    """The open questions on which a cell of the paper depends."""
    return [question for question in open_questions() if question.concerns(cell)]


def apply_choices(cell: Cell, choices: Mapping[str, str]) -> Cell:
    """Turn a cell into the one that is made where the paper leaves something open.

    Args:
        cell: As `cells` gives it; a question that does not concern it changes nothing.
        choices: Values by the names of the questions.

    Raises:
        ValueError: There is no such question, or it has no such value.
    """
    chosen = check_choices(choices)
    # Another config comes first: the other choices are about what is trained in the end.
    for question, choice in sorted(chosen, key=lambda pair: not pair[1].to_config):
        cell = question.applied(cell, choice)
    return cell


def check_choices(choices: Mapping[str, str]) -> list[tuple[OpenQuestion, Choice]]:
    """Look up questions and values by their names.

    Args:
        choices: Values by the names of the questions.

    Raises:
        ValueError: There is no such question, or it has no such value.
    """
    known = {question.name: question for question in open_questions()}
    chosen = []
    for name, value in choices.items():
        if name not in known:
            raise ValueError(_unknown('An open question of the paper', name, known))
        values = {choice.value: choice for choice in known[name].choices}
        if value not in values:
            raise ValueError(_unknown(f'`{name}`, which the paper leaves open,', value, values))
        chosen.append((known[name], values[value]))
    return chosen


def choice_of(question: OpenQuestion, cell: Cell, made: Cell) -> Choice:
    """Which value of a question a cell was made with.

    Args:
        question: One that concerns the cell.
        cell: The paper's cell.
        made: The config, method and options that it was made with.
    """
    for choice in question.choices[1:]:
        wanted = question.applied(cell, choice)
        config = Path(wanted.config).name == Path(made.config).name
        if choice.to_config and not config:
            continue
        if choice.options and not set(choice.options) <= set(made.options):
            continue
        if choice.method_options and not _has_options(made.method, question, choice):
            continue
        return choice
    return question.default


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The message about a name that is not among the known ones, with those that are like it."""
    known = list(known)
    return f'{what} must be one of {", ".join(known)}, but got {name!r}{did_you_mean(name, known)}.'


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(';') if part.strip())


def _with_options(method: str, names: Iterable[str], options: str) -> str:
    """A method's text in which the methods of these names have these options, too."""
    added, texts = _options(options), []
    for name, given in method_parts(method).items():
        asked = {**given, **added} if name in names else given
        written = ','.join(f'{key}={value}' for key, value in asked.items())
        texts.append(f'{name}:{written}' if written else name)
    return '+'.join(texts)


def _has_options(method: str, question: OpenQuestion, choice: Choice) -> bool:
    """Whether one of the question's methods has the options of a choice."""
    wanted = _options(choice.method_options).items()
    parts = method_parts(method).items()
    return any(wanted <= given.items() for name, given in parts if name in question.methods)


def _options(text: str) -> dict[str, str]:
    """Options without a method, as they are written."""
    return method_parts(f':{text}')['']
