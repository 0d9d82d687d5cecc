"""CIFAR-10: pairwise confusion."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/pairwise_confusion'
paper_result = []  # the paper tried it on other data alone

# As in cifar100/pairwise_confusion.py: the last third of the epochs, with a weight of 0.1 a class.
confusion = dict(type='PairwiseConfusionLoss', num_classes=10, form='ols', confusion_weight=1.0)
default_hooks = dict(
    pairwise_confusion=dict(
        type='SwitchRecipeHook',
        schedule=[dict(action_epoch=_base_.train_cfg.max_epochs * 2 // 3 + 1, loss=confusion)],
    )
)
