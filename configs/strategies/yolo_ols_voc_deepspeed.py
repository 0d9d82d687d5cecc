"""The VOC recipe with its gradients and optimizer state divided over the GPUs (DeepSpeed, ZeRO 2).

Needs `pip install 'deepspeed<0.19'`: later releases lack what MMEngine 0.10 imports from it.
"""

_base_ = '../yolo_ols_voc.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='DeepSpeedStrategy',
    zero_optimization=dict(stage=2),
    # DeepSpeed calls every optimizer but its own and Adam untested, SGD among them.
    config=dict(zero_allow_untested_optimizer=True),
)
# DeepSpeed clips gradients (`gradient_clipping`) and casts (`bf16`) itself, as the strategy says.
optim_wrapper = dict(
    _delete_=True, type='DeepSpeedOptimWrapper', optimizer=_base_.optim_wrapper.optimizer
)
