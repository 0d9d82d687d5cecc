"""ResNet-56 on CIFAR-100: hard labels (paper, Tables III, VII and XI)."""

_base_ = [
    '_base_/models/resnet56_cifar.py',
    '_base_/datasets/cifar100.py',
    '_base_/schedules/cifar.py',
    '_base_/classification_runtime.py',
]

cell = dict(data='cifar100', network='resnet56', noise_rate=_base_.noise_rate)
work_dir = 'work_dirs/resnet56_hard_cifar100' + _base_.noise_suffix
paper_result = __import__('mmdet_ols').paper_results('hard', **cell)

model = dict(head=dict(num_classes=100))
# All checkpoints are kept, of every fifth epoch; they take about 300 MB a run. Table III averages
# the predictions of 6, 10, 15 and 20 of them, evenly spaced over the 300 epochs: the environment
# variable ENSEMBLES=6,10,15,20 makes the test after the training do so.
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=-1))
ensembles = '{{$ENSEMBLES:0}}'
sizes = [int(size) for size in ensembles.split(',') if size != '0']
custom_hooks = [dict(type='EnsembleHook', sizes=sizes)] * bool(sizes)
custom_hooks += [dict(type='TrainErrorHook')] * (_base_.noise_rate > 0)  # Figs. 4 and 5
