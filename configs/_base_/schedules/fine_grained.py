"""100 epochs; the learning rate of 0.01 drops at 45 and 80 (paper, section V-A)."""

# The paper gives nothing else. The weight decay is the default of the authors' command line, the
# batch size is in their README, and their code has no Nesterov momentum here.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[45, 80], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
auto_scale_lr = dict(base_batch_size=64, enable=False)
