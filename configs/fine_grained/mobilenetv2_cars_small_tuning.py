"""`mobilenetv2_cars_small.py` on four fifths of the training part, tested on the last fifth.

Learning rates and the options of methods are chosen with it, so that the test part stays unseen.
"""

_base_ = 'mobilenetv2_cars_small.py'

fold = dict(_delete_=True, type='KFoldDataset', num_splits=5, fold=0, seed=0)
train_dataloader = dict(dataset=dict(dataset=dict(fold, dataset=_base_.train_cars)))
val_dataloader = dict(
    dataset=dict(
        dataset=dict(fold, dataset=dict(_base_.test_cars, split='train'), test_mode=True),
    )
)
test_dataloader = val_dataloader
