"""The heads of the hosts: where each says its classes and its loss, and which cannot change it.

A head is found by its class or the nearest of its base classes in `HEADS`, so that heads derived
from the hosts' are found as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmdet_ols.config_tree import is_a, is_users, owner_of


@dataclass(frozen=True)
class Refusal:
    """Why a head or a loss cannot be changed.

    Attributes:
        reason: Completes 'NAME cannot learn with another classification loss: '.
        remedy: What the user can do.
    """

    reason: str
    remedy: str


@dataclass(frozen=True)
class Context:
    """What is known about a head when its rule is asked.

    Attributes:
        cls: The head's class.
        cfg: The head's config.
        parent: The config of the module that holds the head.
        parent_cls: Its class.
        use_sigmoid: Whether its classification loss takes sigmoid scores; None where it has none.
    """

    cls: Any
    cfg: Mapping[str, Any]
    parent: Mapping[str, Any]
    parent_cls: Any
    use_sigmoid: bool | None


@dataclass(frozen=True)
class Head:
    """How heads of a class learn to classify.

    Attributes:
        host: The library whose losses the head is made for.
        loss: The constructor's parameter for the classification loss.
        classes: The parameters whose sum is the number of classes.
        background: When the scores have a column for the background: 'softmax' (unless they are
            sigmoid scores), 'always' or 'never'.
        smoother: A parameter by which the head smooths its labels by itself.
        reads_sigmoid: Whether the head reads `use_sigmoid` from the loss's config and not from the
            loss, so that a default of the loss is not seen.
        sigmoid: Whether the head always reads its scores through a sigmoid.
        qualities: Whether the head sends its loss labels together with qualities.
        refuses: Why a head cannot be changed, or None.
        ignores: Whether there is nothing to change: a head that knows no classes.
    """

    host: str = 'mmdet'
    loss: str = 'loss_cls'
    classes: tuple[str, ...] = ('num_classes',)
    background: str = 'softmax'
    smoother: str | None = None
    reads_sigmoid: bool = False
    sigmoid: bool = False
    qualities: bool = False
    refuses: Callable[[Context], Refusal | None] = lambda context: None
    ignores: Callable[[Context], bool] = lambda context: False

    def refuses_loss(self, loss_cls: Any, quality_beta: float | None) -> Refusal | None:
        """Why the head cannot have a loss of this class, with this exponent, or None."""
        name, takes_qualities = loss_cls.__name__, quality_beta is not None
        if self.qualities and not takes_qualities:
            return Refusal(
                f'it sends labels together with qualities, which {name} does not take',
                'Give it QualityFocalLoss, or one of our losses with quality_beta=2.0.',
            )
        if takes_qualities and not self.qualities:
            return Refusal(
                f'{name} learns the qualities of boxes with the labels, which this head sends to '
                'no other loss',
                "Give it FocalLoss, loss_cls=dict(type='FocalLoss', use_sigmoid=True), or one of "
                'our losses without quality_beta.',
            )
        return None


def _refused(reason: str, remedy: str) -> Head:
    return Head(refuses=lambda context: Refusal(reason, remedy))


_OTHER_DETECTOR = 'Take another detector: docs/detectors.md lists those that can.'
_HEAT_MAPS = _refused(
    'it learns heat maps and not the classes of samples, so there is no label to soften',
    _OTHER_DETECTOR,
)
_NEVER_CALLED = _refused(
    'it takes a `loss_cls` and never calls it, because it computes a likelihood by itself',
    _OTHER_DETECTOR,
)
_WORDS = _refused(
    'its scores say how well words of a text fit, and not how well classes do',
    'Take the detector without a text, such as DINO or ATSS.',
)
_NO_CLASSES = Head(ignores=lambda context: True)


def _never_called_for_one_class(context: Context) -> Refusal | None:
    """YOLOv5 and YOLOv7 of MMYOLO."""
    count = (context.cfg.get('head_module') or {}).get('num_classes')
    owner = owner_of(context.cls, 'loss_by_feat')
    if count == 1 and owner.__name__ in ('YOLOv5Head', 'YOLOv5InsHead', 'YOLOv7Head'):
        return Refusal(
            'with a single class it never calls its `loss_cls`, since objectness says it all',
            'Every method would train the same: take none.',
        )
    return None


def _two_stage_deformable(context: Context) -> Refusal | None:
    two_stage = context.parent.get('as_two_stage') or context.cfg.get('as_two_stage')
    if two_stage and not is_a(context.cls, 'DINOHead'):
        return Refusal(
            'in its two-stage form it labels all proposals of the encoder as class 0, which would '
            'teach the soft label of that class',
            'Take its one-stage form (as_two_stage=False), or DINO.',
        )
    return None


def _several_labels(context: Context) -> Refusal | None:
    if context.use_sigmoid:
        return Refusal(
            'its samples have several labels at once, and a soft label is defined for one class',
            'If each sample has one class (mixed by mixup or CutMix), give it a softmax loss: '
            "loss=dict(type='CrossEntropyLoss', use_soft=True).",
        )
    return None


def _is_no_classifiers_head(context: Context) -> bool:
    """BLIP-2 makes linear layers of classification heads whose loss is never called."""
    trains = ('BaseClassifier', 'BaseRetriever', 'MultiTaskHead')
    parent = context.parent_cls
    # Of a class that is not registered, building the model tells more than a refusal would.
    known = parent is not None and not is_users(parent)
    return known and not any(is_a(parent, name) for name in trains)


def _has_no_scores(context: Context) -> bool:
    return context.cfg.get('with_cls') is False


#: Class name -> how heads of that class, and of those derived from it, learn to classify.
HEADS: Mapping[str, Head] = {
    # MMDetection, dense heads
    'YOLOV3Head': Head(background='never', sigmoid=True, smoother='one_hot_smoother'),
    'YOLOXHead': Head(background='never', sigmoid=True),
    'AnchorHead': Head(reads_sigmoid=True),
    'AnchorFreeHead': Head(reads_sigmoid=True),
    'SABLRetinaHead': Head(reads_sigmoid=True),
    'SOLOHead': Head(background='never', sigmoid=True),
    'GFLHead': Head(reads_sigmoid=True, qualities=True),
    'RTMDetHead': Head(reads_sigmoid=True, qualities=True),  # of MMYOLO as well
    # MMDetection, two stages
    'BBoxHead': Head(background='always', ignores=_has_no_scores),
    'DIIHead': Head(),
    # MMDetection, DETR and its kin
    'DETRHead': Head(),
    'DeformableDETRHead': Head(refuses=_two_stage_deformable),
    'MaskFormerHead': Head(
        classes=('num_things_classes', 'num_stuff_classes'), background='always'
    ),
    'Mask2FormerTrackHead': Head(background='always'),
    # MMDetection, re-identification
    'LinearReIDHead': Head(background='never'),
    # MMYOLO, whose other heads are derived from this one
    'YOLOv5Head': Head(background='never', sigmoid=True, refuses=_never_called_for_one_class),
    # MMPretrain
    'ClsHead': Head('mmpretrain', 'loss', background='never', ignores=_is_no_classifiers_head),
    'MultiLabelClsHead': Head('mmpretrain', 'loss', background='never', refuses=_several_labels),
    'TimmClassifier': Head('mmpretrain', 'loss', background='never'),
    'HuggingFaceClassifier': Head('mmpretrain', 'loss', ('num_labels',), background='never'),
    # Proposals, teachers and regression know no classes.
    'RPNHead': _NO_CLASSES,
    'CascadeRPNHead': _NO_CLASSES,
    'GARPNHead': _NO_CLASSES,
    'EmbeddingRPNHead': _NO_CLASSES,
    'RegressionHead': _NO_CLASSES,
    # What cannot
    'SSDHead': _refused('it computes its cross entropy by itself', _OTHER_DETECTOR),
    'TOODHead': _refused(
        'it makes probabilities of its scores before its loss gets them', _OTHER_DETECTOR
    ),
    'VFNetHead': _refused(
        'the varifocal loss, which weighs scores by the quality of their boxes, is what it is '
        'about',
        'Take ATSS or FCOS, on which it builds.',
    ),
    'YOLOXPoseHead': _refused(
        'its loss of classes is also that of the visibility of key points', _OTHER_DETECTOR
    ),
    'CornerHead': _HEAT_MAPS,
    'CenterNetHead': _HEAT_MAPS,
    'CenterNetUpdateHead': _HEAT_MAPS,
    'FreeAnchorRetinaHead': _NEVER_CALLED,
    'AutoAssignHead': _NEVER_CALLED,
    'CLRHead': _refused('it finds lanes and computes their focal loss by itself', _OTHER_DETECTOR),
    'MultiInstanceBBoxHead': _refused(
        'it counts the background as class 0 and the classes from 1 on', _OTHER_DETECTOR
    ),
    'GroundingDINOHead': _WORDS,
    'ATSSVLFusionHead': _WORDS,
}

#: Class name -> parameters of its constructor that hold nothing which learns classes.
NOT_TRAINED: Mapping[str, tuple[str, ...]] = {
    'TwoStageDetector': ('rpn_head',),  # which may be any dense head
    'KnowledgeDistillationSingleStageDetector': ('teacher_config',),
    'LAD': ('teacher_backbone', 'teacher_neck', 'teacher_bbox_head'),
}


def head_rule(cls: Any) -> Head | None:
    """The rule of a class or of the nearest of its base classes; None where it is no head."""
    for base in getattr(cls, '__mro__', ()):
        if base.__name__ in HEADS:
            return HEADS[base.__name__]
    return None
