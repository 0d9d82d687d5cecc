"""CIFAR-100: online label smoothing (paper, Tables II, VII and XI)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/ols'
paper_result = __import__('mmdet_ols').paper_results('ols', **_base_.cell)

# The paper's text: uniform soft labels in the first epoch. `start='zeros', empty_class='uniform'`
# is the authors' CIFAR code.
model = dict(head=dict(loss=dict(_delete_=True, type='OLSLoss', num_classes=100, alpha=0.5)))
default_hooks = dict(ols=dict(type='OLSHook'))
