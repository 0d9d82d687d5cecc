"""300 epochs of batches of 128; the learning rate drops at 150 and 225 (paper, section V-A)."""

# Nesterov momentum and the weight decay are those of the authors' CIFAR scripts and of their two
# public logs (ResNet-34 and ResNeXt29-2x64d on CIFAR-100). For ResNet-29, 56, 74 and 110 neither is
# stated. The authors' command line defaults to 1e-4; to try that:
# --cfg-options optim_wrapper.optimizer.weight_decay=1e-4
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
)
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[150, 225], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
auto_scale_lr = dict(base_batch_size=128, enable=False)
