"""The VOC recipe with its gradients and optimizer state sharded over the GPUs (DeepSpeed, ZeRO 2).

It needs `pip install 'deepspeed<0.19'`: later releases lack what MMEngine 0.10 imports from it.
"""

_base_ = '../yolo_ols_voc.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='DeepSpeedStrategy',
    zero_optimization=dict(stage=2),
    # DeepSpeed regards every optimizer except Adam and its own as untested, SGD included.
    config=dict(zero_allow_untested_optimizer=True),
)
# DeepSpeed itself clips gradients and casts: `gradient_clipping` and `bf16` of the strategy.
optim_wrapper = dict(
    _delete_=True, type='DeepSpeedOptimWrapper', optimizer=_base_.optim_wrapper.optimizer
)
