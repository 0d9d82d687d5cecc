"""ImageNet-1k with CutOut."""

_base_ = 'imagenet.py'

# The paper does not state the size. Half the image's side is that of the CutMix paper, from which
# the rows with only CutOut were probably copied (from memory, not verified).
train_pipeline = _base_.train_pipeline
# The fill is the mean in the order of the file (BGR), which is zero after normalisation.
train_pipeline.insert(-1, dict(type='CutOutSquare', size=112, fill=(103.53, 116.28, 123.675)))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
