"""`yolo_hard_voc07_small.py` on four fifths of VOC07 trainval, tested on the last fifth.

Learning rates and the options of methods are chosen with it, so that the test part stays unseen.
It trains for 5 epochs rather than 24. MMPretrain brings the data set that divides another one.
"""

_base_ = 'yolo_hard_voc07_small.py'

fold = dict(type='mmpretrain.KFoldDataset', num_splits=5, fold=0, seed=0)
trainval = dict(_base_.trainval, type='mmdet.XMLDataset')
held_out = dict(trainval, pipeline=_base_.test_pipeline)
train_dataloader = dict(dataset=dict(_delete_=True, **fold, dataset=trainval))
val_dataloader = dict(
    dataset=dict(_delete_=True, **fold, dataset=held_out, test_mode=True),
)
test_dataloader = val_dataloader

max_epochs = 5
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
