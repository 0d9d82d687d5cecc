"""ResNet-50 with torchvision's first ImageNet weights. The inheriting config sets `num_classes`."""

_base_ = 'resnet50.py'

# `torchvision://resnet50` is IMAGENET1K_V1 (76.13 % top-1), whatever torchvision is installed.
model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')))
