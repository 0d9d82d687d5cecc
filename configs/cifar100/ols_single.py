"""CIFAR-100: OLS-Single, another sample as soft label (paper, section V-E, ResNet-56)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/ols_single'
paper_result = __import__('mmdet_ols').paper_results('ols_single', **_base_.cell)

model = dict(head=dict(loss=dict(_delete_=True, type='OLSSingleLoss', num_classes=100, alpha=0.5)))
default_hooks = dict(ols=dict(type='OLSHook'))
