"""Fine-grained data: label smoothing of 0.1 (paper, Table VI)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/ls'
paper_result = __import__('mmdet_ols').paper_results('ls', **_base_.cell)

loss = dict(
    _delete_=True, type='LSLoss', num_classes=_base_.data_preprocessor.num_classes, epsilon=0.1
)
model = dict(head=dict(loss=loss))
