"""CIFAR-100: symmetric cross entropy (paper, Tables II and VII)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/sce'
paper_result = __import__('mmdet_ols').paper_results('sce', **_base_.cell)

# `label='clamped'` is the authors' code, which by a slip smooths the labels as well.
model = dict(
    head=dict(loss=dict(_delete_=True, type='SCELoss', num_classes=100, alpha=6.0, beta=0.1))
)
