"""The VOC recipe in MMEngine's FlexibleRunner, with DDP: the same training as without it."""

_base_ = '../yolo_ols_voc.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='DDPStrategy',
    model_wrapper=dict(type='MMDistributedDataParallel', broadcast_buffers=False),
)
