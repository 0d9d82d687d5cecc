"""What a loss refuses: options that do not fit together, and calls of another shape."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Sequence
from typing import Any, Callable, Protocol

import torch
from torch import Tensor, nn

from mmdet_ols.core import hides_values, teaching_allowed
from mmdet_ols.core.arguments import check_choice, check_number
from mmdet_ols.core.compat import is_compiling
from mmdet_ols.core.sample_state import finite_rows


class Loss(Protocol):
    """What the checks have to know of a loss."""

    num_classes: int
    num_columns: int
    background: bool
    use_sigmoid: bool
    quality_beta: float | None
    warned_in_eval_mode: bool
    looked_for_probabilities: bool


#: What people bring along from other losses, and what to write instead.
REMEDIES = {
    'weight': 'the weights of the classes are `class_weight`, and those of the samples are the '
    '`weight` of a call',
    'pos_weight': 'under use_sigmoid=True the weights of the positive parts are `class_weight`',
    'label_smoothing': 'OLSLoss smooths online by itself, LSLoss(epsilon=...) by a fixed share',
    'label_smooth_val': 'OLSLoss smooths online by itself, LSLoss(epsilon=...) by a fixed share',
    'size_average': "write reduction='mean' or 'sum'",
    'reduce': "write reduction='none', 'mean' or 'sum'",
    'use_soft': 'rows (N, C) as labels need no option',
    'beta': '`beta` of QualityFocalLoss is `quality_beta`',
    'use_mask': 'a loss of masks is no loss of classes: keep it as it is',
}


def with_remedies(init: Callable[..., None]) -> Callable[..., None]:
    """Let a constructor say what to write instead of an option that other losses have."""
    parameters = inspect.signature(init).parameters

    @functools.wraps(init)
    def explained(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in kwargs.keys() & REMEDIES.keys() - parameters.keys():
            raise TypeError(f'{type(self).__name__} has no option {name!r}: {REMEDIES[name]}.')
        init(self, *args, **kwargs)

    return explained


def check_implementation(
    implementation: str, implementations: tuple[str, ...], kind: type[Any]
) -> None:
    """Raise a ValueError for an unknown implementation, or one that this kind of loss lacks."""
    check_choice('implementation', implementation, implementations)
    if implementation == 'fused' and not kind.has_fused_form:
        raise ValueError(
            f"{kind.__name__} has no fused form, but got implementation='fused': leave it out, or "
            "take 'compiled'."
        )


def check_class_weight(
    class_weight: Sequence[float] | None, num_classes: int, background: bool
) -> None:
    """Raise a ValueError unless there is one weight for each score column, or none at all."""
    if class_weight is None:
        return
    try:
        weight = torch.as_tensor(class_weight)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f'`class_weight` must be a list of numbers, but got {class_weight!r} ({error}): write '
            'the weights themselves, one for each score column.'
        ) from error
    shape = weight.shape
    if len(shape) != 1:
        raise ValueError(
            f'`class_weight` must hold a weight for each column, but got {class_weight!r}: '
            'use loss_weight to weight all of them alike.'
        )
    columns = num_classes + 1 if background else num_classes
    if shape[0] != columns:
        raise ValueError(
            f'`class_weight` needs one weight for each of the {columns} score columns '
            f'(num_classes={num_classes}, background={background}), but got {shape[0]}.'
        )
    has_values = type(weight) is Tensor and not weight.is_meta and not hides_values()
    if has_values and not ((weight >= 0) & weight.isfinite()).all():
        raise ValueError(
            f'`class_weight` must hold finite weights of at least 0, but got {weight.tolist()}.'
        )


def check_focal_form(
    gamma: float, balance: float | None, quality_beta: float | None, use_sigmoid: bool
) -> None:
    """Raise a ValueError where the options of a focal form are out of range or meaningless."""
    check_number('gamma', gamma, 'at least 0')
    check_number('balance', balance, 'in [0, 1]', optional=True)
    check_number('quality_beta', quality_beta, 'at least 0', optional=True)
    is_focal = gamma or balance is not None
    if is_focal and not use_sigmoid:
        raise ValueError(
            '`gamma` and `balance` belong to the focal form, which is defined for sigmoid '
            f'scores: set use_sigmoid=True, or leave gamma={gamma!r}, balance={balance!r} out.'
        )
    if quality_beta is not None and (is_focal or not use_sigmoid):
        raise ValueError(
            f'`quality_beta` makes the quality focal form, which is defined for sigmoid scores and '
            f'has no other focal form in it, but got {quality_beta!r} with {gamma=}, {balance=}, '
            f'{use_sigmoid=}: set use_sigmoid=True and leave gamma and balance out, or leave '
            'quality_beta out.'
        )


def check_shapes(loss: Loss, cls_score: Any, label: Any) -> None:
    """Refuse scores and labels of another shape than a loss was made for.

    Raises:
        TypeError: One of them is no tensor.
        ValueError: The shapes do not fit, scores are no floats, or class indices are no integers.
    """
    name = type(loss).__name__
    if not isinstance(cls_score, Tensor) or not isinstance(label, Tensor):
        raise TypeError(_what_is_no_tensor(name, cls_score, label))
    if not cls_score.is_floating_point():
        raise ValueError(
            f'`cls_score` must hold logits, but is {cls_score.dtype}: pass the scores of the model '
            'first, and the labels after them.'
        )
    if cls_score.shape[-1] != loss.num_columns:
        raise ValueError(
            f'{name} was made for {loss.num_columns} score columns (num_classes='
            f'{loss.num_classes}, background={loss.background}), but `cls_score` has '
            f'{cls_score.shape[-1]}: {_how_to_match(loss, cls_score)}.'
        )
    if label.shape not in (cls_score.shape, cls_score.shape[:-1]):
        hint = ''
        if label.shape == (*cls_score.shape[:-1], 1):
            hint = ': squeeze its last dimension, label.squeeze(-1)'
        elif cls_score.dim() > 2 and label.shape == _without_second(cls_score):
            hint = ': move the classes to the end, cls_score.movedim(1, -1)'
        raise ValueError(
            '`label` must hold class indices of shape '
            f'{tuple(cls_score.shape[:-1])} or rows of shape {tuple(cls_score.shape)}, '
            f'but got shape {tuple(label.shape)}{hint}.'
        )
    if label.dim() < cls_score.dim() and label.is_floating_point():
        raise ValueError(
            f'Class indices must be integers, but `label` is {label.dtype}: pass label.long().'
        )


def check_ignored_class(loss: Loss, ignore_index: int) -> None:
    """Raise a ValueError if one of the classes is to be ignored where labels are softmax rows."""
    if not loss.use_sigmoid and 0 <= ignore_index < loss.num_columns:
        raise ValueError(
            f'`ignore_index` names the class {ignore_index}, but `label` holds rows, whose entries '
            'are shares: leave it out, and give the samples to ignore rows of zeros.'
        )


def _what_is_no_tensor(name: str, cls_score: Any, label: Any) -> str:
    if not isinstance(cls_score, Tensor):
        return (
            f'`cls_score` must be a tensor of logits, but got a {type(cls_score).__name__}: pass '
            'the logits out of what the model returns.'
        )
    if isinstance(label, (tuple, list)) and any(isinstance(part, Tensor) for part in label):
        return (
            f'`label` must be a tensor, but got a {type(label).__name__}: if the head sends labels '
            "and qualities together, as those made for MMDetection's QualityFocalLoss do (GFL, "
            f'RTMDet), give {name} use_sigmoid=True and quality_beta=2.0.'
        )
    return (
        f'`label` must be a tensor, but got a {type(label).__name__}: pass '
        'torch.as_tensor(label, device=cls_score.device).'
    )


def _how_to_match(loss: Loss, cls_score: Tensor) -> str:
    """What to do about scores of another number of columns."""
    columns = cls_score.shape[-1]
    if cls_score.dim() > 2 and cls_score.shape[1] == loss.num_columns:
        return (
            'move the classes, which nn.CrossEntropyLoss expects in the second dimension, to the '
            'end, cls_score.movedim(1, -1)'
        )
    hint = f'set num_classes={columns - 1 if loss.background else columns}'
    if columns == loss.num_columns + 1 and not loss.use_sigmoid:
        hint = 'set background=True if the last column is the background, or else ' + hint
    return hint


def _without_second(cls_score: Tensor) -> tuple[int, ...]:
    return (cls_score.shape[0], *cls_score.shape[2:])


def check_devices(loss: nn.Module, logits: Tensor, label: Tensor) -> None:
    """Raise a ValueError unless scores, labels and what the loss keeps lie on one device."""
    if type(logits) is not Tensor and hasattr(logits, 'full_tensor'):
        raise ValueError(
            f'`cls_score` is a DTensor, which {type(loss).__name__} cannot compute with: pass '
            'to_local() of the scores if each process has whole rows of its own samples, and '
            'full_tensor() otherwise.'
        )
    if label.device != logits.device:
        raise ValueError(
            f'`cls_score` lies on {logits.device}, but `label` on {label.device}: move it there, '
            f'label.to({str(logits.device)!r}).'
        )
    state = loss._modules.get('state')
    buffer = None if state is None else next(iter(state._buffers.values()))
    if buffer is not None and buffer.device != logits.device:
        raise ValueError(
            f'`cls_score` lies on {logits.device}, but the soft labels of {type(loss).__name__} on '
            f'{buffer.device}: move the loss there, as a model, with .to({str(logits.device)!r}).'
        )


def refuse_heat_maps(loss: Loss) -> None:
    """Raise a ValueError that names heads whose targets are heat maps, not classes."""
    raise ValueError(
        '`pos_inds` and `pos_labels` come from a head that trains on heat maps '
        f'(CenterNetUpdateHead), for which {type(loss).__name__} has no meaning. Keep its '
        'own loss.'
    )


def warn_in_eval_mode(loss: Loss, logits: Tensor) -> None:
    """Warn, once, about what looks like a training step in which nothing can be learned."""
    if (
        not loss.warned_in_eval_mode
        and logits.requires_grad
        and torch.is_grad_enabled()
        and not is_compiling()
        and teaching_allowed()
    ):
        loss.warned_in_eval_mode = True
        warnings.warn(
            f'{type(loss).__name__} is in eval mode, in which it learns nothing, but its scores '
            'require a gradient. If this is a training step, call train() of the loss or of the '
            'model that holds it, at the start and after each validation. Compute the loss of a '
            'validation under torch.no_grad(), and that of an attack under '
            'mmdet_ols.no_teaching().',
            stacklevel=3,
        )


def warn_of_probabilities(loss: Loss, logits: Tensor) -> None:
    """Warn, at the first training step, about scores that look like the result of a softmax.

    It is the most common mistake of loops made for other losses, and only slows learning down. On
    a GPU nothing is looked at, since the step would wait for the answer.
    """
    if (
        loss.use_sigmoid
        or loss.num_columns == 1
        or not len(logits)
        or logits.device.type != 'cpu'
        or type(logits) is not Tensor  # such as fake tensors, which hold no values
        or is_compiling()
        or hides_values()
    ):
        return
    loss.looked_for_probabilities = True
    rows = logits.detach().float()
    if rows.min() >= 0 and ((rows.sum(-1) - 1).abs() < 0.01).all():
        warnings.warn(
            f'Every row of scores that {type(loss).__name__} got is positive and sums to 1, as '
            'after a softmax, which the loss computes itself: pass the logits, without a softmax '
            'at the end of the model.',
            stacklevel=3,
        )


def check_labels(loss: Loss, label: Tensor, valid: Tensor) -> None:
    """Refuse labels out of range and rows of several classes, without synchronising a GPU."""
    if hides_values() or not len(label):
        return
    on_cpu = label.device.type == 'cpu'
    if label.dim() == 1:
        # Under sigmoid the index C is MMDetection's background; the softmax form has a column
        # for it or none.
        last = loss.num_columns if loss.use_sigmoid else loss.num_columns - 1
        # Where nothing is ignored, the extremes say it all in a fifth of the time.
        if on_cpu and label.min().item() >= 0 and label.max().item() <= last:
            return
        # What a remainder changes is outside.
        values, wrong = label, valid & (label.remainder(last + 1) != label)
        message = (
            f'A label must be in [0, {last}] (num_classes={loss.num_classes}, background='
            f"{loss.background}) or the ignore_index: set num_classes to the data set's number "
            'of classes, or ignore_index to the label of what has no class, or correct the label.'
        )
    else:
        values = torch.where(valid, label, 0).sum(-1, dtype=torch.float32)
        precision = torch.finfo(label.dtype).eps if label.is_floating_point() else 0
        wrong = values > 1 + max(1e-3, precision)
        message = (
            'A target row must hold one class (or a mixture that sums to 1). '
            f'{type(loss).__name__} is not defined for samples of several classes: use a '
            'binary cross entropy there.'
        )
        if loss.quality_beta is not None:
            message += ' The quality of a box, too, is at most 1, as an IoU is.'
    if on_cpu:
        if wrong.any():
            what = 'label' if label.dim() == 1 else 'row that sums to'
            raise ValueError(f'{message} Got the {what} {values[wrong][0].item():g}.')
    elif label.is_cuda:
        torch._assert_async(~wrong.any(), message)  # seen at the next synchronisation


def check_measured(loss: nn.Module, name: str, values: Tensor) -> None:
    """Refuse what a pass over the training samples measured with a network that has diverged.

    Args:
        loss: The loss that takes the values, named in the message.
        name: What they are.
        values: With a row for each sample.

    Raises:
        ValueError: The values of a sample are not finite.
    """
    broken = int((~finite_rows(values)).sum())
    if broken:
        raise ValueError(
            f'`{name}` that {type(loss).__name__} takes must be finite, but is not for {broken} of '
            f'{len(values)} training samples: the network has diverged. Go on from an earlier '
            'checkpoint, or start again, with a lower learning rate.'
        )
