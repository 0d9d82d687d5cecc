"""ResNet-18 with half of its channels (2.8 million weights), for small images on a CPU.

Its stem halves the size twice, so that images of 32 x 32 pixels cost little. It has weights enough
to learn 50,000 images by heart. The inheriting config sets `num_classes`.
"""

model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=32, base_channels=32, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        in_channels=256,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
channels_last = True  # faster on CPUs
