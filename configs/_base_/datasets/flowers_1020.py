"""Flowers-102 with 1,020 training images, 10 a class, as in the list that the authors released."""

_base_ = 'flowers.py'

train_dataloader = dict(dataset=dict(split='train'))
