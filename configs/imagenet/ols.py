"""ImageNet: online label smoothing (paper, Tables IV and IX)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/ols'
paper_result = __import__('mmdet_ols').paper_results('ols', **_base_.cell)

model = dict(head=dict(loss=dict(_delete_=True, type='OLSLoss', num_classes=1000, alpha=0.5)))
default_hooks = dict(ols=dict(type='OLSHook'))
