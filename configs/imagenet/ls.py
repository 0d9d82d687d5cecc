"""ImageNet: label smoothing of 0.1 (paper, Tables IV and IX)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/ls'
paper_result = __import__('mmdet_ols').paper_results('ls', **_base_.cell)

model = dict(head=dict(loss=dict(_delete_=True, type='LSLoss', num_classes=1000, epsilon=0.1)))
