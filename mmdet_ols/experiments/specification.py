"""What is to be trained: variants of configs, and the specification of each of their runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mmengine.config import Config

from mmdet_ols.checks.evaluation import validates_on_the_test_set
from mmdet_ols.engine.run_config import finish_config, read_unfinished, use_amp
from mmdet_ols.experiments.comparability import Forms
from mmdet_ols.experiments.identity import portable_key
from mmdet_ols.experiments.readiness import hooks_of_tests
from mmdet_ols.experiments.settings import flat_settings, settings_key
from mmdet_ols.methods import METHODS, MethodSpec, NeededRun, hard_form, parse_method
from mmdet_ols.paper import figures
from mmdet_ols.results.run_folder import val_interval_of

#: Options that say where things lie or how fast they are read, and leave the results as they are.
NEUTRAL_OPTIONS = ('data_root', 'num_workers', 'persistent_workers', 'pin_memory', 'work_dir')


@dataclass(frozen=True)
class RunSpec:
    """What a run is, regardless of where it goes and of what executes it.

    Args:
        config: Path of the config.
        method: What is applied to it, as for `--method`; None leaves the config as it is.
        options: What overrides entries of the config before that, each `KEY=VALUE`.
        data_root: Where the data of all data sets lie; None leaves the config's own.
        amp: Whether it trains in mixed precision.
        seed: Random seed.
        key: Hash of everything in the resolved config, seed included, that decides what the
            training does.
    """

    config: str
    method: str | None
    options: tuple[str, ...]
    data_root: str | None
    amp: bool
    seed: int
    key: str


@dataclass(frozen=True)
class Request:
    """A row that a user asks for: a config, a method and options, under a name.

    Args:
        name: In the tables, and of the folder.
        config: Path of the config.
        method: As for `--method`; None leaves the config as it is.
        options: What overrides entries of the config before that, each `KEY=VALUE`.
    """

    name: str
    config: str
    method: str | None = None
    options: tuple[str, ...] = ()


@dataclass
class Variant:
    """A row of a comparison, with its resolved config.

    Args:
        request: What was asked for.
        cfg: The resolved config, the method applied.
        forms: Its settings as it trains, and as they are compared with those of other rows.
        data_root: Where the data of all data sets lie; None leaves the config's own.
        amp: Whether it trains in mixed precision.
    """

    request: Request
    cfg: Config
    forms: Forms
    data_root: str | None = None
    amp: bool = False

    @property
    def name(self) -> str:
        return self.request.name

    def settings(self, seed: int) -> dict[str, Any]:
        """Everything that decides what a run does."""
        return {**self.forms.trained, 'randomness.seed': seed}

    def settings_as_dumped(self, seed: int) -> dict[str, Any]:
        """The same, as reading the config that the run dumps into its folder gives it."""
        return {**self._as_dumped, 'randomness.seed': seed}

    @cached_property
    def _as_dumped(self) -> dict[str, Any]:
        return flat_settings(Config.fromstring(self.cfg.pretty_text, '.py'))

    @cached_property
    def portable_key(self) -> str:
        """Key of what a run does, the same on every machine and for every seed."""
        return portable_key(self.forms.trained)

    @cached_property
    def portable_base(self) -> str:
        """The same with every method undone; with the one on the command line if none can be."""
        return portable_key(self.forms.plain if self.forms.hard is None else self.forms.hard)

    def run(self, seed: int) -> RunSpec:
        """Specify the run with a seed."""
        asked, key = self.request, settings_key(self.settings(seed))
        return RunSpec(
            asked.config, asked.method, asked.options, self.data_root, self.amp, seed, key
        )

    @property
    def needs(self) -> NeededRun | None:
        """The run that has to be finished before, unless the method names its checkpoint."""
        return needed_run(self.request.method)

    @property
    def by_epoch(self) -> bool:
        return 'max_epochs' in self.cfg.train_cfg

    @property
    def length(self) -> int:
        """Epochs, or iterations in an iteration-based loop."""
        return self.cfg.train_cfg['max_epochs' if self.by_epoch else 'max_iters']

    @property
    def val_interval(self) -> int:
        """Epochs, or iterations, between two validations."""
        return val_interval_of(self.cfg.train_cfg)

    @property
    def paper_figures(self) -> list[dict[str, Any]]:
        """The paper's figures, as long as the options leave the config what the paper's is.

        They are those of the config's `paper_cell`, or its own `paper_result` where it has one and
        no method was added to it.
        """
        keys = [option.partition('=')[0] for option in self.request.options]
        if any(key.rpartition('.')[2] not in NEUTRAL_OPTIONS for key in keys):
            return []
        written, cell = self.cfg.get('paper_result'), self.cfg.get('paper_cell')
        if written and self.request.method is None:
            return [written] if isinstance(written, dict) else list(written)
        return figures(cell, self.request.method) if cell else []

    @property
    def validates_on_the_test_set(self) -> bool:
        """Whether validations see the same data, with the same metrics, as the test does."""
        return validates_on_the_test_set(self.cfg)

    @cached_property
    def validates_as_it_tests(self) -> bool:
        """Whether the validation after the last epoch already is the test."""
        return self.validates_on_the_test_set and not hooks_of_tests(self.cfg)


def read_variants(
    requests: Sequence[Request], data_root: str | None = None, amp: bool = False
) -> list[Variant]:
    """Resolve the configs of all rows.

    Args:
        requests: The rows.
        data_root: Where the data of all data sets lie; None leaves the configs' own.
        amp: Whether to train in mixed precision.

    Raises:
        ValueError: A name, a method or an option cannot be used, or a name comes twice.
    """
    counts = Counter(request.name for request in requests)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            f'Each row needs a name of its own, but {", ".join(repeated)} comes twice: ask for '
            'it once, or name a config differently with --variant NAME CONFIG.'
        )
    variants = []
    bases: dict[Any, Config] = {}  # which the methods of a config share
    undone: dict[Any, tuple[dict, dict | None]] = {}
    for request in requests:
        _check_request(request)
        base = (request.config, request.options)
        if base not in bases:
            bases[base] = read_unfinished(request.config, request.options, data_root)
        cfg = finish_config(deepcopy(bases[base]), request.config, request.method)
        train_cfg = cfg.get('train_cfg') or {}
        if not (train_cfg.get('max_epochs') or train_cfg.get('max_iters')):
            raise ValueError(f'{request.config} needs train_cfg with max_epochs or max_iters.')
        if base not in undone:
            plain = finish_config(deepcopy(bases[base]), request.config)
            undone[base] = _without_method(plain, amp)
        if amp:
            use_amp(cfg)
        forms = Forms(flat_settings(cfg), *undone[base])
        variants.append(Variant(request, cfg, forms, data_root, amp))
    return variants


def needed_run(method: str | None) -> NeededRun | None:
    """The run that a method needs, unless it names that run's checkpoint.

    Raises:
        ValueError: There is no such method, or it has no such option.
    """
    for name, given in parse_method(method).parts if method else ():
        needs = METHODS[name].needs
        if needs is not None and needs.option not in given:
            return needs
    return None


def with_checkpoint(method: str, needs: NeededRun, checkpoint: str) -> str:
    """A method with the checkpoint of the run that it needs as an option."""
    parts = [
        (name, {**given, needs.option: checkpoint} if METHODS[name].needs == needs else given)
        for name, given in parse_method(method).parts
    ]
    return MethodSpec(tuple(parts)).text


def _check_request(request: Request) -> None:
    if not re.fullmatch(r'[\w+-][\w.+=-]*', request.name):
        raise ValueError(
            'The name of a row names its folder, so it may hold letters, digits and . _ + - = '
            f'only, but got {request.name!r}: rename it with --variant NAME CONFIG.'
        )
    for option in request.options:
        key, equals, _ = option.partition('=')
        if not key or not equals:
            raise ValueError(f'Options of {request.name} must be KEY=VALUE, but got {option!r}.')
        if key == 'randomness.seed':
            raise ValueError(f'Name the seeds with --seeds, not with {option!r} ({request.name}).')


def _without_method(cfg: Config, amp: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The settings of a config as it is, and with every method undone.

    The latter is None where a head is not known, so that nothing tells what belongs to a method.
    Mixed precision is no part of a method, so that both have it.
    """
    try:
        hard = hard_form(cfg)  # in silence: it trains nothing
    except ValueError:
        hard = None
    for form in (cfg, hard):
        if amp and form is not None:
            use_amp(form)
    return flat_settings(cfg), None if hard is None else flat_settings(hard)
