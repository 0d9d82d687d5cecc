"""Fine-grained data: online label smoothing as in the authors' released file."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/ols_as_released'
paper_result = None

# Both parts weigh 1 there, twice what the baselines' loss weighs, and a soft label stays for good
# once its class has 0.88 of it. Whether Table VI was made with that is not known.
loss = dict(
    _delete_=True,
    type='OLSLoss',
    num_classes=_base_.data_preprocessor.num_classes,
    alpha=0.5,
    loss_weight=2.0,
    freeze_confidence=0.88,
    empty_class='uniform',
)
model = dict(head=dict(loss=loss))
default_hooks = dict(ols=dict(type='OLSHook'))
