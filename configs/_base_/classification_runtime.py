"""What all classification configs share: hooks, logging, seed and metrics."""

custom_imports = dict(imports=['mmdet_ols'], allow_failed_imports=False)
default_scope = 'mmpretrain'

# Keep the best checkpoint, and the two newest to resume from: MMEngine removes an old one before it
# writes a new one, so that a process killed in between would leave none. Results are those of the
# last epoch.
# The authors' code reports the best test epoch instead (the paper says so only for ImageNet), which
# selects by the test set: in their public logs the two differ by 0.04 to 0.23 points.
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=2,
        save_last=True,
        save_best='accuracy/top1',
        rule='greater',
    ),
    visualization=dict(type='VisualizationHook', enable=False),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
randomness = dict(seed=2019)  # the authors' default

# Top-1 and top-5 accuracy, which the log gives in per cent and tools/compare.py as errors, and the
# expected calibration error (Table XI). The paper does not say how many bins; 15 is usual.
val_evaluator = [dict(type='Accuracy', topk=(1, 5)), dict(type='CalibrationError')]
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
