"""ResNet-56 on CIFAR-100: label smoothing of 0.1 (paper, Tables III, VII and XI)."""

_base_ = 'resnet56_hard_cifar100.py'

work_dir = 'work_dirs/resnet56_ls_cifar100' + _base_.noise_suffix
paper_result = __import__('mmdet_ols').paper_results('ls', **_base_.cell)

model = dict(head=dict(loss=dict(_delete_=True, type='LSLoss', num_classes=100, epsilon=0.1)))
