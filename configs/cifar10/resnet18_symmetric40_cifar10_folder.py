"""A narrow ResNet-18 on CIFAR-10 with 40 % of the labels made wrong, otherwise as on CIFAR-10N's.

Each wrong label is one of the nine other classes, as likely as another (the paper's Table VII has
CIFAR-100 so). People's wrong labels in `resnet18_worst_cifar10n.py` are those of similar classes.
"""

_base_ = 'resnet18_worst_cifar10n.py'

noisy = dict(_delete_=True, type='NoisyLabelDataset', rate=0.4, dataset=_base_.train_folder)
train_dataloader = dict(dataset=dict(dataset=noisy))
