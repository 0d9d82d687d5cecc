"""The paper's Algorithm 1 and Eq. 3 to 6 as loops over single samples; imports nothing of ours."""

from __future__ import annotations

import torch
from torch import Tensor


class Reference:
    """Online label smoothing in Python lists of floats: row y of `soft_labels` belongs to class y.

    What the paper leaves open is decided here as in the package's contract: the sigmoid form, the
    background, rows as labels, who teaches, and a class without a correctly classified sample.
    """

    def __init__(
        self,
        num_classes,
        alpha=0.5,
        use_sigmoid=False,
        background=False,
        start='uniform',
        empty_class='keep',
        freeze_confidence=None,
        soft_row_threshold=0.8,
        ignore_index=-100,
        sigmoid_reading='normalized',
        gamma=0.0,
        balance=None,
        quality_beta=None,
    ):
        self.num_classes = num_classes
        self.size = num_classes + (1 if background else 0)
        self.alpha = alpha
        self.use_sigmoid = use_sigmoid
        self.empty_class = empty_class
        self.freeze_confidence = freeze_confidence
        self.soft_row_threshold = soft_row_threshold
        self.ignore_index = ignore_index
        self.sigmoid_reading = sigmoid_reading
        self.gamma = gamma
        self.balance = balance
        self.quality_beta = quality_beta

        self.soft_labels = []
        for y in range(self.size):
            row = []
            for k in range(self.size):
                if y == num_classes:  # the background's row
                    row.append(1.0 if k == y else 0.0)
                elif start == 'uniform':
                    row.append(1.0 / self.size)
                elif start == 'zeros':
                    row.append(0.0)
                elif start == 'label_smoothing':
                    row.append(0.9 if k == y else 0.1 / (self.size - 1))
                elif start == 'hard':
                    row.append(1.0 if k == y else 0.0)
            self.soft_labels.append(row)
        self.start_period()

    def start_period(self):
        self.prob_sum = [[0.0] * self.size for _ in range(self.size)]
        self.correct_count = [0.0] * self.size
        self.sample_count = [0.0] * self.size

    def probabilities(self, scores: Tensor, use_sigmoid: bool | None = None) -> list[Tensor]:
        """p(k|x) of one sample (1-D scores), as scalars that carry a gradient."""
        if self.use_sigmoid if use_sigmoid is None else use_sigmoid:
            return [1 / (1 + torch.exp(-z)) for z in scores]
        # Shifting all scores alike changes no softmax but keeps exp() from overflowing.
        exps = [torch.exp(z - scores.detach().max()) for z in scores]
        return [e / sum(exps) for e in exps]

    def loss(self, scores: Tensor, label: int | list[float]) -> list[Tensor]:
        """Eq. 4 for one sample: one term for each score (their sum is the softmax form's loss)."""
        if label == self.ignore_index or (
            self.use_sigmoid and isinstance(label, int) and label < 0
        ):
            return [0 * z for z in scores]
        row = self.as_row(label)
        p = self.probabilities(scores)
        terms = []
        for k in range(self.size):
            hard = row[k]
            soft = sum(row[y] * self.soft_labels[y][k] for y in range(self.size))

            def cross_entropy(q, p_k):
                if not self.use_sigmoid:
                    return -q * torch.log(p_k)
                b, not_b = (1, 1) if self.balance is None else (self.balance, 1 - self.balance)
                hit = (1 - p_k) ** self.gamma * -torch.log(p_k)
                miss = p_k**self.gamma * -torch.log(1 - p_k)
                return b * q * hit + not_b * (1 - q) * miss

            if self.quality_beta is not None:  # not linear in the target, which is mixed first
                q = self.alpha * hard + (1 - self.alpha) * soft
                terms.append(abs(q - p[k]) ** self.quality_beta * cross_entropy(q, p[k]))
                continue
            # A zero row is a negative: there is no soft label to add, only the hard one.
            if sum(row) == 0:
                terms.append(cross_entropy(0.0, p[k]))
            else:
                terms.append(
                    self.alpha * cross_entropy(hard, p[k])
                    + (1 - self.alpha) * cross_entropy(soft, p[k])
                )
        return terms

    def as_row(self, label: int | list[float]) -> list[float]:
        if not isinstance(label, int):
            return label
        return [1.0 if k == label else 0.0 for k in range(self.size)]

    def learn(self, scores: Tensor, label: int | list[float], weight: float = 1.0) -> None:
        """Eq. 5 for one sample."""
        if label == self.ignore_index or weight == 0:
            return
        for z in scores:
            if not torch.isfinite(z):
                return
        row = self.as_row(label)
        if isinstance(label, int):
            y = label
        else:
            y = row.index(max(row))
            if row[y] <= 0 or row[y] < self.soft_row_threshold * sum(row):
                return
        if not 0 <= y < self.num_classes:
            return
        self.sample_count[y] += 1
        foreground = [float(z) for z in scores][: self.num_classes]
        if foreground.index(max(foreground)) != y:
            return
        self.correct_count[y] += 1
        use_sigmoid = self.use_sigmoid and self.sigmoid_reading != 'softmax'
        for k, p_k in enumerate(self.probabilities(scores.detach(), use_sigmoid)):
            self.prob_sum[y][k] += float(p_k)

    def roll_over(self) -> None:
        """Eq. 6, and the sums restart at zero."""
        for y in range(self.num_classes):
            confidence = max(self.soft_labels[y])
            if self.freeze_confidence is not None and confidence >= self.freeze_confidence:
                continue
            total = sum(self.prob_sum[y])
            if self.sigmoid_reading == 'mean':
                total = self.correct_count[y]
            if total > 0:
                self.soft_labels[y] = [value / total for value in self.prob_sum[y]]
            elif self.empty_class == 'uniform':
                self.soft_labels[y] = [1.0 / self.size] * self.size
        self.start_period()

    def tensors(self) -> dict[str, Tensor]:
        names = ('soft_labels', 'prob_sum', 'correct_count', 'sample_count')
        return {name: torch.tensor(getattr(self, name)) for name in names}
