"""CIFAR-10: symmetric cross entropy (paper, Tables VIII and XII)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/sce'
paper_result = __import__('mmdet_ols').paper_results('sce', **_base_.cell)

# Its own values for CIFAR-10; `label='clamped'` is the code of the authors of OLS.
model = dict(
    head=dict(loss=dict(_delete_=True, type='SCELoss', num_classes=10, alpha=0.1, beta=1.0))
)
