"""CIFAR-10: hard labels (paper, Tables VIII and XII, ResNet-29).

Environment variables choose other cells: NETWORK (as for CIFAR-100), DATA (cifar10; cifar10_folder
for a folder of images; cifar10_small), SCHEDULE (cifar, cifar_small) and NOISE_RATE (0 to 1).
CIFAR10H names the file of people's choices, data/cifar10h-probs.npy of
https://github.com/jcpeterson/cifar-10h (default: meta/cifar10h-probs.npy in DATA_ROOT).
"""

_base_ = [
    '../_base_/models/{{$NETWORK:resnet29}}_cifar.py',
    '../_base_/datasets/{{$DATA:cifar10}}.py',
    '../_base_/schedules/{{$SCHEDULE:cifar}}.py',
    '../_base_/classification_runtime.py',
]

cell = dict(
    data='{{$DATA:cifar10}}',
    network='{{$NETWORK:resnet29}}',
    noise_rate=_base_.noise_rate,
    schedule='{{$SCHEDULE:cifar}}',
)
runs = 'work_dirs/{{$DATA:cifar10}}_{{$NETWORK:resnet29}}' + _base_.noise_suffix
work_dir = f'{runs}/hard'
paper_result = __import__('mmdet_ols').paper_results('hard', **cell)

model = dict(head=dict(num_classes=10))
human = '{{$CIFAR10H:0}}'
human = human if human != '0' else f'{_base_.data_root}/meta/cifar10h-probs.npy'
val_evaluator = [*_base_.val_evaluator, dict(type='CIFAR10HDivergence', human=human)]
test_evaluator = val_evaluator
# FGSM and PGD in the test after the training. The size of the paper's PGD is not known, and 8/255,
# the usual one, leaves nothing of a plain network: so both attacks with 1/255 as well. In a config
# of yours, attacks=__import__('mmdet_ols').small_pgd_attacks() tries a grid between the two.
pgd = dict(steps=20, random_start=True)
attacks = [
    dict(name='fgsm', eps=8),
    dict(name='pgd', eps=8, step=2, **pgd),
    dict(name='fgsm_1', eps=1),
    dict(name='pgd_1', eps=1, step=0.25, **pgd),
]
custom_hooks = [dict(type='AdversarialErrorHook', attacks=attacks)]
custom_hooks += [dict(type='TrainErrorHook')] * (_base_.noise_rate > 0)
