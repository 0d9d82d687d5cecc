"""The error under FGSM and PGD, the robustness that the paper's Tables VIII and IX report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.evaluation.attacks import FGSM, PGD, Attack
from mmdet_ols.evaluation.descriptions import MetricDescription
from mmdet_ols.evaluation.passes import (
    evaluation_mode,
    ground_truth_labels,
    indexed_batches,
    refuse_test_time_augmentation,
)
from mmdet_ols.registry import Hook, register_hook


@register_hook
class AdversarialErrorHook(Hook):
    """Attacks the test images and logs the error of a classifier on them.

    The attacks are white-box ones on the true label. They change pixels before normalisation (0 to
    255, not rounded), with the network in eval mode and float32 (half precision would lose small
    gradients, so the loop's `fp16` has no effect here). They follow the test loop and use its data
    loader, whose pipeline must leave the pixels as they are (uint8) and normalisation to the data
    preprocessor, as MMPretrain's do. With EMA the averaged weights are attacked, which are those
    that the loop has tested.

    Logs for each attack, in per cent and together with the metrics, `NAME/top1_error` and
    `NAME/top5_error`, such as `fgsm/top1_error`.

    Args:
        attacks: Arguments of `Attack`, one dict each; None is FGSM with eps 8 and PGD of 20 steps
            with eps 8, step 2 and random start.
        num_samples: Attack this many images, evenly spaced over the data set; None is all.
        batch_size: Images attacked at once, where the loader's batches are too large for a
            backward pass; None is the loader's.
        val_interval: Also attack the validation images at every `val_interval`-th validation,
            counted from the start of the process; 0 never does.
        seed: Seed of the random starts.

    Raises:
        ValueError: An argument is out of range, two attacks have the same name, or the test has
            test-time augmentation.
    """

    # Before RuntimeInfoHook (VERY_HIGH), which hands the metrics to the log, and before EMAHook
    # (NORMAL), which takes the averaged weights out again.
    priority = 'HIGHEST'
    logged_metrics = tuple(
        MetricDescription(rf'{key}/top(?P<k>[15])_error', title, '%', lower_is_better=True)
        for key, title in (
            ('fgsm', 'FGSM top-{k} error'),
            ('pgd', 'PGD top-{k} error'),
            ('(?P<attack>[^/]+)', '{attack} top-{k} error'),
        )
    )

    def __init__(
        self,
        attacks: Sequence[dict[str, Any]] | None = None,
        num_samples: int | None = None,
        batch_size: int | None = None,
        val_interval: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.attacks = [
            Attack(**attack) for attack in ((FGSM, PGD) if attacks is None else attacks)
        ]
        names = [attack.name for attack in self.attacks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f'`attacks` must be one or more of different names, but got {names}.')
        check_integer('num_samples', num_samples, optional=True)
        check_integer('batch_size', batch_size, optional=True)
        check_integer('val_interval', val_interval, least=0, remedy='0 means never')
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.val_interval = val_interval
        self.seed = seed
        self._validations = 0

    def get_triggered_stages(self) -> list:
        """Leave validation out where this hook does nothing there."""
        stages = super().get_triggered_stages()
        return stages if self.val_interval else [s for s in stages if s != 'after_val_epoch']

    def before_test(self, runner: Any) -> None:
        """Refuse what cannot be attacked now, rather than after the test."""
        refuse_test_time_augmentation(runner.model, 'AdversarialErrorHook')

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Add the errors under attack to the metrics of the test."""
        if metrics is not None:
            metrics.update(self._errors(runner.model, runner.test_dataloader))

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Add the errors under attack to the metrics of every `val_interval`-th validation."""
        self._validations += 1
        for attack in self.attacks:  # otherwise the log repeats them at every validation
            for key in _keys(attack):
                runner.message_hub.log_scalars.pop(f'val/{key}', None)
        if metrics is not None and self.val_interval and not self._validations % self.val_interval:
            metrics.update(self._errors(runner.model, runner.val_dataloader))

    def _errors(self, model: torch.nn.Module, loader: Any) -> dict[str, float]:
        from mmengine.dist import all_reduce, get_rank

        size = len(loader.dataset)
        wanted = min(self.num_samples or size, size)
        # Each attack has a generator of its own, so that its result does not depend on the others.
        generators = [torch.Generator().manual_seed(self.seed + get_rank()) for _ in self.attacks]
        wrong = torch.zeros(len(self.attacks), 2, dtype=torch.double)  # top 1, top 5
        description = 'Attacking: ' + ', '.join(attack.name for attack in self.attacks)
        with evaluation_mode(model) as classifier:
            for batch, index in indexed_batches(loader, description):
                # `wanted` samples, evenly spaced, since data sets may be sorted by class.
                chosen = (index + 1) * wanted // size > index * wanted // size
                chosen = chosen.logical_and(index < size).nonzero()[:, 0]
                chunks = chosen.split(self.batch_size or len(index)) if len(chosen) else ()
                for chunk in chunks:
                    for row, (attack, generator) in enumerate(zip(self.attacks, generators)):
                        wrong[row] += _count_errors(classifier, batch, chunk, attack, generator)
        all_reduce(wrong)
        return {
            key: 100 * float(count) / wanted
            for attack, counts in zip(self.attacks, wrong)
            for key, count in zip(_keys(attack), counts)
        }


def _keys(attack: Attack) -> tuple[str, str]:
    return f'{attack.name}/top1_error', f'{attack.name}/top5_error'


def _count_errors(
    classifier: Any,
    batch: dict[str, Any],
    chosen: Tensor,
    attack: Attack,
    generator: torch.Generator,
) -> Tensor:
    """How many of the chosen samples of a batch are wrong after an attack: (top 1, top 5)."""
    device = next(classifier.parameters()).device
    inputs = batch['inputs']
    stacked = isinstance(inputs, Tensor)
    images = [inputs[chosen]] if stacked else [inputs[index] for index in chosen]
    if any(image.dtype != torch.uint8 for image in images):
        raise ValueError(
            'AdversarialErrorHook attacks pixels from 0 to 255 (uint8), but the test loader gives '
            f'{images[0].dtype}: leave the normalisation to `mean` and `std` of the '
            '`data_preprocessor`, and take it out of the pipeline.'
        )
    label = ground_truth_labels([batch['data_samples'][index] for index in chosen]).to(device)

    def score(images: list[Tensor]) -> Tensor:
        data = classifier.data_preprocessor(dict(inputs=images[0] if stacked else images))
        result = classifier(data['inputs'], mode='tensor')
        if not isinstance(result, Tensor) or result.ndim != 2:
            raise ValueError(
                'AdversarialErrorHook needs a classifier that gives scores of shape (samples, '
                f"classes) with mode='tensor', but {type(classifier).__name__} gives "
                f'{tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__}.'
            )
        return result

    attacked = attack.perturb(
        score, [image.to(device, torch.float) for image in images], label, generator
    )
    with torch.no_grad():
        scores = score(attacked)
    hits = scores.topk(min(5, scores.shape[1])).indices == label[:, None]
    return torch.stack([~hits[:, 0], ~hits.any(dim=1)]).sum(dim=1).cpu()
