"""CIFAR-100: hard labels (paper, Tables II, VII and XI).

Environment variables choose the cell: NETWORK (resnet34, resnet50, resnet101, resnext29_2x64d,
resnext29_32x4d, resnet29, resnet56, resnet74, resnet110) and NOISE_RATE (0 to 1). Beyond the paper:
DATA=cifar100_per_image takes MMPretrain's own data pipeline, SCHEDULE=cifar_small 40 epochs.
"""

_base_ = [
    '../_base_/models/{{$NETWORK:resnet34}}_cifar.py',
    '../_base_/datasets/{{$DATA:cifar100}}.py',
    '../_base_/schedules/{{$SCHEDULE:cifar}}.py',
    '../_base_/classification_runtime.py',
]

cell = dict(
    data='{{$DATA:cifar100}}',
    network='{{$NETWORK:resnet34}}',
    noise_rate=_base_.noise_rate,
    schedule='{{$SCHEDULE:cifar}}',
)
runs = 'work_dirs/{{$DATA:cifar100}}_{{$NETWORK:resnet34}}' + _base_.noise_suffix
work_dir = f'{runs}/hard'
paper_result = __import__('mmdet_ols').paper_results('hard', **cell)

model = dict(head=dict(num_classes=100))
# The errors on the training set and on its wrong labels after each epoch (Figs. 4 and 5).
custom_hooks = [dict(type='TrainErrorHook')] * (_base_.noise_rate > 0)
