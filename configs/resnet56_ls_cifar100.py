"""ResNet-56 on CIFAR-100: label smoothing of 0.1 (paper, Tables III, VII and XI)."""

_base_ = 'resnet56_hard_cifar100.py'

model = dict(head=dict(loss=dict(_delete_=True, type='LSLoss', num_classes=100, epsilon=0.1)))
paper_cell = dict(method='ls')
