"""ImageNet: hard labels (paper, Tables IV and IX).

Environment variables: NETWORK (resnet50, resnet101), DATA (imagenet, imagenet_cutout), DATA_ROOT.
"""

_base_ = [
    '../_base_/models/{{$NETWORK:resnet50}}.py',
    '../_base_/datasets/{{$DATA:imagenet}}.py',
    '../_base_/schedules/imagenet.py',
    '../_base_/classification_runtime.py',
]

cell = dict(data='{{$DATA:imagenet}}', network='{{$NETWORK:resnet50}}')
runs = 'work_dirs/{{$DATA:imagenet}}_{{$NETWORK:resnet50}}'
work_dir = f'{runs}/hard'
paper_result = __import__('mmdet_ols').paper_results('hard', **cell)

model = dict(head=dict(num_classes=1000))
# FGSM and PGD in the test after the training; see cifar10/hard.py.
custom_hooks = [dict(type='AdversarialErrorHook')]
