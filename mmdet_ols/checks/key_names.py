"""Why the keys of a file of weights are not those of a network, and what to do about it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

#: A prefix is the remedy if it makes this share of the network's keys known.
MOST = 0.5


class Naming(NamedTuple):
    """How one library names the layers of one kind of network."""

    library: str
    network: str
    #: Matches a key that has this form and no other.
    pattern: re.Pattern[str]


NAMINGS = [
    Naming(library, network, re.compile(pattern))
    for library, network, pattern in (
        ('MMDetection', 'MobileNetV2', r'layer\d\.\d+\.(expand|depthwise|linear)_conv\.'),
        ('MMPretrain', 'MobileNetV2', r'layer\d\.\d+\.conv\.\d\.(conv|bn)\.'),
        ('torchvision', 'MobileNetV2', r'features\.\d+\.conv\.\d'),
        ('timm', 'MobileNetV2', r'blocks\.\d+\.\d+\.(conv_pw|conv_dw|conv_pwl)\.'),
        ('MMDetection, MMPretrain and torchvision', 'ResNet', r'layer\d\.\d+\.conv[123]\.weight'),
        ('Detectron2', 'ResNet', r'res\d\.\d+\.(conv\d|shortcut)\.'),
        ('Caffe2', 'ResNet', r'res\d_\d+_branch\d'),
        ('Transformers', 'ResNet', r'encoder\.stages\.\d\.layers\.\d+\.layer\.\d'),
        ('MMPretrain', 'VisionTransformer', r'(?<!stages\.\d\.)layers\.\d+\.attn\.qkv'),
        ('timm', 'VisionTransformer', r'(?<!layers\.\d\.)(?<!stages\.\d\.)blocks\.\d+\.attn\.qkv'),
        ('Transformers', 'VisionTransformer', r'encoder\.layer\.\d+\.attention\.attention\.'),
        ('MMDetection and MMPretrain', 'SwinTransformer', r'stages\.\d\.blocks\.\d+\.attn\.w_msa'),
        ("the authors' release", 'SwinTransformer', r'layers\.\d\.blocks\.\d+\.attn\.'),
    )
]


def recognise(keys: Iterable[str]) -> Naming | None:
    """The library and network that most of these keys are named by, if it is a known one."""
    counts = Counter(naming for key in keys for naming in NAMINGS if naming.pattern.search(key))
    return counts.most_common(1)[0][0] if counts else None


def better_prefix(model_keys: Collection[str], file_keys: Collection[str]) -> str | None:
    """The prefix without which most of a network's keys stand in a file; '' if they do as they are.

    None if no prefix makes them known.
    """
    model = set(model_keys)
    counts: Counter[str] = Counter()
    for key in file_keys:
        start = -1
        for _ in range(4):
            counts[key[: start + 1]] += key[start + 1 :] in model
            start = key.find('.', start + 1)
            if start < 0:
                break
    prefix, count = max(counts.items(), key=lambda item: item[1], default=('', 0))
    return prefix if count >= max(MOST * len(model), 1) else None


def explain(
    model_keys: Collection[str],
    file_keys: Collection[str],
    used_prefix: str | None,
    prefix_remedy: Callable[[str], str],
) -> str:
    """Say in sentences why a file's keys are not a network's, and what to do.

    Args:
        model_keys: Of the network, as it looks them up.
        file_keys: Of the file, as they stand there.
        used_prefix: What was taken off the file's keys.
        prefix_remedy: Says how to take another prefix off, or none ('').
    """
    used = with_dot(used_prefix)
    cut = [key.removeprefix(used) for key in file_keys if key.startswith(used)]
    theirs_only = set(cut) - set(model_keys) if cut else set(file_keys)
    examples = (
        f'The file has {_two(theirs_only)}, where the network has '
        f'{_two(set(model_keys) - set(cut))}.'
    )
    prefix = better_prefix(model_keys, file_keys)
    if prefix is not None and prefix != used:
        return f'{examples} {prefix_remedy(prefix)}'
    theirs, ours = recognise(file_keys), recognise(model_keys)
    if theirs and ours and theirs != ours:
        return f'{examples} {_other_library(theirs, ours)}'
    return (
        f'{examples} Take the file that belongs to this network of this library, or the network '
        'that belongs to the file.'
    )


def _other_library(theirs: Naming, ours: Naming) -> str:
    sentence = (
        f'The file is named as {theirs.library} names its {theirs.network}, and the network is a '
        f'{ours.network} as {ours.library} names it.'
    )
    if theirs.network != ours.network:
        return f'{sentence} Take weights of a {ours.network}.'
    sentence += f' Take the file of {ours.library}'
    if theirs.library == 'MMPretrain':
        sentence += (
            f", or the backbone that belongs to the file: type='mmpretrain.{theirs.network}', with "
            "custom_imports=dict(imports=['mmpretrain.models'])"
        )
    return f'{sentence}.'


def with_dot(prefix: str | None) -> str:
    """A prefix as it stands in front of keys; '' for none."""
    if not prefix:
        return ''
    return prefix if prefix.endswith('.') else f'{prefix}.'


def _two(keys: Iterable[str]) -> str:
    """Two examples: weights, from the middle, since the first layers often agree."""
    keys = sorted(keys)
    keys = [key for key in keys if key.endswith('weight')] or keys
    middle = keys[len(keys) // 2 :][:2]
    return ' and '.join(middle) or 'no other keys'
