"""Hard labels: the config as it stands, made hard where it smooths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmdet_ols.methods.method import KeptSettings, Method, options_of, summary_of

if TYPE_CHECKING:
    from mmengine.config import Config


def hard(cfg: Config) -> None:
    """Learn from the labels as they are, with the host's own cross entropy or focal loss.

    `LabelSmoothLoss` and `one_hot_smoother` of the hosts are undone, and so are our own losses and
    the hooks that serve them. Every classification loss is written out in one form, so that two
    configs differ only in their method if and only if their hard forms are equal. Heads that no
    method can change stay as they are, and the log says so.

    Args:
        cfg: The config; it is changed.
    """
    from mmdet_ols.methods.changes import make_hard

    make_hard(cfg)


def _apply(cfg: Config, given: Mapping[str, Any], kept: KeptSettings) -> None:
    hard(cfg, **given)


METHOD = Method(
    name='hard',
    summary=summary_of(hard),
    source='the hosts',
    changes='what smooths or replaces the labels',
    options=options_of(hard),
    apply=_apply,
)
