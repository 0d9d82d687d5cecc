"""CIFAR-100: soft bootstrapping (paper, Tables II and VII)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/bootsoft'
paper_result = __import__('mmdet_ols').paper_results('bootsoft', **_base_.cell)

model = dict(
    head=dict(
        loss=dict(_delete_=True, type='BootstrapLoss', num_classes=100, mode='soft', beta=0.95)
    )
)
