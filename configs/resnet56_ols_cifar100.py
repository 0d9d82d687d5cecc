"""ResNet-56 on CIFAR-100: online label smoothing (paper, Tables III, VII and XI)."""

_base_ = 'resnet56_hard_cifar100.py'

# Soft labels are uniform in the first epoch, as in the paper's text. The authors' CIFAR code is
# `start='zeros', empty_class='uniform'`.
model = dict(head=dict(loss=dict(_delete_=True, type='OLSLoss', num_classes=100, alpha=0.5)))
default_hooks = dict(ols=dict(type='OLSHook'))
paper_cell = dict(method='ols')
