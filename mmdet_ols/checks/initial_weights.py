"""How much a built model is going to take of its pretrained weights and of a checkpoint."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmdet_ols.checks.checkpoints import load_checkpoint
from mmdet_ols.checks.colour_order import colour_order_warning
from mmdet_ols.checks.key_names import explain, with_dot
from mmdet_ols.checks.matching import (
    WeightMatch,
    match_weights,
    recorded_loading,
    state_dict_of,
    without_memory,
)
from mmdet_ols.checks.option_names import option_names
from mmdet_ols.checks.pretrained import local_file, pretrained_inits, resolve
from mmdet_ols.checks.weight_report import WeightReport, WeightRow, percent, some_layers

#: A part that gets less of its parameters is not pretrained: its file has other names.
LEAST = 0.5


class Source(NamedTuple):
    """The pretrained weights of a part of a model."""

    path: str
    module: nn.Module
    checkpoint: str
    #: What is taken off the keys of the file.
    prefix: str | None

    @property
    def place(self) -> str:
        """Where the part stands in the config."""
        return f'model.{self.path}' if self.path else 'model'


def report_pretrained(
    report: WeightReport, model: nn.Module, given_later: Collection[str] = ()
) -> None:
    """Find out how much every part with `init_cfg=dict(type='Pretrained', ...)` takes.

    Args:
        report: Gets a row for each such part, and what is wrong.
        model: Built, and not initialised yet.
        given_later: Keys of the model that a checkpoint gives values to afterwards: there, what
            the pretrained weights lack does no harm.
    """
    for source in pretrained_parts(model):
        _report_source(report, source, set(given_later))
        warning = colour_order_warning(model, str(source.checkpoint), source.place)
        if warning:
            report.warnings.append(warning)
    for path, name in _parts_of_other_libraries(model):
        reason = 'not checked: another library loads it'
        report.rows.append(WeightRow.unknown(name, path or 'model', reason))


def report_checkpoint(
    report: WeightReport,
    model: nn.Module,
    match: WeightMatch,
    content: Mapping[str, Any],
    path: str | Path,
) -> None:
    """Find out how much of each part a new training takes from a checkpoint (`load_from`).

    Args:
        report: Gets a row for each part of the model, and what is wrong.
        model: Built.
        match: Of the model and the checkpoint.
        content: Of the checkpoint.
        path: Of the checkpoint.
    """
    parts = {name: match.part(name) for name, _ in model.named_children()}
    # Of semi-supervised detectors the heads are inside of a student and a teacher.
    other_classes = any(
        name.endswith('head') for key in match.mismatched for name in key.split('.')
    )
    if not match.loaded and 'backbone' not in parts:
        reason = _where_else(content) or explain(
            list(match.sizes),
            list(state_dict_of(content)),
            None,
            lambda prefix: f'Save the file without {prefix!r}, which MMEngine does not take off.',
        )
        report.errors.append(f'load_from={path} has not one tensor of the model. {reason}')
        return
    for name, part in parts.items():
        if not part.parameters:
            continue
        report.rows.append(WeightRow.of(str(path), name, part))
        if name == 'backbone' and part.share < LEAST:
            report.errors.append(
                f'load_from={path} gives model.backbone only {_amount(part)}; the rest would stay '
                f'random.{_other_shape(part)} {_explain_load_from(part, content, path)}'
            )
            continue
        if part.mismatched:
            _report_other_shapes(report, name, part, path, other_classes)
        absent = [key for key in part.lacking if key not in part.mismatched]
        if absent:
            report.warnings.append(
                f'load_from={path} has no values for {len(absent)} tensors of model.{name}, which '
                f'start at random: {some_layers(absent)}.'
            )


def report_whole(report: WeightReport, match: WeightMatch, path: str | Path, use: str) -> None:
    """Say how much of a model a checkpoint holds that is tested or resumed.

    Args:
        report: Gets a row, and what is wrong.
        match: Of the model and the checkpoint.
        path: Of the checkpoint.
        use: 'test' or 'resume'.
    """
    report.rows.append(WeightRow.of(str(path), 'whole model', match))
    sentence = f'The checkpoint {path} to {use} gives the model only {_amount(match)}'
    if match.share < LEAST:
        report.errors.append(
            f'{sentence}. Use the config that it was trained with (in its work directory).\n{match}'
        )
    elif match.lacking:
        layers = some_layers(match.lacking)
        report.warnings.append(f'{sentence}. These layers stay random: {layers}.')


def pretrained_parts(model: nn.Module) -> Iterator[Source]:
    """Every part of a built model that starts from pretrained weights, and its file."""
    for path, module in model.named_modules():
        inits = pretrained_inits(getattr(module, 'init_cfg', None))
        for init in inits:
            yield Source(path, module, init['checkpoint'], init.get('prefix'))
        # Some backbones, such as DetectoRS's, keep only the name of the file.
        own = getattr(module, 'pretrained', None)
        if isinstance(own, str) and not inits:
            yield Source(path, module, own, None)


def _report_source(report: WeightReport, source: Source, given_later: set[str]) -> None:
    part, name = source.path or 'model', str(source.checkpoint)
    file = local_file(resolve(name))
    if file is None or not file.is_file():
        reason = 'not checked: not on this machine'
        report.rows.append(WeightRow.unknown(name, part, reason))
        return
    content = load_checkpoint(file)
    try:
        match = _match(source, content)
    except (LookupError, AssertionError):  # such as the first key of none
        match = match_weights(source.module, {})
        given_later = set()  # this part stops the run, whatever comes later
    except Exception as error:  # its code may need tensors that hold values
        reason = f'not checked: {type(error).__name__} in its own loading code'
        report.rows.append(WeightRow.unknown(name, part, reason))
        return
    report.rows.append(WeightRow.of(name, part, match))
    prefix = with_dot(source.path)
    later = {key for key in match.sizes if prefix + key in given_later}
    absent = [key for key in match.lacking if key not in later]
    what = f"{source.place}.init_cfg: '{name}' gives {source.place} only {_amount(match)}"
    if absent and match.share_of(match.loaded | later) < LEAST:
        reason = f'{_other_shape(match)} {_explain_pretrained(source, match, content)}'
        report.errors.append(
            f'{what}; the rest would stay random.{reason} To start from random weights: '
            f'{option_names().entries} {source.place}.init_cfg=None'
        )
    elif absent:
        report.warnings.append(
            f'{what}. These layers start at random: {some_layers(absent)}.{_other_shape(match)}'
        )


def _match(source: Source, content: Mapping[str, Any]) -> WeightMatch:
    """What a part takes of its file, in the way in which it will be loaded."""
    if not _loads_by_itself(source.module):
        return match_weights(source.module, _without_prefix(content, source.prefix))
    twin = without_memory(source.module)
    with recorded_loading(twin) as match, torch.random.fork_rng(devices=[]):
        twin.init_weights()  # type: ignore[operator]
    return match


def _loads_by_itself(module: nn.Module) -> bool:
    """Whether a network reads its file by code of its own, as MMDetection's Swin and PVT do."""
    method = getattr(type(module), 'init_weights', None)
    try:
        code = inspect.getsource(method) if method else ''
    except (OSError, TypeError):  # no source at hand
        return False
    return 'BaseModule.' not in getattr(method, '__qualname__', '') and (
        'load_checkpoint(' in code or 'load_state_dict(' in code
    )


def _parts_of_other_libraries(model: nn.Module) -> Iterator[tuple[str, str]]:
    """(path, name) of the parts that timm or Transformers have loaded while they were built."""
    seen: list[str] = []
    for path, module in model.named_modules():
        if any(path.startswith(f'{parent}.') for parent in seen):
            continue
        name = getattr(module, 'name_or_path', None)  # of Transformers
        if getattr(module, 'is_init', False) and hasattr(module, 'timm_model'):
            name = f'timm ({type(module.timm_model).__name__})'
        if isinstance(name, str) and name:
            seen.append(path)
            yield path, name


def _without_prefix(content: Mapping[str, Any], prefix: str | None) -> dict[str, Any]:
    """The tensors of a file by the keys by which `PretrainedInit` looks them up."""
    if prefix is None:
        return state_dict_of(content)
    dotted = with_dot(prefix)
    tensors = {
        key.removeprefix(dotted): value
        for key, value in content.get('state_dict', content).items()
        if key.startswith(dotted)
    }
    assert tensors, f'no key begins with {dotted}'  # as MMEngine does
    return tensors


def _amount(match: WeightMatch) -> str:
    return (
        f'{len(match.loaded)} of {len(match.sizes)} tensors, {percent(match.share)} of its '
        'parameters'
    )


def _other_shape(match: WeightMatch) -> str:
    """An example of a tensor that has another shape, as a sentence after others; or ''."""
    if not match.mismatched:
        return ''
    key, (theirs, ours) = min(match.mismatched.items())
    return f' {key} is {theirs} in the file, {ours} in the model.'


def _report_other_shapes(
    report: WeightReport, name: str, part: WeightMatch, path: str | Path, other_classes: bool
) -> None:
    why = ', as for another number of classes,' if other_classes else ''
    sentence = (
        f'{len(part.mismatched)} tensors of model.{name} have another shape in {path}{why} and '
        f'start at random.{_other_shape(part)}'
    )
    (report.notes if other_classes else report.warnings).append(sentence)


def _explain_pretrained(source: Source, match: WeightMatch, content: Mapping[str, Any]) -> str:
    def remedy(prefix: str) -> str:
        if not prefix:
            return f'Leave `prefix` out of {source.place}.init_cfg: the keys of the file have none.'
        return f'Set prefix={prefix!r} in {source.place}.init_cfg.'

    return _where_else(content) or explain(
        list(match.sizes), _tensor_keys(content), source.prefix, remedy
    )


def _explain_load_from(backbone: WeightMatch, content: Mapping[str, Any], path: str | Path) -> str:
    def remedy(prefix: str) -> str:
        init = f"type='Pretrained', checkpoint={str(path)!r}"
        if prefix:
            init += f', prefix={prefix!r}'
        return f'Instead of load_from, set model.backbone.init_cfg=dict({init}).'

    keys = [key.partition('.')[2] for key in backbone.sizes]
    given = list(state_dict_of(content))
    return _where_else(content) or explain(keys, given, 'backbone.', remedy)


def _tensor_keys(content: Mapping[str, Any]) -> list[str]:
    state_dict = content.get('state_dict', content)
    return [key for key, value in state_dict.items() if isinstance(value, Tensor)]


def _where_else(content: Mapping[str, Any]) -> str:
    """Say where a file keeps its tensors if MMEngine does not look there."""
    if _tensor_keys(content):
        return ''
    for key, value in content.items():
        if isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values()):
            return (
                f'The file keeps its tensors under {key!r}, and MMEngine reads those under '
                f"'state_dict': save content[{key!r}] as dict(state_dict=...)."
            )
    return 'The file holds no tensors where MMEngine looks for them.'
