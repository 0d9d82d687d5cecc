"""The error on the training images over time, and on the wrongly labelled ones among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from mmdet_ols.core.arguments import check_integer
from mmdet_ols.datasets.tree import IN_MEMORY, leaf_datasets, unaugmented_dataset
from mmdet_ols.engine.hooks.epochs import need_epochs
from mmdet_ols.evaluation.descriptions import MetricDescription
from mmdet_ols.evaluation.passes import evaluation_mode, ground_truth_labels, indexed_batches
from mmdet_ols.registry import Hook, register_hook


@register_hook
class TrainErrorHook(Hook):
    """Evaluates the training images after each epoch, in eval mode and without augmentation.

    Logs, in per cent, through the Visualizer (`vis_data/scalars.json`; the step is the epoch):

    - `train/top1_error`: against the labels that the network learns from;
    - `train/clean_error`: against the true labels, where the data set changed some
      (`NoisyLabelDataset`, `LabelFileDataset`);
    - `train/wrong_label_error`: the share of the wrongly labelled images whose prediction is not
      the wrong label (the paper's Fig. 5). It falls as the network memorises the noise.

    The true and the wrong labels are written into the work directory once. With EMA, the weights
    in training are evaluated, not the averaged ones.

    Args:
        interval: Number of epochs between two evaluations.
        pipeline: Transforms that load and pack a training image; None takes those of the
            validation set. Images that lie in memory (`InMemoryDataset`) need none.
        batch_size: Images evaluated at once; None is the training loader's.

    Raises:
        ValueError: An argument is out of range, the loop counts no epochs, or there is no
            validation set to take the pipeline from.
    """

    priority = 'LOW'
    logged_metrics = (
        MetricDescription(r'train/top1_error', 'train top-1 error', '%', lower_is_better=True),
        MetricDescription(r'train/clean_error', 'train clean error', '%', lower_is_better=True),
        # A high error on wrong labels is good: the noise was not memorised.
        MetricDescription(
            r'train/wrong_label_error', 'train wrong label error', '%', lower_is_better=False
        ),
    )

    def __init__(
        self,
        interval: int = 1,
        pipeline: Sequence[Any] | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        check_integer('interval', interval)
        check_integer('batch_size', batch_size, optional=True)
        self.interval = interval
        self.pipeline = pipeline
        self.batch_size = batch_size

    def before_train(self, runner: Any) -> None:
        """Prepare a data loader without augmentation, and record the wrong labels."""
        from mmengine.dataset import Compose, DefaultSampler
        from mmengine.dist import is_main_process

        need_epochs(self, runner)
        training = runner.train_dataloader
        if self.pipeline is not None:
            plain = unaugmented_dataset(training.dataset, Compose(self.pipeline))
        else:
            plain = plain_training_data(
                runner,
                'TrainErrorHook needs a `pipeline` that loads a training image and packs it '
                'without augmentation, since there is no validation set from which to take one.',
            )
        self._loader = DataLoader(
            plain,
            batch_size=self.batch_size or training.batch_size or 128,
            sampler=DefaultSampler(plain, shuffle=False, seed=0),
            num_workers=training.num_workers,
            collate_fn=training.collate_fn,
        )
        if is_main_process() and hasattr(plain, 'save_record'):
            plain.save_record(runner.work_dir)

    def after_train_epoch(self, runner: Any) -> None:
        """Evaluate the training images, and log the errors."""
        if not self.every_n_epochs(runner, self.interval):
            return
        errors = self._errors(runner.model)
        runner.visualizer.add_scalars(errors, step=runner.epoch + 1)
        listed = ', '.join(f'{key} {value:.2f} %' for key, value in errors.items())
        runner.logger.info(f'Training images after epoch {runner.epoch + 1}: {listed}')

    @torch.no_grad()
    def _errors(self, model: torch.nn.Module) -> dict[str, float]:
        from mmengine.dist import all_reduce

        dataset = self._loader.dataset
        size = len(dataset)  # type: ignore[arg-type]
        flipped = torch.as_tensor(getattr(dataset, 'flipped', []), dtype=torch.bool)
        # Numbers of errors and of samples: for the labels of training, the true and the wrong ones.
        counts = torch.zeros(3, 2, dtype=torch.long)
        with evaluation_mode(model) as classifier:
            for batch, index in indexed_batches(self._loader, 'Training images'):
                keep, index = index < size, index[index < size]
                samples = classifier.test_step(batch)
                scores = torch.stack([sample.pred_score for sample in samples])
                predicted = scores.argmax(dim=1).cpu()[keep]
                wrong = predicted != ground_truth_labels(samples).cpu()[keep]
                errors = [wrong]
                if len(flipped) == size and flipped.any():
                    true = torch.as_tensor(dataset.clean_labels)[index]  # type: ignore[attr-defined]
                    errors += [predicted != true, wrong[flipped[index]]]
                for count, error in zip(counts, errors):
                    count += torch.tensor([int(error.sum()), len(error)])
        all_reduce(counts)
        keys = ('train/top1_error', 'train/clean_error', 'train/wrong_label_error')
        return {
            key: 100 * int(wrong) / int(count) for key, (wrong, count) in zip(keys, counts) if count
        }


def plain_training_data(runner: Any, error: str) -> Any:
    """The training data without augmentation, with the pipeline of the validation set.

    Args:
        runner: The runner.
        error: What to say where images have to be loaded and there is no validation set.

    Raises:
        ValueError: See `error`.
    """
    dataset = runner.train_dataloader.dataset
    pipeline = None if runner.val_loop is None else _pipeline(runner.val_dataloader.dataset)
    if pipeline is None and _loads_images(dataset):
        raise ValueError(error)
    return unaugmented_dataset(dataset, pipeline)


def _pipeline(dataset: Any) -> Any:
    """The pipeline of the first data set that wraps no other one; None if it has none."""
    return vars(next(leaf_datasets(dataset))).get('pipeline')


def _loads_images(dataset: Any) -> bool:
    """Whether images pass a pipeline of the data set each time that they are asked for."""
    return any('pipeline' in vars(leaf) for leaf in leaf_datasets(dataset, whole=(IN_MEMORY,)))
