"""The VOC recipe with its weights and optimizer state sharded over the GPUs (PyTorch's FSDP)."""

_base_ = '../yolo_ols_voc.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    # One whole checkpoint, which one process and the tools can read; 'local' writes one per rank.
    state_dict_cfg='full',
    # The whole model is one unit. An `auto_wrap_policy` must name parts that are called as modules,
    # such as a backbone. Heads are not: MMDetection's detectors call their loss() and predict().
    # With `mixed_precision`, leave `buffer_dtype` out: soft labels are buffers and need float32.
    model_wrapper=dict(type='MMFullyShardedDataParallel', use_orig_params=True),
)
