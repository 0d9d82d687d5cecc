"""What loss_speed.py times: batches as heads send them, and the losses that compete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from timing import Step, Stopwatch
from torch import Tensor, nn

import mmdet_ols
from mmdet_ols import OLSLoss, OLSSparseLoss

SMOOTHED = 'PyTorch cross_entropy(label_smoothing=0.1)'
MMDET = 'MMDetection CrossEntropyLoss'
#: The implementations of OLSLoss, and their settings.
FORMS: dict[str, dict[str, Any]] = {
    'OLSLoss()': {},
    "OLSLoss(implementation='plain')": dict(implementation='plain'),
    "OLSLoss(implementation='compiled')": dict(implementation='compiled'),
}
#: On a CPU it is what 'auto' takes.
GPU_FORMS: dict[str, dict[str, Any]] = {
    "OLSLoss(implementation='fused')": dict(implementation='fused'),
}

#: Called as the heads do: (logits, label, weight=, avg_factor=).
Criterion = Callable[..., Tensor]


# --- Batches --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """The shape of a batch of logits, and the kind of head that they come from."""

    rows: tuple[int, ...]
    num_classes: int
    background: bool

    @classmethod
    def parse(cls, text: str) -> Size:
        """Parse '256x1000' (softmax), '512x1203+1' (with background) or '8x10647x20' (sigmoid)."""
        shape, plus, more = text.partition('+')
        numbers = [int(part) if part.isdecimal() else 0 for part in shape.split('x')]
        valid = len(numbers) == 2 and more == '1' if plus else len(numbers) in (2, 3)
        if not valid or 0 in numbers:
            raise ValueError(
                "A size is ROWSxCLASSES ('256x1000'), with a background column ROWSxCLASSES+1 "
                "('512x1203+1'), with sigmoid scores IMAGESxANCHORSxCLASSES ('8x10647x20'), "
                f'but got {text!r}.'
            )
        return cls(tuple(numbers[:-1]), numbers[-1], bool(plus))

    @property
    def sigmoid(self) -> bool:
        return len(self.rows) == 2


@dataclass
class Batch:
    """What a head passes to its loss."""

    logits: Tensor
    label: Tensor
    options: dict[str, Any]


def make_batch(
    size: Size, dtype: torch.dtype, device: str, seed: int, right_share: float = 0.5
) -> Batch:
    """Draw logits, a share of which is classified correctly; the seed decides the labels."""
    draws = torch.Generator().manual_seed(seed)
    count = torch.Size(size.rows).numel()
    columns = size.num_classes + size.background
    index = torch.randint(size.num_classes, (count,), generator=draws)
    chance = torch.rand(count, generator=draws)
    if size.background:  # three quarters of the proposals that a detector samples are background
        index[torch.rand(count, generator=draws) < 0.75] = size.num_classes
    positive = torch.rand(count, generator=draws) < (0.01 if size.sigmoid else 1.0)

    # A standard deviation of 2 gives the probabilities a long tail.
    logits = 2 * torch.randn(count, columns, generator=draws)
    if size.sigmoid:
        logits -= 4
    best = logits.amax(1) if size.sigmoid else logits.logsumexp(1)
    right = positive & (chance < right_share)
    logits[right, index[right]] = best[right] + 1

    options: dict[str, Any] = dict(avg_factor=count)  # MMPretrain's heads
    label = index
    if size.background:  # MMDetection's heads of two stages
        options['weight'] = torch.ones(count, device=device)
    if size.sigmoid:  # YOLOV3Head, where one cell in a hundred holds an object
        label = (F.one_hot(index, columns) * positive[:, None]).float().reshape(*size.rows, columns)
        options = dict(weight=positive.float().reshape(*size.rows, 1).to(device))
    logits = logits.reshape(*size.rows, columns).to(device, dtype)
    return Batch(logits.requires_grad_(), label.to(device), options)


def bytes_to_move(size: Size, batch: Batch) -> int:
    """Count the bytes that a training step of OLS must read and write at least."""
    row = 4 * batch.logits.shape[-1]  # of a float32 matrix
    moved = batch.logits.nbytes  # the gradient
    logits, label = batch.logits.detach().flatten(0, -2), batch.label
    if size.sigmoid:  # only positive samples need more than a gradient of 0
        weight = batch.options['weight'].flatten()
        logits, label = logits[weight > 0], label.flatten(0, -2)[weight > 0]
        moved += weight.nbytes + label.nbytes
        label = label.argmax(1)
    moved += logits.nbytes
    # The background's row is known and collects nothing.
    foreground = label < size.num_classes
    correct = foreground & (logits.argmax(1) == label)
    moved += row * label[foreground].unique().numel()
    return moved + 2 * row * label[correct].unique().numel()


# --- Losses ---------------------------------------------------------------------------------------


class AuthorsProcedure(nn.Module):
    """The paper's Algorithm 1 as it is written: the samples of a batch are added one by one.

    Args:
        soft_labels: (C, C); column y is the soft label of class y, as in the paper. A transposed
            view keeps the numbers of a class next to each other, as the authors' code does.
        sums: Like `soft_labels`, for those of the next period.
        alpha: Share of the hard label.
    """

    soft_labels: Tensor
    sums: Tensor

    def __init__(self, soft_labels: Tensor, sums: Tensor, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer('soft_labels', soft_labels)
        self.register_buffer('sums', sums)

    def forward(self, logits: Tensor, label: Tensor, **options: Any) -> Tensor:
        log_prob = logits.float().log_softmax(-1)
        hard = F.nll_loss(log_prob, label)  # Eq. 1
        soft = -(self.soft_labels[:, label].T * log_prob).sum(-1).mean()  # Eq. 3
        prob = log_prob.detach().exp()
        predicted = prob.argmax(-1)
        for i in range(len(label)):
            if predicted[i] == label[i]:
                self.sums[:, label[i]] += prob[i]  # Eq. 5
        return self.alpha * hard + (1 - self.alpha) * soft  # Eq. 4

    @torch.no_grad()
    def update_soft_labels(self) -> None:
        total = self.sums.sum(0)
        # A class without a correct sample keeps its soft label; the paper leaves this case open.
        self.soft_labels.copy_(torch.where(total > 0, self.sums / total, self.soft_labels))  # Eq. 6
        self.sums.zero_()


def make_ols(size: Size, kind: Callable[..., Any] = OLSLoss, **options: Any) -> Any:
    if size.sigmoid:
        options.update(use_sigmoid=True, reduction='sum')
    return kind(num_classes=size.num_classes, background=size.background, **options)


def mmdet_loss(**options: Any) -> Criterion:
    from mmdet.models.losses import CrossEntropyLoss

    return CrossEntropyLoss(**options)


def mmpretrain_loss(name: str, **options: Any) -> Criterion:
    from mmpretrain.models import losses

    return getattr(losses, name)(**options)


def smoothed_cross_entropy(logits: Tensor, label: Tensor, **options: Any) -> Tensor:
    return F.cross_entropy(logits, label, label_smoothing=0.1)


def hard_cross_entropy(logits: Tensor, label: Tensor, **options: Any) -> Tensor:
    return F.cross_entropy(logits, label)


def hard_binary_cross_entropy(logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, label, weight, reduction='sum')


def losses(size: Size, state: OLSLoss) -> dict[str, Callable[[], Criterion]]:
    """By name: what makes the loss; the first one is the reference.

    Args:
        size: Of the batches.
        state: Its soft labels are those of all, since at 21,841 classes they take 3.8 GB.
    """

    def ols(settings: dict[str, Any]) -> Criterion:
        return make_ols(size, state=state.state, **settings)

    ours: dict[str, Callable[[], Criterion]] = {
        name: lambda settings=settings: ols(settings)  # type: ignore[misc]
        for name, settings in forms_on(state.soft_labels.device.type).items()
    }
    if size.sigmoid:
        return {
            MMDET: lambda: mmdet_loss(use_sigmoid=True, reduction='sum'),
            'PyTorch binary_cross_entropy_with_logits': lambda: hard_binary_cross_entropy,
            **ours,
        }
    makers = {
        SMOOTHED: lambda: smoothed_cross_entropy,
        'PyTorch cross_entropy': lambda: hard_cross_entropy,
        MMDET: mmdet_loss,
        'MMPretrain CrossEntropyLoss': lambda: mmpretrain_loss('CrossEntropyLoss'),
        'MMPretrain LabelSmoothLoss': lambda: mmpretrain_loss(
            'LabelSmoothLoss', label_smooth_val=0.1
        ),
        **ours,
    }
    if size.num_classes >= 1000:
        makers['OLSSparseLoss(top_m=100)'] = lambda: make_ols(size, OLSSparseLoss, top_m=100).to(
            state.soft_labels.device
        )
    if not size.background:  # the paper does not mention a background
        makers["authors' procedure, by columns (paper)"] = lambda: AuthorsProcedure(
            state.soft_labels.T.contiguous(), torch.zeros_like(state.prob_sum)
        )
        makers["authors' procedure, by rows (their code)"] = lambda: AuthorsProcedure(
            state.soft_labels.T, state.prob_sum.T
        )
    return makers


# --- What is timed together -----------------------------------------------------------------------


@dataclass
class Candidate:
    """A loss, as the steps to time."""

    step: Step
    state_bytes: int
    roll_over: Step | None = None


@dataclass
class Group:
    """Losses that take turns; the first one is the reference."""

    case: str
    dtype: str
    candidates: dict[str, Candidate]
    parts: tuple[str, ...] = ('forward', 'backward')
    #: What the losses are computed from, and how much must be moved at least; 0 if not known.
    logits: list[Tensor] = field(default_factory=list)
    bytes_to_move: int = 0
    notes: list[str] = field(default_factory=list)


def forward_backward(
    criterion: Criterion,
    compute: Callable[[Criterion], tuple[Tensor, Sequence[Tensor]]],
    watch: Stopwatch,
) -> Candidate:
    """Make the candidate that computes a loss and its gradient.

    Args:
        criterion: The loss.
        compute: Calls it, and returns its value and the tensors that need a gradient.
        watch: The clock of the device.
    """

    def step() -> tuple[Any, ...]:
        start = watch.now()
        loss, inputs = compute(criterion)
        middle = watch.now()
        # As the layer before the loss receives it: without a copy into `.grad`.
        torch.autograd.grad(loss, inputs)
        return start, middle, watch.now()

    return Candidate(step, nbytes_of(criterion))


def nbytes_of(criterion: Criterion) -> int:
    if not isinstance(criterion, nn.Module):
        return 0
    return sum(tensor.nbytes for tensor in criterion.state_dict().values())


def is_skipped(name: str, skip: Sequence[str]) -> bool:
    return any(word in name for word in skip)


def loss_group(text: str, dtype: torch.dtype, device: str, skip: Sequence[str]) -> Group:
    """Make the candidates for batches of one size."""
    size, watch = Size.parse(text), Stopwatch(device)
    batch = make_batch(size, dtype, device, seed=0)
    lesson = make_batch(size, dtype, device, seed=0, right_share=1.0)

    def compute(criterion: Criterion, batch: Batch = batch) -> tuple[Tensor, list[Tensor]]:
        return criterion(batch.logits, batch.label, **batch.options), [batch.logits]

    def teach(criterion: Any) -> Any:
        compute(criterion, lesson)
        criterion.update_soft_labels()
        return criterion

    def roll_over(criterion: Any) -> Step:
        def step() -> tuple[Any, ...]:
            compute(criterion, lesson)
            start = watch.now()
            criterion.update_soft_labels()
            return start, watch.now()

        return step

    group = Group(
        case=text,
        dtype=str(dtype).removeprefix('torch.'),
        candidates={},
        logits=[batch.logits],
        bytes_to_move=bytes_to_move(size, batch),
    )
    state = teach(make_ols(size, implementation='plain').to(device))
    for name, build in losses(size, state).items():
        if is_skipped(name, skip):
            continue
        try:
            criterion: Any = build()
        except ImportError as error:
            group.notes.append(f'{name} was left out: {error}')
            continue
        if 'Sparse' in name:
            teach(criterion)
        candidate = forward_backward(criterion, compute, watch)
        # The roll-over is the same for every implementation, and for every dtype of the logits.
        once = 'implementation' not in name and dtype == torch.float32
        if once and hasattr(criterion, 'update_soft_labels'):
            candidate.roll_over = roll_over(criterion)
        group.candidates[name] = candidate
    return group


def forms_on(device: str) -> dict[str, dict[str, Any]]:
    """The implementations that differ there."""
    return {**FORMS, **GPU_FORMS} if device == 'cuda' else FORMS


def ols_forms(device: str, skip: Sequence[str], **settings: Any) -> dict[str, Any]:
    """Make OLSLoss in all its implementations."""
    return {
        name: OLSLoss(**settings, **form).to(device)
        for name, form in forms_on(device).items()
        if not is_skipped(name, skip)
    }


def yolo_configs() -> tuple[Any, dict[str, Any]]:
    """Return the model of the hard-label config, and the settings of the OLS config's loss."""
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules(init_default_scope=True)
    model = Config.fromfile(mmdet_ols.config_path('yolo_hard_voc.py')).model
    loss = Config.fromfile(mmdet_ols.config_path('yolo_ols_voc.py')).model.bbox_head.loss_cls
    return model, {key: value for key, value in loss.items() if key != 'type'}


def head_group(device: str, skip: Sequence[str]) -> Group:
    """Make the candidates for the YOLO config's head, on 8 images of 416 pixels, 3 boxes each."""
    from mmdet.registry import MODELS
    from mmengine.structures import InstanceData

    images, pixels = 8, 416
    model, settings = yolo_configs()
    head = MODELS.build({**model.bbox_head, 'train_cfg': model.train_cfg}).to(device)
    draws = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(
            images, 3 * head.num_attrib, pixels // stride, pixels // stride, generator=draws
        )
        .to(device)
        .requires_grad_()
        for stride in (32, 16, 8)
    ]
    boxes = []
    for _ in range(images):
        corner = torch.rand(3, 2, generator=draws) * 0.6 * pixels
        extent = (0.1 + 0.3 * torch.rand(3, 2, generator=draws)) * pixels
        classes = torch.randint(head.num_classes, (3,), generator=draws)
        objects = InstanceData(bboxes=torch.cat([corner, corner + extent], 1), labels=classes)
        boxes.append(objects.to(device))

    def compute(criterion: Criterion) -> tuple[Tensor, list[Tensor]]:
        head.loss_cls = criterion
        by_level = head.loss_by_feat(maps, boxes, [{}] * images).values()
        return torch.stack([loss for levels in by_level for loss in levels]).sum(), maps

    losses = {MMDET: head.loss_cls, **ols_forms(device, skip, **settings)}
    return Group(
        case='yolo_head',
        dtype='float32',
        candidates={
            name: forward_backward(criterion, compute, Stopwatch(device))
            for name, criterion in losses.items()
        },
        logits=maps,
    )


def network_group(case: str, device: str, skip: Sequence[str]) -> Group:
    """Make the candidates for training steps of one network, whose loss is exchanged."""
    torch.manual_seed(0)
    network, losses, compute = (resnet if case == 'resnet50' else yolo)(device, skip)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    watch = Stopwatch(device)

    def training(criterion: Criterion) -> Step:
        def step() -> tuple[Any, ...]:
            start = watch.now()
            optimizer.zero_grad()
            compute(criterion).backward()
            optimizer.step()
            return start, watch.now()

        return step

    return Group(
        case=case,
        dtype='float32',
        candidates={
            name: Candidate(training(criterion), nbytes_of(criterion))
            for name, criterion in losses.items()
        },
        parts=('training step',),
    )


#: A network, its losses by name, and a function that computes a batch's loss with one of them.
Network = tuple[nn.Module, dict[str, Any], Callable[[Criterion], Tensor]]


def resnet(device: str, skip: Sequence[str]) -> Network:
    """Make a ResNet-50 that sees 8 images of 224 pixels with 1,000 classes."""
    from torchvision.models import resnet50

    network = resnet50().to(device)
    images = torch.randn(8, 3, 224, 224, device=device)
    label = torch.randint(1000, (8,), device=device)
    losses = {'PyTorch cross_entropy': nn.CrossEntropyLoss()}
    losses.update(ols_forms(device, skip, num_classes=1000))
    return network, losses, lambda criterion: criterion(network(images), label)


def yolo(device: str, skip: Sequence[str]) -> Network:
    """Make the YOLO config's detector, which sees 4 images of 416 pixels with 3 boxes each."""
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs

    model, settings = yolo_configs()
    model.backbone.init_cfg = None  # random weights: nothing to download
    model.data_preprocessor.batch_augments = None  # they would change the size
    network = MODELS.build(model).train().to(device)
    head = network.bbox_head
    inputs = demo_mm_inputs(
        4, [(3, 416, 416)] * 4, num_items=[3] * 4, num_classes=head.num_classes, device=device
    )
    batch = network.data_preprocessor(inputs, training=True)

    def compute(criterion: Criterion) -> Tensor:
        head.loss_cls = criterion
        return network.parse_losses(network(**batch, mode='loss'))[0]

    return network, {MMDET: head.loss_cls, **ols_forms(device, skip, **settings)}, compute
