"""Walking through data sets that wrap other data sets.

A wrapper (ConcatDataset, RepeatDataset, ClassBalancedDataset, MultiImageMixDataset, KFoldDataset,
InMemoryDataset, TwoViewDataset, NoisyLabelDataset, LabelFileDataset, CleanPartDataset,
NumberedDataset, BalancedSubset and any other of their kind) keeps what it wraps under `dataset` or
`datasets`: as entries of its config and, once it is built, as attributes. The functions below take
configs as well as built data sets, so that no other module has to know wrappers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from mmdet_ols.config_tree import is_a, type_name

SPLITS = ('train', 'val', 'test')
#: Where a wrapper keeps what it wraps.
INNER_KEYS = ('datasets', 'dataset')
#: Its images have passed their pipeline already; what it does to batches is its own business.
IN_MEMORY = 'InMemoryDataset'
NOISY = 'NoisyLabelDataset'
LABEL_FILE = 'LabelFileDataset'
CLEAN_PART = 'CleanPartDataset'
#: Mixes several images into one, by transforms of its own.
MIXING = 'MultiImageMixDataset'
#: Gives each sample a number of its own.
NUMBERED = 'NumberedDataset'
#: Gives each image of a batch twice, each time with another augmentation.
TWO_VIEWS = 'TwoViewDataset'
#: Wrappers that give every sample of what they wrap, with its label: once, several times or mixed.
GIVING_ALL = (
    *('ConcatDataset', 'RepeatDataset', 'ClassBalancedDataset'),
    *(MIXING, TWO_VIEWS, IN_MEMORY, NUMBERED),
)
#: Wrappers that give the samples other labels.
RELABELLING = (NOISY, LABEL_FILE)


def walk_datasets(dataset: Any, whole: tuple[str, ...] = ()) -> Iterator[Any]:
    """Every data set of a tree: wrappers first, then what they wrap, in order.

    Args:
        dataset: A config, a built data set, or a list of either.
        whole: Types of wrappers whose inside is not walked through.
    """
    if isinstance(dataset, (list, tuple)):
        for item in dataset:
            yield from walk_datasets(item, whole)
    elif dataset is not None and dataset != {}:
        yield dataset
        if not _is_one_of(dataset, whole):
            yield from walk_datasets(inner_datasets(dataset), whole)


def leaf_datasets(dataset: Any, whole: tuple[str, ...] = ()) -> Iterator[Any]:
    """The data sets of a tree that wrap no other one.

    Args:
        dataset: A config, a built data set, or a list of either.
        whole: Types of wrappers that count as leaves, together with what is inside.
    """
    for node in walk_datasets(dataset, whole):
        if _is_one_of(node, whole) or not inner_datasets(node):
            yield node


def sources_of_samples(dataset: Any) -> Iterator[Any]:
    """The parts of a tree that give each of its samples once, with the labels that are learned.

    Those are the data sets that wrap no other one, and, with all that is inside, the wrappers that
    select samples or change labels, such as KFoldDataset. A wrapper that is not known counts as one
    of these.

    Args:
        dataset: A config, a built data set, or a list of either.
    """
    for node in dataset if isinstance(dataset, (list, tuple)) else [dataset]:
        if node and gives_all(node):
            yield from sources_of_samples(inner_datasets(node))
        elif node:
            yield node


def gives_all(dataset: Any) -> bool:
    """Whether a data set, or its config, wraps others and gives every sample of them."""
    return bool(inner_datasets(dataset)) and _is_one_of(dataset, GIVING_ALL)


def datasets_of_config(
    cfg: Mapping[str, Any], splits: Sequence[str] = SPLITS
) -> Iterator[tuple[str, Any]]:
    """The split and the config of every data set of a run that wraps no other one."""
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        for dataset in leaf_datasets(loader.get('dataset') or {}):
            yield split, dataset


def map_datasets(dataset: Any, change: Callable[[Any], Any], whole: tuple[str, ...] = ()) -> Any:
    """Copy a tree of data sets, with every one of them changed; the original stays as it is.

    Args:
        dataset: A config, a built data set, or a list of either.
        change: Gets a shallow copy of each data set, in which those that it wraps have been changed
            before, and returns what is to stand there.
        whole: Types of wrappers whose inside is left as it is, and shared with the original.
    """
    if isinstance(dataset, (list, tuple)):
        return [map_datasets(item, change, whole) for item in dataset]
    node = copy.copy(dataset)
    key = None if _is_one_of(node, whole) else _inner_key(node)
    if key is not None:
        inner = map_datasets(_entries(node)[key], change, whole)
        if isinstance(node, dict):
            node[key] = inner
        else:
            setattr(node, key, inner)
    return change(node)


def inner_datasets(dataset: Any) -> list[Any]:
    """What a data set wraps, in order; an empty list if it wraps no other one."""
    key = _inner_key(dataset)
    inner = [] if key is None else _entries(dataset)[key]
    return list(inner) if isinstance(inner, (list, tuple)) else [inner]


def passes_over_samples(dataset: Any) -> int:
    """How often each sample comes in one pass over a tree, at most; RepeatDataset repeats.

    Args:
        dataset: A config or a built data set, or None.
    """
    passes = max(map(passes_over_samples, inner_datasets(dataset)), default=1)
    if _is_one_of(dataset, ('RepeatDataset',)):
        passes *= _entries(dataset).get('times', 1)
    return passes


def unaugmented_config(
    dataset: dict[str, Any], pipeline: Sequence[Any], seed: int | None = None
) -> dict[str, Any]:
    """A data set's config whose images pass this pipeline and no other augmentation.

    Wrappers that select samples or change their labels stay: a network learned from that.

    Args:
        dataset: The config.
        pipeline: Transforms, in place of those of every innermost data set.
        seed: Seed of the run, by which `NoisyLabelDataset` drew the wrong labels, and
            `CleanPartDataset` the clean samples, if they have none of their own.

    Raises:
        ValueError: The seed is needed and not known.
    """

    def change(node: Any) -> Any:
        node.pop('batch_transforms', None)
        kind = type_name(node)
        if kind in (NOISY, CLEAN_PART) and node.get('seed') is None:
            if seed is None and (kind == CLEAN_PART or node['rate']):
                drawn = f'labels {kind} made wrong' if kind == NOISY else f'samples {kind} held out'
                raise ValueError(
                    f'Which {drawn} is not known, since the config names no '
                    'randomness.seed: give that of the run, --cfg-options randomness.seed=N.'
                )
            node['seed'] = seed
        if kind in (MIXING, TWO_VIEWS):
            return node['dataset']
        if not inner_datasets(node):
            node['pipeline'] = pipeline
        return node

    return copy.deepcopy(map_datasets(dataset, change))


def unaugmented_dataset(dataset: Any, pipeline: Any) -> Any:
    """A copy of a built data set that shares its images and labels, but augments nothing.

    Args:
        dataset: The data set; it stays as it is.
        pipeline: What takes the place of the pipeline of every innermost data set. Images that lie
            in memory (`InMemoryDataset`) have passed theirs.
    """

    def change(node: Any) -> Any:
        if is_a(type(node), TWO_VIEWS):
            return node.dataset
        if is_a(type(node), IN_MEMORY):
            node.batch_transforms = []
        elif 'pipeline' in vars(node) and not inner_datasets(node):
            node.pipeline = pipeline
        return node

    return map_datasets(dataset, change, whole=(IN_MEMORY,))


def _is_one_of(dataset: Any, names: tuple[str, ...]) -> bool:
    if isinstance(dataset, dict):
        return type_name(dataset) in names
    return any(is_a(type(dataset), name) for name in names)


def _inner_key(dataset: Any) -> str | None:
    entries = _entries(dataset)
    return next((key for key in INNER_KEYS if _holds_datasets(entries.get(key))), None)


def _entries(dataset: Any) -> dict[str, Any]:
    # Attributes of its own: our wrappers answer with those of the data set inside, too.
    return dataset if isinstance(dataset, dict) else getattr(dataset, '__dict__', {})


def _holds_datasets(value: Any) -> bool:
    """Whether an entry is a data set or a list of them, and not the name of one, for example."""
    if isinstance(value, (list, tuple)):
        return any(_holds_datasets(item) for item in value)
    if isinstance(value, dict):
        return bool(value)
    return hasattr(value, '__getitem__') and not isinstance(value, str)
