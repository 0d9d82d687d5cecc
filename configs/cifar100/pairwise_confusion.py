"""CIFAR-100: pairwise confusion (paper, Table II)."""

_base_ = 'hard.py'

work_dir = f'{_base_.runs}/pairwise_confusion'
paper_result = __import__('mmdet_ols').paper_results('pairwise_confusion', **_base_.cell)

# The authors' code: the plain cross entropy for 200 of 300 epochs, and this from then on, with the
# weight of 10 and the norm over the batch. `form='released'` and 'paper' are the method's own.
confusion = dict(type='PairwiseConfusionLoss', num_classes=100, form='ols', confusion_weight=10.0)
default_hooks = dict(
    pairwise_confusion=dict(
        type='SwitchRecipeHook',
        schedule=[dict(action_epoch=_base_.train_cfg.max_epochs * 2 // 3 + 1, loss=confusion)],
    )
)
