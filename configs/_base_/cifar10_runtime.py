"""The classification runtime with what is measured on CIFAR-10: people's labels, and attacks."""

_base_ = 'classification_runtime.py'

# The divergence from what people saw in the test images (Table XII). Put cifar10h-probs.npy, from
# data/ of https://github.com/jcpeterson/cifar-10h, there.
val_evaluator = [
    *_base_.val_evaluator,
    dict(type='CIFAR10HDivergence', human='data/cifar10/meta/cifar10h-probs.npy'),
]
test_evaluator = val_evaluator

# FGSM and PGD (Table VIII) run in the test after the training. The paper does not say how large its
# PGD was. The usual 8/255 leaves no prediction of a plain network intact, so both attacks also run
# with 1/255. `attacks=__import__('mmdet_ols').small_pgd_attacks()` tries a grid between the two.
pgd = dict(steps=20, random_start=True)
attacks = dict(
    type='AdversarialErrorHook',
    attacks=[
        dict(name='fgsm', eps=8),
        dict(name='pgd', eps=8, step=2, **pgd),
        dict(name='fgsm_1', eps=1),
        dict(name='pgd_1', eps=1, step=0.25, **pgd),
    ],
)
custom_hooks = [attacks]
