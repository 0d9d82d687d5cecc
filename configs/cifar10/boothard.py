"""CIFAR-10: hard bootstrapping (paper, Tables VIII and XII)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/boothard'
paper_result = __import__('mmdet_ols').paper_results('boothard', **_base_.cell)

model = dict(
    head=dict(loss=dict(_delete_=True, type='BootstrapLoss', num_classes=10, mode='hard', beta=0.8))
)
