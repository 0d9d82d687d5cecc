"""ImageNet-1k with CutOut."""

_base_ = 'imagenet.py'

# The paper does not state the size; half the side is that of the CutMix paper's experiments, from
# which the rows with CutOut alone are taken (recollected, not verified).
train_pipeline = _base_.train_pipeline
# Filled with the mean, in the order of the file (BGR): zero after normalisation.
train_pipeline.insert(-1, dict(type='CutOutSquare', size=112, fill=(103.53, 116.28, 123.675)))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
