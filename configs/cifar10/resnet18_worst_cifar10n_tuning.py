"""`resnet18_worst_cifar10n.py` on four fifths of the training images, tested on the last fifth.

Learning rates and the options of methods are chosen with it, so that the test images stay unseen.
It tests against the true labels, as the test images do.
"""

_base_ = 'resnet18_worst_cifar10n.py'

fold = dict(type='KFoldDataset', num_splits=5, fold=0, seed=0, dataset=_base_.train_folder)
labelled = dict(dataset=dict(_delete_=True, **fold), whole=False)
train_dataloader = dict(dataset=dict(dataset=labelled))
val_dataloader = dict(dataset=dict(dataset=dict(_delete_=True, **fold, test_mode=True)))
test_dataloader = val_dataloader
# People's labels (CIFAR-10H) are there for the test images only.
val_evaluator = [dict(type='Accuracy', topk=(1, 5)), dict(type='CalibrationError')]
test_evaluator = val_evaluator
