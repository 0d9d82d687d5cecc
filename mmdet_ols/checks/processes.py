"""Which process of several does what one can do for all."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Whether this is the first of all processes, as the launcher says (pytorch, slurm or mpi)."""
    return _rank('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK') == 0


def is_first_on_machine() -> bool:
    """Whether this is the first process on its machine."""
    return _rank('LOCAL_RANK', 'SLURM_LOCALID', 'OMPI_COMM_WORLD_LOCAL_RANK') == 0


def _rank(*names: str) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name)), 0)
