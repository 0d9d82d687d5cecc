"""CIFAR-100: DisturbLabel (paper, Table II)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/disturblabel'
paper_result = __import__('mmdet_ols').paper_results('disturblabel', **_base_.cell)

model = dict(
    head=dict(loss=dict(_delete_=True, type='DisturbLabelLoss', num_classes=100, rate=0.1))
)
