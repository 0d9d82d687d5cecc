"""EfficientNet-b7 on FGVC Aircraft with all its 100 variants."""

_base_ = [
    '../_base_/models/efficientnet_b7_pretrained.py',
    '../_base_/datasets/aircraft_100.py',
    '../_base_/schedules/fine_grained.py',
    '../_base_/classification_runtime.py',
]

model = dict(head=dict(num_classes=100))
