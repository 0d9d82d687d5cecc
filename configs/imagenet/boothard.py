"""ImageNet: hard bootstrapping (paper, Table IV)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/boothard'
paper_result = __import__('mmdet_ols').paper_results('boothard', **_base_.cell)

# beta as for CIFAR; the paper does not say.
model = dict(
    head=dict(
        loss=dict(_delete_=True, type='BootstrapLoss', num_classes=1000, mode='hard', beta=0.8)
    )
)
