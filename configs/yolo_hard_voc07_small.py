"""YOLOv3 with MobileNetV2 on VOC07 trainval at 160 to 224 pixels: an hour of a quiet core.

What differs from `yolo_hard_voc.py`, and why:

- VOC 2007 only, and 24 epochs instead of 120.
- Small images: a step takes as long as its pixels. The anchors, which are meant for 416 pixels, are
  scaled to 192: otherwise only a quarter of the objects would have their best one on the deepest
  map, and not one half.
- The first stages of the backbone keep their ImageNet weights, and every BatchNorm its statistics.
  That saves nearly half of the backward pass, and so few images would hardly improve them.
- No MinIoURandomCrop, which takes 7 ms an image, more than all other transforms together.
- AdamW, whose steps do not depend on how large the losses are: they are sums over thousands of
  cells. The backbone learns at a tenth of the head's rate, so that it keeps what it knows from
  ImageNet while the head, which begins with random weights, is still far off. That decides what a
  short training reaches: after 5 epochs on four fifths of trainval (one seed), mAP on the other
  fifth was 8.5 % at 1e-3 for both, 14.4 % at 3e-4 for both, and 32.3 % at 1e-3 for the head and
  1e-4 for the backbone. Batches of 8 (31.3 %) or 3e-3 for the head (32.8 %) changed little. In a
  later tuning (docs/evidence.md) 2e-3 was better than 1e-3 and 4e-3 for hard labels, label
  smoothing and OLS.

`model.backbone.init_cfg.checkpoint=PATH` names another file of ImageNet weights;
`model.backbone.init_cfg.prefix=backbone.` as well if its keys begin so.
"""

_base_ = 'yolo_hard_voc.py'

paper_cell = None
sizes = (160, 192, 224)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PhotoMetricDistortion'),
    _base_.train_pipeline[4],  # translation, with a probability of one half
    dict(type='RandomFlip', prob=0.5),
    dict(type='Resize', scale=(max(sizes), max(sizes)), keep_ratio=True),
    dict(type='PackDetInputs'),
]
trainval = _base_.train_dataloader.dataset.datasets[0]
trainval.pipeline = train_pipeline
# Reading an image and its boxes takes 0.7 ms of the 33 that it costs, so nothing is kept in memory.
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(_delete_=True, **trainval),
)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (224, 224)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=(size, size), keep_ratio=True) for size in sizes
]
test = dict(_base_.val_dataloader.dataset, pipeline=test_pipeline)
val_dataloader = dict(batch_size=16, num_workers=0, persistent_workers=False, dataset=test)
test_dataloader = val_dataloader

model = dict(
    data_preprocessor=dict(
        batch_augments=[dict(type='BatchRandomScale', sizes=sizes)],
    ),
    backbone=dict(frozen_stages=3, norm_eval=True),
    bbox_head=dict(
        anchor_generator=dict(
            base_sizes=[
                [(54, 42), (72, 91), (172, 150)],
                [(14, 28), (29, 21), (27, 55)],
                [(5, 6), (7, 14), (15, 11)],
            ]
        )
    ),
)
channels_last = True  # faster on CPUs

max_epochs = 24
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        begin=0,
        end=1,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0,
        begin=1,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))
