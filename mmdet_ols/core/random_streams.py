"""Streams of random numbers that depend on nothing but what they are for."""

from __future__ import annotations

import hashlib

import torch
import torch.distributed as dist

from mmdet_ols.core.rolling_state import world_size


def stream_seed(*entropy: int) -> int:
    """A seed of 56 bits for these integers.

    They are hashed, since a generator seeded with the run's seed itself would repeat the numbers of
    others: MMEngine's sampler shuffles the first epoch with a generator of just that seed.
    """
    digest = hashlib.blake2b(repr(entropy).encode(), digest_size=7).digest()
    return int.from_bytes(digest, 'big')


def generator(*entropy: int, device: torch.device | str = 'cpu') -> torch.Generator:
    """Make a generator with a stream of its own for these integers; see `stream_seed`."""
    return torch.Generator(device).manual_seed(stream_seed(*entropy))


def seed_of_run(own: int | None = None) -> int:
    """The seed of the first process; with MMEngine's `diff_rank_seed`, each has another one.

    A collective call under `torch.distributed`: every process must make it.

    Args:
        own: That of this process; None is the one which was given to `torch.manual_seed`.
    """
    seed = [torch.initial_seed() if own is None else own]
    if world_size() > 1:
        dist.broadcast_object_list(seed)
    return seed[0]
