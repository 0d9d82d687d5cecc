"""ImageNet: soft bootstrapping (paper, Tables IV and IX)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/bootsoft'
paper_result = __import__('mmdet_ols').paper_results('bootsoft', **_base_.cell)

# beta as for CIFAR; the paper does not say.
model = dict(
    head=dict(
        loss=dict(_delete_=True, type='BootstrapLoss', num_classes=1000, mode='soft', beta=0.95)
    )
)
