"""The environment variables that configs of earlier versions read, and what replaces each."""

from __future__ import annotations

#: Name of the variable -> what to use instead.
OLD_VARIABLES = {
    'NETWORK': 'name the config of the network, as in configs/cifar10/resnet29.py',
    'DATA': 'name the config of the data set, as in configs/cifar10/resnet29.py',
    'SCHEDULE': 'inherit from another file of configs/_base_/schedules',
    'NOISE_RATE': '--cfg-options with `rate` of the NoisyLabelDataset',
    'ENSEMBLES': 'custom_hooks with an EnsembleHook',
    'BATCH_SIZE': '--cfg-options train_dataloader.batch_size=N',
    'DATA_ROOT': '--data-root PATH',
    'TRAIN_SPLIT': '--cfg-options train_dataloader.dataset.ann_file=ImageSets/Main/NAME.txt',
    'TEST_SPLIT': '--cfg-options test_dataloader.dataset.ann_file=ImageSets/Main/NAME.txt',
    'CIFAR10H': '--cfg-options with `human` of the CIFAR10HDivergence metric',
    'SAN_FORM': '--cfg-options with the arguments of the SAN backbone',
    'SAN_CHECKPOINT': '--cfg-options model.backbone.init_cfg.checkpoint=PATH',
}
