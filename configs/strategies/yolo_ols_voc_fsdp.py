"""The VOC recipe with its weights and optimizer state divided over the GPUs (PyTorch's FSDP)."""

_base_ = '../yolo_ols_voc.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    # Whole checkpoints, which one process and the tools can read; 'local' writes one for each rank.
    state_dict_cfg='full',
    # One unit for the whole model: an `auto_wrap_policy` must name parts that are called as
    # modules (a backbone). Heads are not: MMEngine's detectors call their loss() and predict().
    # With `mixed_precision`, leave `buffer_dtype` out: soft labels are buffers, and want float32.
    model_wrapper=dict(type='MMFullyShardedDataParallel', use_orig_params=True),
)
