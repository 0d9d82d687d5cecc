"""A data set of small images that is decoded once and served in whole batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from mmdet_ols.core.random_streams import generator
from mmdet_ols.datasets.batch_transforms import BatchTransform
from mmdet_ols.datasets.tree import walk_datasets
from mmdet_ols.datasets.wrapper import DatasetWrapper
from mmdet_ols.registry import register_dataset, register_function


@register_dataset
class InMemoryDataset(DatasetWrapper):
    """Keeps every image of another data set in one tensor, and augments batches instead of images.

    Use it like any data set of MMPretrain, preferably with `num_workers=0` and
    `collate_fn=dict(type='whole_batch_collate')`; the hosts' collate functions work too, but more
    slowly. In an MMEngine run, the random numbers of a batch depend on the run's seed, the epoch,
    the samples, and how often they have occurred in that epoch, so that a resumed run continues as
    if it had not been interrupted; elsewhere they come from torch's global generator.

    Args:
        dataset: The data set that loads the images, or its config. Its pipeline is run once for
            each image: it must load and pack it (`PackInputs`), with nothing random in between.
            A random transform of your own is known as such by an attribute `is_random = True`.
        batch_transforms: `BatchTransform`s or their configs, which are applied to each batch.
        device: Device on which the images are kept and augmented. On 'cuda' they never leave the
            GPU.

    Attributes:
        images: All images, of shape (N, C, H, W), uint8, on `device`.

    Raises:
        TypeError: A batch transform is for single images.
        ValueError: The pipeline is random, does not pack its results, or gives something else
            than uint8 images of one size; or there is no such device.
    """

    images: Tensor

    def __init__(
        self,
        dataset: Any,
        batch_transforms: Sequence[Any] = (),
        device: str = 'cpu',
    ) -> None:
        from mmengine.registry import TRANSFORMS

        if torch.device(device).type == 'cuda' and not torch.cuda.is_available():
            raise ValueError(
                f'`device` must be one that PyTorch can use, but got {device!r} without a GPU: set '
                "device='cpu'."
            )
        super().__init__(dataset)
        self.batch_transforms = [
            TRANSFORMS.build(transform) if isinstance(transform, dict) else transform
            for transform in batch_transforms
        ]
        for transform in self.batch_transforms:
            if not isinstance(transform, BatchTransform):
                raise TypeError(
                    '`batch_transforms` must hold transforms of whole batches (BatchRandomCrop, '
                    'BatchRandomFlip, BatchCutOut, or another BatchTransform), but got '
                    f'{type(transform).__name__}.'
                )
        for transform in _transforms(self.dataset):
            marked_by_mmcv = getattr(transform, '_methods_with_randomness', ())
            if marked_by_mmcv or getattr(transform, 'is_random', False):
                raise ValueError(
                    '`dataset.pipeline` must not be random, since each image passes it only once '
                    f'in a run, but got {type(transform).__name__}: give its counterpart for '
                    'batches in `batch_transforms` of InMemoryDataset.'
                )
        self.images, self._samples = self._load(device)
        self._epoch, self._visits = -1, Counter[int]()

    def _load(self, device: str) -> tuple[Tensor, list[Any]]:
        from mmengine.dist import is_main_process
        from rich.progress import track

        images, samples = torch.empty(0), []
        indices, others = range(len(self)), not is_main_process()
        for index in track(indices, 'Loading images into memory', transient=True, disable=others):
            packed = self.dataset[index]
            if not isinstance(packed, dict) or not {'inputs', 'data_samples'} <= packed.keys():
                raise ValueError(
                    "`dataset.pipeline` must end with dict(type='PackInputs'), but sample "
                    f'{index} left it as {type(packed).__name__}.'
                )
            image = packed['inputs']
            if index == 0:
                images = torch.empty((len(self), *image.shape), dtype=torch.uint8)
            if image.shape != images.shape[1:] or image.dtype != torch.uint8:
                if image.dtype == torch.uint8 and len(image) == images.shape[1]:
                    remedy = (
                        "add dict(type='Resize', scale=(width, height)) to its pipeline, before "
                        'PackInputs'
                    )
                else:
                    remedy = "set color_type='color' of LoadImageFromFile in its pipeline"
                raise ValueError(
                    '`dataset` must give uint8 images of one size, but sample '
                    f'{index} is {image.dtype} of shape {tuple(image.shape)} and the first one is '
                    f'of shape {tuple(images.shape[1:])}: {remedy}.'
                )
            images[index] = image
            samples.append(packed['data_samples'])
        return images.to(device), samples

    @property
    def pipeline(self) -> Any:
        """That of the inner data set, which all images have passed."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        raise ValueError(
            'The images of InMemoryDataset have passed their pipeline, and another one would have '
            'no effect: remove `train_pipeline` from the schedule of SwitchRecipeHook (or the hook '
            'that sets it), or load the images without InMemoryDataset.'
        )

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample, augmented as a batch of one."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> WholeBatch:
        """The samples of a batch; PyTorch's data loader asks for them all at once.

        Raises:
            RuntimeError: A worker process asks for images on a GPU.
        """
        device = self.images.device
        if device.type != 'cpu' and get_worker_info() is not None:
            raise RuntimeError(
                f'Worker processes cannot serve images that lie on {device}: set num_workers=0 '
                'and persistent_workers=False in the data loader.'
            )
        images = self.images.index_select(0, torch.tensor(indices, device=device))
        if self.batch_transforms:
            draws = self._generator(indices)
            for transform in self.batch_transforms:
                images = transform(images, draws)
        return WholeBatch(images, [_copy(self._samples[index]) for index in indices])

    def _generator(self, indices: Sequence[int]) -> torch.Generator:
        from mmengine.logging import MessageHub

        run, device = MessageHub.get_current_instance(), self.images.device
        # MMEngine updates the epoch before it asks for the first batch; its iteration lags behind
        # by one, except at the start.
        seed, epoch = run.get_info('seed'), run.get_info('epoch')
        if seed is None or epoch is None or get_worker_info() is not None:  # a worker's copy is old
            return generator(int(torch.randint(2**32, ())), device=device)
        if epoch != self._epoch:
            self._epoch, self._visits = epoch, Counter()
        # Samples occur several times in an epoch where a wrapper repeats them, and in a loop that
        # does not count epochs. A batch that occurred before had the same first sample.
        self._visits[indices[0]] += 1
        return generator(seed, epoch, self._visits[indices[0]], *indices, device=device)


class WholeBatch(Sequence):
    """The samples of a batch, which `whole_batch_collate` passes on without taking it apart.

    Args:
        images: Of shape (B, C, H, W).
        data_samples: One for each image.
    """

    def __init__(self, images: Tensor, data_samples: list[Any]) -> None:
        self.images = images
        self.data_samples = data_samples

    def __len__(self) -> int:
        return len(self.data_samples)

    def __getitem__(self, index: Any) -> Any:
        return dict(inputs=self.images[index], data_samples=self.data_samples[index])


@register_function
def whole_batch_collate(data_batch: Sequence[Any]) -> Any:
    """Pass on the batches of `InMemoryDataset`; do as MMEngine's `default_collate` with others."""
    from mmengine.dataset import default_collate

    if isinstance(data_batch, WholeBatch):
        return dict(inputs=data_batch.images, data_samples=data_batch.data_samples)
    return default_collate(data_batch)


def _transforms(dataset: Any) -> Iterator[Any]:
    """The transforms in the pipelines of a data set, and of those that it wraps."""
    for node in walk_datasets(dataset):
        pipeline = getattr(node, 'pipeline', None)
        transforms = getattr(pipeline, 'transforms', pipeline)
        if isinstance(transforms, (list, tuple)):
            yield from transforms


def _copy(sample: Any) -> Any:
    """Copy a data sample, so that fields that are set in it are not set in the next epochs.

    MMEngine's own `clone` takes ten times as long, because it checks and registers each field.
    """
    copied = object.__new__(type(sample))
    fields = copied.__dict__
    fields.update(sample.__dict__)
    fields['_metainfo_fields'] = fields['_metainfo_fields'].copy()
    fields['_data_fields'] = fields['_data_fields'].copy()
    return copied
