"""The environment variables that configs used to read, and what replaces each of them."""

from __future__ import annotations

#: The name of each variable, and what to use instead. Nothing reads them any more. The tools warn
#: where one is still set, since the run would silently be another one than the user expects.
OLD_VARIABLES: dict[str, str] = {
    'NETWORK': 'the config of the network, such as configs/cifar100/resnet56_cifar100.py',
    'DATA': 'the config of the data, such as configs/fine_grained/resnet50_cub.py',
    'SCHEDULE': (
        'a config with the schedule, such as configs/cifar10/resnet8_cifar10_small.py, or one of '
        'your own that inherits from configs/_base_/schedules'
    ),
    'DATA_ROOT': '--data-root PATH',
    'NOISE_RATE': (
        'a config with label noise, such as configs/cifar100/resnet56_noise40_cifar100.py, or '
        '--cfg-options train_dataloader.dataset.dataset.rate=RATE'
    ),
    'ENSEMBLES': 'configs/cifar100/resnet56_ensembles_cifar100.py',
    'BATCH_SIZE': (
        '--cfg-options train_dataloader.batch_size=N, which the losses of the VOC configs follow'
    ),
    'TRAIN_SPLIT': '--cfg-options train_dataloader.dataset.ann_file=ImageSets/Main/SPLIT.txt',
    'TEST_SPLIT': (
        '--cfg-options val_dataloader.dataset.ann_file=ImageSets/Main/SPLIT.txt '
        'test_dataloader.dataset.ann_file=ImageSets/Main/SPLIT.txt'
    ),
    'CIFAR10H': (
        'meta/cifar10h-probs.npy below the data root, or --cfg-options '
        'val_evaluator.2.human=PATH test_evaluator.2.human=PATH'
    ),
    'SAN_FORM': '--cfg-options model.backbone.form=patchwise',
    'SAN_CHECKPOINT': '--cfg-options model.backbone.init_cfg.checkpoint=PATH',
}
