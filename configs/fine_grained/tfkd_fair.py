"""Fine-grained data: Tf-KD, its regularisation form, on the scale of a cross entropy."""

_base_ = 'tfkd.py'

work_dir = f'{_base_.runs}/tfkd_fair'
paper_result = None

model = dict(head=dict(loss=dict(form='fair')))
