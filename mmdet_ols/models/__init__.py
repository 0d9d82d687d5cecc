"""Networks for classifiers, and parts of a data preprocessor that run once per batch.

`yolo_head` is not imported here, since it needs MMDetection; the configs that use it import it.
"""

from mmdet_ols.models.avg_pool_dropout import AvgPoolDropout
from mmdet_ols.models.batch_random_scale import BatchRandomScale
from mmdet_ols.models.cifar_resnet import CIFARResNet, CIFARResNeXt
from mmdet_ols.models.san import SAN

__all__ = ['SAN', 'AvgPoolDropout', 'BatchRandomScale', 'CIFARResNeXt', 'CIFARResNet']
