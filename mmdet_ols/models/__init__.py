"""Parts of a detector's data preprocessor that run once per batch."""

from mmdet_ols.models.batch_random_scale import BatchRandomScale

__all__ = ['BatchRandomScale']
