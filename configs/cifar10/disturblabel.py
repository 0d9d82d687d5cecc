"""CIFAR-10: DisturbLabel."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/disturblabel'
paper_result = []  # the paper tried it on other data alone

model = dict(head=dict(loss=dict(_delete_=True, type='DisturbLabelLoss', num_classes=10, rate=0.1)))
