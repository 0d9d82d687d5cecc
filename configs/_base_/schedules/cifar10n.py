"""24 epochs for a CPU: the learning rate falls along a cosine to zero."""

_base_ = 'cifar.py'

param_scheduler = dict(
    _delete_=True,
    type='CosineAnnealingLR',
    eta_min=0,
    by_epoch=True,
    begin=0,
    end=24,
    convert_to_iter_based=True,
)
train_cfg = dict(max_epochs=24, val_interval=2)
