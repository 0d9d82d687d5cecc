"""The compiled form of the loss's training step: all that a loss asks of it.

A loss decides once, when it is made, whether its class and its options have such a form
(`has_fused_step`), and for each call whether the batch is one for it (`can_fuse` on a CPU,
`can_fuse_on_gpu` there).
"""

from mmdet_ols.core.fused.cross_entropy import can_fuse, fused_cross_entropy, has_fused_step
from mmdet_ols.core.fused.gpu import can_fuse_on_gpu, fused_cross_entropy_on_gpu, has_triton
from mmdet_ols.core.fused.library import CannotCompileError, compiled_library

__all__ = [
    'CannotCompileError',
    'can_fuse',
    'can_fuse_on_gpu',
    'compiled_library',
    'fused_cross_entropy',
    'fused_cross_entropy_on_gpu',
    'has_fused_step',
    'has_triton',
]
