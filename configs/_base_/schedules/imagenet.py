"""250 epochs of batches of 256; the learning rate drops at 75, 150 and 225 (paper, section V-A)."""

# The authors name the weight decay in an issue of their repository; Nesterov momentum is in their
# code. That code drops at these epochs only in a run of 300 epochs; this follows the paper's text.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
)
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[75, 150, 225], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=250, val_interval=1)
auto_scale_lr = dict(base_batch_size=256, enable=False)
