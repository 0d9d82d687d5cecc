"""Fine-grained data: Tf-KD, its regularisation form, on the scale of a cross entropy."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/tfkd_fair'
paper_result = None

temperature = dict(mobilenetv2=40.0).get(_base_.cell.network, 6.0)  # see tfkd.py
loss = dict(
    _delete_=True,
    type='TfKDRegLoss',
    num_classes=_base_.data_preprocessor.num_classes,
    alpha=0.95,
    temperature=temperature,
    form='fair',
)
model = dict(head=dict(loss=loss))
