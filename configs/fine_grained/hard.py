"""Fine-grained data: hard labels (paper, Table VI).

Environment variables: DATA (cub, flowers, flowers_1020, cars, aircraft, aircraft_100), NETWORK
(resnet50, mobilenetv2, efficientnet_b7, san15), DATA_ROOT, and SAN_CHECKPOINT for san15.
"""

_base_ = [
    '../_base_/models/{{$NETWORK:resnet50}}_pretrained.py',
    '../_base_/datasets/{{$DATA:cub}}.py',
    '../_base_/schedules/fine_grained.py',
    '../_base_/classification_runtime.py',
]

cell = dict(data='{{$DATA:cub}}', network='{{$NETWORK:resnet50}}')
runs = 'work_dirs/{{$DATA:cub}}_{{$NETWORK:resnet50}}'
work_dir = f'{runs}/hard'
paper_result = __import__('mmdet_ols').paper_results('hard', **cell)

model = dict(head=dict(num_classes=_base_.data_preprocessor.num_classes))
