"""CIFAR-10: OLS-Single, another sample as soft label."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/ols_single'
paper_result = []  # the paper tried it on other data alone

model = dict(head=dict(loss=dict(_delete_=True, type='OLSSingleLoss', num_classes=10, alpha=0.5)))
default_hooks = dict(ols=dict(type='OLSHook'))
