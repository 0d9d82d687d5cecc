"""Streams of random numbers that depend on nothing but what they are for."""

from __future__ import annotations

import hashlib

import torch


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
