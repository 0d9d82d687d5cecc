"""Where the project keeps what it makes once for all later processes.

The standard library only: `tools/setup_env.py` runs this file before anything is installed.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Return the one folder for everything that is kept, which need not exist yet.

    `$MMDET_OLS_CACHE` if that is set, else `$XDG_CACHE_HOME/mmdet_ols` or `~/.cache/mmdet_ols`;
    None for a user without a home.
    """
    if os.environ.get('MMDET_OLS_CACHE'):
        return Path(os.environ['MMDET_OLS_CACHE'])
    try:
        return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'mmdet_ols')
    except RuntimeError:  # a user without a home
        return None
