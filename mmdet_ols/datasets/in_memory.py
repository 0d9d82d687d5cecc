"""A data set of small images that is decoded once and served in whole batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from mmdet_ols.datasets.batch_transforms import BatchTransform
from mmdet_ols.datasets.wrapper import DatasetWrapper, generator
from mmdet_ols.registry import register_dataset


@register_dataset
class InMemoryDataset(DatasetWrapper):
    """Keeps every image of another data set in one tensor, and augments batches instead of images.

    To be used as any data set of MMPretrain, best with `num_workers=0` and
    `collate_fn=dict(type='default_collate')`. In an MMEngine run the random numbers of a batch
    depend on the run's seed, the epoch and the samples alone, so that a resumed run goes on as if
    it had not been interrupted; elsewhere they come from torch's global generator.

    Args:
        dataset: The data set that loads the images, or its config. Its pipeline is run once for
            each image: it must load and pack it (`PackInputs`), with nothing random in between.
        batch_transforms: What is done to each batch: `BatchTransform`s or their configs.
        device: Where the images lie and are augmented. On 'cuda' they never leave the GPU.

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
            if getattr(transform, '_methods_with_randomness', ()):
                raise ValueError(
                    '`dataset.pipeline` must not be random, since each image passes it only once '
                    f'in a run, but got {type(transform).__name__}: give its counterpart for '
                    'batches in `batch_transforms` of InMemoryDataset.'
                )
        self.images, self._samples = self._load(device)

    def _load(self, device: str) -> tuple[Tensor, list[Any]]:
        from rich.progress import track

        images, samples = torch.empty(0), []
        for index in track(range(len(self)), 'Loading images into memory', transient=True):
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
                raise ValueError(
                    '`dataset` must give uint8 images of one size, but sample '
                    f'{index} is {image.dtype} of shape {tuple(image.shape)} and the first one is '
                    f"of shape {tuple(images.shape[1:])}: add dict(type='Resize', "
                    'scale=(width, height)) to its pipeline, before PackInputs.'
                )
            images[index] = image
            samples.append(packed['data_samples'])
        return images.to(device), samples

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample, augmented as a batch of one."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
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
            draws = _generator(indices, device)
            for transform in self.batch_transforms:
                images = transform(images, draws)
        samples = [_copy(self._samples[index]) for index in indices]
        # Samples rather than a batch, for the collate functions of all hosts; they are views.
        return [
            dict(inputs=image, data_samples=sample)
            for image, sample in zip(images.unbind(), samples)
        ]


def _transforms(dataset: Any) -> Iterator[Any]:
    """Of the pipelines of a data set and of the ones that it wraps."""
    if hasattr(dataset, 'pipeline'):
        yield from getattr(dataset.pipeline, 'transforms', ())
    else:
        inner = getattr(dataset, 'dataset', None)
        for part in getattr(dataset, 'datasets', [] if inner is None else [inner]):
            yield from _transforms(part)


def _generator(indices: Sequence[int], device: torch.device) -> torch.Generator:
    from mmengine.logging import MessageHub

    run = MessageHub.get_current_instance()
    # MMEngine brings the epoch up to date before it asks for the first batch; its iteration lags
    # behind by one, except at the start.
    seed, epoch = run.get_info('seed'), run.get_info('epoch')
    if seed is None or epoch is None or get_worker_info() is not None:  # a worker's copy is old
        seed, epoch = int(torch.randint(2**32, ())), 0
    return generator(seed, epoch, *indices, device=device)


def _copy(sample: Any) -> Any:
    """A data sample whose fields can be set without setting those of the next epochs.

    MMEngine's own `clone` takes ten times as long: it checks and registers each field anew.
    """
    copied = sample.__class__.__new__(sample.__class__)
    copied.__dict__.update(sample.__dict__)
    for names in ('_metainfo_fields', '_data_fields'):
        copied.__dict__[names] = set(sample.__dict__[names])
    return copied
