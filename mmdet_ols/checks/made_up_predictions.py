"""Trying metrics on predictions that a model of the config could make, without running it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS, MODELS
from mmengine.structures import InstanceData

from mmdet_ols.checks.folders import is_local
from mmdet_ols.checks.metric_annotations import check_ground_truth, check_images
from mmdet_ols.checks.option_names import option_names
from mmdet_ols.checks.silence import no_logging
from mmdet_ols.checks.survey.loaded import build_unloaded, load
from mmdet_ols.config_tree import is_a, is_users, model_config, registered_class, type_name
from mmdet_ols.datasets.tree import leaf_datasets
from mmdet_ols.methods.classification_losses import inspect_heads

#: The metrics whose predictions are made up here. All others are only built.
OF_CLASSIFIERS = (
    'Accuracy', 'SingleLabelMetric', 'ConfusionMatrix', 'MultiLabelMetric', 'AveragePrecision',
    'VOCMultiLabelMetric', 'VOCAveragePrecision', 'CalibrationError',
)  # fmt: skip
OF_DETECTORS = ('CocoMetric', 'VOCMetric', 'VOCAPMetric')
#: So many predictions are enough, with the first and the last class among them.
MAX_PREDICTIONS = 32


def evaluate_made_up_predictions(cfg: Config, split: str) -> list[str] | None:
    """Build the metrics of a split, and try them on made-up predictions for its first image.

    Args:
        cfg: The config; its default scope has been entered.
        split: 'val' or 'test'; it has a data loader and an evaluator.

    Returns:
        The names of everything that the evaluation gives; None where a metric could not be tried.

    Raises:
        FileNotFoundError: A metric names annotations that do not exist.
        ValueError: See `check_evaluation`.
    """
    entries = list(_metric_configs(cfg[f'{split}_evaluator'], f'{split}_evaluator'))
    metrics = [_build(where, entry) for where, entry in entries]
    leaf = next(leaf_datasets(cfg[f'{split}_dataloader'].get('dataset')), None)
    model = model_config(cfg)
    known = _known_metrics(model)
    tried = [_is_known(metric, known) for metric in metrics]
    if not any(tried) or not isinstance(leaf, dict) or not is_local(leaf):
        return None
    where = f'{split}_dataloader, {type_name(leaf)}'
    dataset = _build_dataset(leaf, where)
    for (place, entry), metric in zip(entries, metrics):
        if is_a(type(metric), 'CocoMetric'):
            name = f'{place}, {type_name(entry)}'
            check_images(metric, entry, dataset, name, where)
            check_ground_truth(metric, name)
    sample = _first_sample(dataset, where)
    num_classes = _num_classes(cfg) or len(dataset.metainfo.get('classes') or ())
    if sample is None or not num_classes:
        return None
    if known == OF_CLASSIFIERS:
        samples = _classified(sample, num_classes, model)
    else:
        samples = _detected(sample, num_classes, model)
    if not samples:
        return None
    names: list[str] = []
    for (place, entry), metric, is_tried in zip(entries, metrics, tried):
        if is_tried:
            names += _try(metric, entry, place, samples, dataset.metainfo, num_classes)
    return names if all(tried) else None


# --- the metrics ---------------------------------------------------------------------------------


def _metric_configs(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Every metric of an evaluator, with the keys that lead to it."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _metric_configs(item, f'{where}.{index}')
    elif isinstance(node, dict) and 'metrics' in node:
        yield from _metric_configs(node['metrics'], f'{where}.metrics')
    elif isinstance(node, dict):
        yield where, node


def _build(where: str, entry: dict) -> Any:
    name, path = f'{where}, {type_name(entry)}', entry.get('ann_file')
    is_here = isinstance(path, str) and '://' not in path and not entry.get('backend_args')
    if is_here and not Path(str(path)).exists():
        raise FileNotFoundError(
            f'`ann_file` of {name} must be the annotations of the images that are evaluated, but '
            f'{path} does not exist. Write the file of the data set there (with its data_root), or '
            'leave the entry out where the metric can do without.'
        )
    try:
        with _silence():
            return METRICS.build(deepcopy(entry))
    except Exception as error:  # whatever a metric's code raises
        raise ValueError(f'{name} cannot be built: {_described(error)}.') from error


def _known_metrics(model: dict) -> tuple[str, ...]:
    cls = registered_class(MODELS, model)
    if is_a(cls, 'BaseClassifier'):
        return OF_CLASSIFIERS
    return OF_DETECTORS if is_a(cls, 'BaseDetector') else ()


def _is_known(metric: Any, names: Sequence[str]) -> bool:
    """Whether a metric is one of these itself; a derived one may need more of a prediction."""
    return type(metric).__name__ in names and not is_users(type(metric))


def _try(
    metric: Any, entry: dict, where: str, samples: list[Any], metainfo: dict, num_classes: int
) -> list[str]:
    """Let a metric evaluate the predictions; returns the names of what it gives.

    Raises:
        ValueError: It cannot.
    """
    name = f'{where}, {type_name(entry)}'
    topk = entry.get('topk', 1)
    largest = max(topk) if isinstance(topk, (list, tuple)) else topk
    if isinstance(largest, int) and largest > num_classes:
        raise ValueError(
            f'`topk` of {name} must not be above the number of classes that the model predicts, '
            f'{num_classes}, but got {topk}: set topk=(1,) there, for example with '
            f'{option_names().entries} {where}.topk=1.'
        )
    evaluator = Evaluator([metric])
    evaluator.dataset_meta = metainfo
    if hasattr(metric, 'img_ids'):  # of COCO's files: the first image is enough
        metric.img_ids = [getattr(samples[0], 'img_id', None)]
    try:
        with _silence():
            evaluator.process(samples, dict(inputs=[], data_samples=samples))
            return list(evaluator.evaluate(len(samples)))
    except Exception as error:  # whatever a metric's code raises
        classes = len(metainfo.get('classes') or ())
        counts = f' The model predicts {num_classes} classes, and the data set names {classes}.'
        raise ValueError(
            f'{name} cannot evaluate what the model will predict: {_described(error)}.'
            f'{counts if num_classes != classes else ""} A trial with made-up predictions for the '
            'first image failed, as the first evaluation would. Correct the metric, or the data '
            'set and its pipeline, which give it the annotations.'
        ) from error


def _described(error: Exception) -> str:
    text = str(error).strip().rstrip('.') or 'no reason given'
    return f'{type(error).__name__}: {text}'


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the tables and warnings of trials to ourselves."""
    with no_logging(), redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


# --- the data ------------------------------------------------------------------------------------


def _build_dataset(config: dict, where: str) -> Any:
    try:
        with _silence():
            dataset = build_unloaded(config)
            load(dataset)
            return dataset
    except Exception as error:  # whatever a data set's code raises
        raise ValueError(f'{where} cannot be built: {_described(error)}.') from error


def _first_sample(dataset: Any, where: str) -> Any:
    """The data sample of the first image, after its pipeline; None where there is no such thing."""
    if not len(dataset):
        raise ValueError(f'{where} has no image to evaluate: look at its annotations and folders.')
    try:
        data = dataset[0]
    except Exception as error:  # whatever a transform's code raises
        raise ValueError(
            f'{where}: its first image cannot be loaded: {_described(error)}. Correct the image or '
            'the pipeline of the data set.'
        ) from error
    sample = data.get('data_samples') if isinstance(data, dict) else None
    while isinstance(sample, (list, tuple)):  # of test-time augmentation
        sample = sample[0] if sample else None
    return sample


# --- the predictions -----------------------------------------------------------------------------


def _num_classes(cfg: Config) -> int:
    """How many classes the model predicts, as its heads say; 0 if that is not known."""
    return max((loss.settings.num_classes for loss in inspect_heads(cfg)[0]), default=0)


def _labels(num_classes: int) -> torch.Tensor:
    """Some classes, evenly spread from the first one to the last one."""
    count = min(num_classes, MAX_PREDICTIONS)
    return torch.linspace(0, num_classes - 1, count).round().long()


def _classified(sample: Any, num_classes: int, model: dict) -> list[Any]:
    """Copies of a sample with scores of each class; a label is right, every second prediction."""
    if not hasattr(sample, 'set_pred_score'):
        return []
    head = registered_class(MODELS, model.get('head') or {})
    one_label = 'gt_label' in sample and sample.gt_label.numel() == 1
    samples = []
    for number, label in enumerate(_labels(num_classes).tolist()):
        score = torch.full((num_classes,), 0.5 / num_classes)
        score[(label + number % 2) % num_classes] += 0.5
        made = sample.clone()
        if one_label and not is_a(head, 'MultiLabelClsHead'):
            made.set_gt_label(label)
        made.set_pred_score(score)
        made.set_pred_label(score.argmax())
        samples.append(made)
    return samples


def _detected(sample: Any, num_classes: int, model: dict) -> list[Any]:
    """A sample with a detection of each class, as a detector gives it."""
    if not hasattr(type(sample), 'pred_instances'):
        return []
    made = sample.clone()
    for instances in ('gt_instances', 'ignored_instances'):
        boxes: Any = getattr(getattr(made, instances, None), 'bboxes', None)
        if hasattr(boxes, 'tensor'):  # a detector's data preprocessor does so
            getattr(made, instances).bboxes = boxes.tensor
    labels = _labels(num_classes)
    height, width = (int(side) for side in getattr(made, 'ori_shape', (32, 32))[:2])
    count = len(labels)
    shares = torch.linspace(0.3, 1, count)
    detections = InstanceData(
        bboxes=torch.stack([torch.zeros(count)] * 2 + [shares * width, shares * height], dim=1),
        labels=labels,
        scores=torch.linspace(0.9, 0.1, count),
    )
    if _may_make_masks(model):
        detections.masks = torch.zeros(count, height, width, dtype=torch.bool)
    made.pred_instances = detections
    return [made]


def _may_make_masks(model: dict) -> bool:
    """Whether a detector may predict masks: of two-stage ones it is known which do."""
    roi_head = model.get('roi_head') or {}
    two_stages = is_a(registered_class(MODELS, model), 'TwoStageDetector')
    return not two_stages or not roi_head or bool(roi_head.get('mask_head'))
