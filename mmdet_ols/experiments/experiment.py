"""Methods (configs with options) times seeds: what is asked for, and what each run needs next."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS, DefaultScope
from mmengine.utils import is_method_overridden

from mmdet_ols.checks.data import check_datasets, fetch_datasets
from mmdet_ols.checks.losses import check_losses
from mmdet_ols.checks.pretrained import check_pretrained
from mmdet_ols.engine.run_config import read_config, use_amp
from mmdet_ols.experiments.comparison import (
    Comparison,
    Sweep,
    check_comparable,
    check_same_config,
    flat_settings,
    headline_metrics,
)
from mmdet_ols.results.run_folder import Run, read_run

#: How each start of a run was made, one line of JSON each, in this file of its folder.
RECORD = 'compare.jsonl'
#: Options that say where things lie or how fast they are read, and leave the results as they are.
NEUTRAL_OPTIONS = ('data_root', 'num_workers', 'persistent_workers', 'pin_memory', 'work_dir')


@dataclass
class Method:
    """One row of the table.

    Args:
        name: In the table, and of the folder.
        path: Of the config.
        options: What overrides its entries, each `KEY=VALUE`.
        cfg: The resolved config.
    """

    name: str
    path: str
    options: list[str]
    cfg: Config

    @cached_property
    def settings(self) -> dict[str, Any]:
        """As a training dumps them, so that both can be compared."""
        return flat_settings(Config.fromstring(self.cfg.pretty_text, '.py'))

    def settings_with(self, seed: int) -> dict[str, Any]:
        return {**self.settings, 'randomness.seed': seed}

    @property
    def by_epoch(self) -> bool:
        return 'max_epochs' in self.cfg.train_cfg

    @property
    def length(self) -> int:
        """Epochs, or iterations in an iteration-based loop."""
        return self.cfg.train_cfg['max_epochs' if self.by_epoch else 'max_iters']

    @property
    def paper_result(self) -> list[dict[str, Any]]:
        """The paper's figures, as long as the options leave the config what the paper's is."""
        keys = [option.partition('=')[0] for option in self.options]
        if any(key.rpartition('.')[2] not in NEUTRAL_OPTIONS for key in keys):
            return []
        found = self.cfg.get('paper_result') or []
        return [found] if isinstance(found, dict) else list(found)

    @property
    def validates_on_the_test_set(self) -> bool:
        """Whether validations see the same data, with the same metrics, as the test does."""
        parts = ('dataloader', 'evaluator')
        return all(self.cfg.get(f'val_{part}') == self.cfg.get(f'test_{part}') for part in parts)

    @cached_property
    def validates_as_it_tests(self) -> bool:
        """Whether the validation after the last epoch already is the test."""
        return self.validates_on_the_test_set and not _hooks_of_tests(self.cfg)


def read_methods(
    asked: Sequence[tuple[str, str, Sequence[str]]], amp: bool = False, trust: bool = False
) -> list[Method]:
    """Resolve configs.

    Args:
        asked: Name, path of the config and options (`KEY=VALUE`) of each method.
        amp: Whether to train in mixed precision.
        trust: Whether to load checkpoints that hold more than data.

    Raises:
        ValueError: A name or an option cannot be used, or a name comes twice.
    """
    methods = []
    for name, path, options in asked:
        if not re.fullmatch(r'[\w+-][\w.+=-]*', name):
            raise ValueError(
                f'The name of a method names its folder, so it takes letters, digits and . _ + - = '
                f'alone, but got {name!r}: name it with --variant NAME CONFIG.'
            )
        for option in options:
            key, equals, _ = option.partition('=')
            if not key or not equals:
                raise ValueError(f'Options of {name} must be KEY=VALUE, but got {option!r}.')
            if key == 'randomness.seed':
                raise ValueError(f'Name the seeds with --seeds, not with {option!r} ({name}).')
        cfg = read_config(path, options=options)
        train_cfg = cfg.get('train_cfg') or {}
        if not (train_cfg.get('max_epochs') or train_cfg.get('max_iters')):
            raise ValueError(f'{path} needs train_cfg with max_epochs or max_iters.')
        if amp:
            use_amp(cfg)
        methods.append(Method(name, path, list(options), cfg))
    twice = [name for name, count in Counter(m.name for m in methods).items() if count > 1]
    if twice:
        raise ValueError(
            f'Each method needs a name of its own, but {", ".join(twice)} comes twice: give one '
            'another with --variant NAME CONFIG.'
        )
    return methods


class Experiment:
    """Every method with every seed, in `work_dir/<method>/seed_<n>`.

    Args:
        methods: The others are compared with the first.
        seeds: Random seeds.
        work_dir: Where all runs go.
        tools: The folder of train.py and test.py.
        allowed: Config keys in which methods may differ beside the loss.
        tta: Whether to test with test-time augmentation.
        metric: Key of the metric to put first; the hosts' main one by default.
        train_options: More arguments for train.py.
        common_options: More arguments for train.py and test.py.
        sweep: Which methods are values of one option.

    Raises:
        ValueError: The methods differ in more than the loss.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        seeds: Sequence[int],
        work_dir: str | Path,
        tools: str | Path,
        allowed: Sequence[str] = (),
        tta: bool = False,
        metric: str | None = None,
        train_options: Sequence[str] = (),
        common_options: Sequence[str] = (),
        sweep: Sweep | None = None,
    ) -> None:
        self.methods, self.tools = list(methods), Path(tools)
        self.tta, self.metric, self.sweep = tta, metric, sweep
        self.train_options, self.common_options = list(train_options), list(common_options)
        self.differs = check_comparable({m.name: m.settings for m in methods}, allowed)
        #: Seed by seed, so that a first comparison is there early.
        self.runs: dict[Path, tuple[Method, int]] = {
            Path(work_dir, method.name, f'seed_{seed}'): (method, seed)
            for seed in seeds
            for method in methods
        }

    @property
    def folders(self) -> list[Path]:
        return list(self.runs)

    def check(self) -> None:
        """Find what would stop a run, before hours are spent on the others.

        Raises:
            ValueError: A run was made with another config, a model cannot be built, or a data set
                is wrong.
        """
        for folder, (method, seed) in self.runs.items():
            check_same_config(folder, method.settings_with(seed))
        looked_at: list[Any] = []
        for method in self.methods:
            cfg = method.cfg
            try:
                _check_scalars(cfg)
                _hooks_of_tests(cfg)
                check_losses(cfg)
                _check_model(cfg)
                data = [cfg.get(f'{split}_dataloader') for split in ('train', 'val', 'test')]
                if data not in looked_at:  # mostly the same for all methods
                    looked_at.append(data)
                    check_datasets(cfg)
                    fetch_datasets(cfg)  # once here, rather than in several runs at a time
                check_pretrained(cfg)
            except (ValueError, TypeError, OSError, ImportError) as error:
                raise ValueError(f'{method.name}: {error}') from error

    def label(self, folder: Path) -> str:
        method, seed = self.runs[folder]
        return f'{method.name} seed {seed}'

    def read(self, folder: Path) -> Run:
        method, _ = self.runs[folder]
        run = read_run(
            folder,
            method.length,
            method.by_epoch,
            self._test_folder(folder),
            needs_test=self.tta or not method.validates_as_it_tests,
        )
        if run.last_checkpoint and not run.last_checkpoint.exists():
            run.last_checkpoint = None  # removed, though MMEngine's pointer still names it
        return run

    def newest(self, run: Run) -> str:
        """The newest value of the main metric, as text."""
        values = run.final or (run.validations[max(run.validations)] if run.validations else {})
        if not values:
            return ''
        metric = headline_metrics(values, self.metric if self.metric in values else None)[0]
        return f'{metric.title} {metric.shown(values[metric.key]):.2f}'

    def next_command(self, folder: Path) -> list[str] | None:
        """What a run needs next: to be trained, resumed or tested; None if it is finished.

        Raises:
            ValueError: It has to be tested, but the checkpoint of its last epoch is not there.
        """
        run, (method, seed) = self.read(folder), self.runs[folder]
        if run.final:
            return None
        if run.trained:
            if not run.saved_at_end:
                name = run.last_checkpoint.name if run.last_checkpoint else 'none'
                raise ValueError(
                    f'it cannot be tested, since the checkpoint of its last epoch or iteration '
                    f'({run.length}) is not in {folder}; the newest there: {name}. Let the config '
                    'save it (default_hooks.checkpoint.save_last=True, or an interval that divides '
                    f'{run.length}), and remove {folder} to train anew.'
                )
            words = ['test.py', method.path, str(run.last_checkpoint)]
            words += ['--work-dir', str(self._test_folder(folder)), *['--tta'] * self.tta]
        else:
            words = ['train.py', method.path, '--work-dir', str(folder), *self.train_options]
            # Only where there is something to resume: it makes MMEngine forget `load_from`.
            words += ['--resume'] * (run.last_checkpoint is not None)
        words += [*self.common_options, '--cfg-options', *method.options, f'randomness.seed={seed}']
        return [sys.executable, str(self.tools / words[0]), *words[1:]]

    def comparison(self, failed: Mapping[Path, str]) -> Comparison:
        """What the runs have reached so far."""
        by_method = sorted(self.runs, key=lambda folder: self.methods.index(self.runs[folder][0]))
        named = {folder: (method.name, seed) for folder, (method, seed) in self.runs.items()}
        return Comparison(
            runs={named[folder]: self.read(folder) for folder in by_method},
            paper={m.name: m.paper_result for m in self.methods if m.paper_result},
            best_is_of_test=not self.tta
            and all(method.validates_on_the_test_set for method in self.methods),
            differs=self.differs,
            failed={named[folder]: why for folder, why in failed.items()},
            primary=self.metric,
            tta=self.tta,
            made={named[folder]: _read_record(folder) for folder in by_method},
            sweep=self.sweep,
        )

    def record(self, folder: Path, facts: Mapping[str, str]) -> None:
        """Note down how a start of a run was made."""
        with (folder / RECORD).open('a', encoding='utf-8') as file:
            file.write(json.dumps(facts) + '\n')

    def _test_folder(self, folder: Path) -> Path:
        return folder / ('test_tta' if self.tta else 'test')


def _read_record(folder: Path) -> list[dict[str, str]]:
    path, facts = folder / RECORD, []
    for line in path.read_text(encoding='utf-8').splitlines() if path.is_file() else []:
        try:
            facts.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # cut short by the end of the process
    return facts


def machine() -> str:
    """The GPUs of this machine, or its processor."""
    if torch.cuda.is_available():
        names = Counter(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return ', '.join(f'{count} x {name}' for name, count in names.items())
    cpuinfo = Path('/proc/cpuinfo')
    text = cpuinfo.read_text() if cpuinfo.is_file() else ''
    models = re.findall(r'^model name\s*: (.+)', text, re.M)
    return f'{models[0] if models else platform.processor()}, {cores()} cores'


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def versions() -> str:
    """Of everything that has a say in the result, with our own git commit if there is one."""
    import mmcv
    import mmengine

    import mmdet_ols

    hosts = [sys.modules[name] for name in ('mmdet', 'mmpretrain') if name in sys.modules]
    root = str(Path(mmdet_ols.__file__).parents[1])
    git = ['git', '-C', root, 'describe', '--always', '--dirty', '--exclude=*']
    try:
        done = subprocess.run(git, capture_output=True, text=True)
        commit = f' (git {done.stdout.strip()})' if done.returncode == 0 else ''
    except OSError:
        commit = ''
    modules = [torch, mmengine, mmcv, *hosts]
    named = [
        f'Python {platform.python_version()}',
        *(f'{m.__name__} {m.__version__}' for m in modules),
    ]
    return ', '.join([*named, f'mmdet_ols {mmdet_ols.__version__}{commit}'])


def _hooks_of_tests(cfg: Config) -> list[str]:
    """The hooks that do something in tests which they do not do in validations.

    Raises:
        ValueError: A hook is not known.
    """
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    found = []
    with HOOKS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        for hook in filter(None, hooks):
            name = hook['type']
            kind = registry.get(name) if isinstance(name, str) else name
            if kind is None:
                raise ValueError(f'No hook is registered as {name!r}: correct its `type`.')
            # Not all hooks can be built without a Runner, but their stages mostly need none.
            own = is_method_overridden('get_triggered_stages', Hook, kind)
            asked = registry.build(hook) if own else kind
            stages = kind.get_triggered_stages(asked)
            if any('test' in s and s.replace('test', 'val') not in stages for s in stages):
                found.append(str(name))
    return found


def _check_scalars(cfg: Config) -> None:
    """Results are read from the files of LocalVisBackend, MMEngine's default."""
    backends = (cfg.get('visualizer') or {}).get('vis_backends')
    if backends and not any('LocalVisBackend' in str(backend.get('type')) for backend in backends):
        raise ValueError(
            "visualizer.vis_backends must hold dict(type='LocalVisBackend'), whose files hold the "
            f'results, but got {backends}.'
        )


def _check_model(cfg: Config) -> None:
    """Build the model once: a misspelt argument shows here, not when its turn has come."""
    try:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            MODELS.build(deepcopy(cfg.model))
    except Exception as error:  # whatever a model's code raises
        raise ValueError(f'the model cannot be built: {error}') from error
