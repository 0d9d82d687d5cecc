"""Everything in a config that decides what its training does, as flat keys, and how two differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from mmdet_ols.config_tree import REQUIRED, constructor_default, package_of

#: Stands for a config entry that is not there.
ABSENT = '(absent)'
#: Config entries beyond the Runner's own arguments that change what a training does.
MORE_KEYS = (
    'activation_checkpointing', 'channels_last', 'compile', 'efficient_conv_bn_eval',
    'find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'strategy', 'sync_bn',
    'tta_model', 'tta_pipeline',
)  # fmt: skip
#: What names a run or says where it goes.
NAMES = ('cfg', 'experiment_name', 'launcher', 'resume', 'work_dir')
#: Entries of a data loader that only make it faster.
SPEED_ENTRIES = ('persistent_workers', 'pin_memory')
#: What MMEngine takes where a loader names no `collate_fn`; some dumps write it out.
DEFAULT_COLLATE = {'type': 'pseudo_collate'}

Settings = Mapping[str, Any]
Differences = dict[str, tuple[Any, Any]]


def flat_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten everything in a config that decides what its training does into dotted keys.

    Helper variables of the config file, which nothing reads once it is parsed, are left out, and
    so are names and places. Lists and tuples count as the same: MMEngine's dumps mix them.
    """
    from inspect import signature

    from mmengine.runner import Runner

    used = {*signature(Runner.__init__).parameters, *MORE_KEYS} - {'self', *NAMES}
    flat: dict[str, Any] = {}

    def walk(key: str, node: Any) -> None:
        if isinstance(node, Mapping) and node:
            for name, child in node.items():
                if not (key.endswith('_dataloader') and _says_nothing(name, child)):
                    walk(f'{key}.{name}', child)
        elif isinstance(node, (list, tuple)) and node:
            for index, child in enumerate(node):
                walk(f'{key}.{index}', child)
        elif isinstance(node, (set, frozenset)):  # in an order that differs between processes
            flat[key] = sorted(node, key=repr)
        elif callable(node):
            flat[key] = f'{node.__module__}.{node.__name__}'
        else:
            flat[key] = [] if node == () else node

    for key in sorted(used & set(cfg)):
        if cfg[key] not in (None, {}, []):
            walk(key, cfg[key])
    return flat


def _says_nothing(name: str, value: Any) -> bool:
    return name in SPEED_ENTRIES or (name == 'collate_fn' and value == DEFAULT_COLLATE)


def settings_key(settings: Settings) -> str:
    """Hash settings into a short key: equal if, and only if, the trainings are the same."""
    text = json.dumps(settings, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(a: Settings, b: Settings) -> Differences:
    """The keys whose values differ, with both values."""
    return {
        key: (a.get(key, ABSENT), b.get(key, ABSENT))
        for key in sorted({*a, *b})
        if a.get(key, ABSENT) != b.get(key, ABSENT)
    }


def is_default(key: str, value: Any, settings: Settings) -> bool:
    """Whether an argument of a class of ours says what its absence would say.

    Methods write out every option of a loss: a run stays the same when the loss gets a new one.
    """
    from mmengine.registry import MODELS

    import mmdet_ols

    parent, _, name = key.rpartition('.')
    kind = str(settings.get(f'{parent}.type', '')).rpartition('.')[2]
    cls = getattr(mmdet_ols, kind, None) or MODELS.module_dict.get(kind)  # which ours alone are in
    if package_of(cls) != 'mmdet_ols':
        return False
    if not isinstance(cls, type) or name == 'type':
        return False
    default = constructor_default(cls, name)
    return default is not REQUIRED and type(value) is type(default) and value == default


def is_below(key: str, names: Iterable[str]) -> bool:
    """Whether a dotted key is one of these, or lies inside one of them."""
    return any(key == name or key.startswith(f'{name}.') for name in names)


def describe(differing: Differences, first: str, second: str) -> str:
    """Write differences as lines of text, the first eight at most."""
    lines = [
        f'  {key}: {short(a)} ({first}), {short(b)} ({second})' for key, (a, b) in differing.items()
    ]
    more = [f'  and {len(lines) - 8} more'] if len(lines) > 8 else []
    return '\n'.join([*lines[:8], *more])


def short(value: Any) -> str:
    """A value as it stands in a config, cut to 60 letters."""
    text = value if value is ABSENT else repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
