"""Fine-grained data: online label smoothing (paper, Table VI)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/ols'
paper_result = __import__('mmdet_ols').paper_results('ols', **_base_.cell)

# The paper's text. The file that the authors released for these data differs: ols_as_released.py.
loss = dict(
    _delete_=True, type='OLSLoss', num_classes=_base_.data_preprocessor.num_classes, alpha=0.5
)
model = dict(head=dict(loss=loss))
default_hooks = dict(ols=dict(type='OLSHook'))
