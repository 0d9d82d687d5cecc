"""Two processes on the CPU for the tests of this folder."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
from toy_runner import join_group


def pytest_configure(config):
    config.addinivalue_line('markers', 'dist: starts two processes (gloo, on the CPU)')


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker('dist'):
            item.add_marker('slow')


class TwoRanks:
    """Two processes in one gloo group, which stay up between tests: starting them costs seconds."""

    def __init__(self, tmp_path_factory):
        self.tmp_path_factory = tmp_path_factory
        self.processes = []

    def __call__(self, function, parts, **kwargs):
        """Run `function(batches=parts[rank], **kwargs)` on both ranks; returns both results.

        The function must have a name in a module of `tests/`: the processes import it from there.
        """
        if not self.processes:
            # A file to meet at, since a free port may be taken a moment later.
            store = self.tmp_path_factory.mktemp('store') / 'store'
            self.processes = [
                ProcessPoolExecutor(
                    1, multiprocessing.get_context('spawn'), join_group, (rank, store)
                )
                for rank in range(2)
            ]
        futures = [
            process.submit(function, batches=part, **kwargs)
            for process, part in zip(self.processes, parts)
        ]
        try:
            return [future.result(timeout=120) for future in futures]
        except BaseException:
            self.stop()  # the ranks may be at different places now
            raise

    def stop(self):
        for process in self.processes:
            process.shutdown(wait=False, cancel_futures=True)
        self.processes = []


@pytest.fixture(scope='session')
def two_ranks(tmp_path_factory):
    ranks = TwoRanks(tmp_path_factory)
    yield ranks
    ranks.stop()
