"""What the command lines do around MMEngine's Runner: check first, load safely, start."""

from mmdet_ols.engine.checkpoint import (
    check_fits,
    load_checkpoint,
    only_safe_loading,
    trust_checkpoints,
)
from mmdet_ols.engine.command_line import (
    add_common_arguments,
    check_start,
    clear_errors,
    pickle_file,
    read_config,
    save_predictions,
    use_amp,
    use_auto_scale_lr,
    use_tta,
    use_visualization,
)
from mmdet_ols.engine.cpu_amp import CPUAmpOptimWrapper
from mmdet_ols.engine.launch import build_runner, leave_processes
from mmdet_ols.engine.preflight import (
    check_datasets,
    check_losses,
    check_pretrained,
    fetch_datasets,
)

__all__ = [
    'CPUAmpOptimWrapper',
    'add_common_arguments',
    'build_runner',
    'check_datasets',
    'check_fits',
    'check_losses',
    'check_pretrained',
    'check_start',
    'clear_errors',
    'fetch_datasets',
    'leave_processes',
    'load_checkpoint',
    'only_safe_loading',
    'pickle_file',
    'read_config',
    'save_predictions',
    'trust_checkpoints',
    'use_amp',
    'use_auto_scale_lr',
    'use_tta',
    'use_visualization',
]
