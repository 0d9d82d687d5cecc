"""ResNet-56 on CIFAR-100: online label smoothing (paper, Tables III, VII and XI)."""

_base_ = 'resnet56_hard_cifar100.py'

work_dir = 'work_dirs/resnet56_ols_cifar100' + _base_.noise_suffix
paper_result = __import__('mmdet_ols').paper_results('ols', **_base_.cell)

model = dict(head=dict(loss=dict(_delete_=True, type='OLSLoss', num_classes=100, alpha=0.5)))
default_hooks = dict(ols=dict(type='OLSHook'))
