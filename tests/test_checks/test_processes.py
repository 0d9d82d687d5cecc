"""Of several processes only the first one checks, whatever has started them."""

import pytest

from mmdet_ols.checks.processes import is_first_on_machine, is_first_process

RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
LOCAL_RANKS = ('LOCAL_RANK', 'SLURM_LOCALID', 'OMPI_COMM_WORLD_LOCAL_RANK')


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in (*RANKS, *LOCAL_RANKS):
        monkeypatch.delenv(name, raising=False)


def test_a_process_of_its_own_is_the_first():
    assert is_first_process() and is_first_on_machine()


@pytest.mark.parametrize('names', zip(RANKS, LOCAL_RANKS))
def test_every_launcher_is_understood(names, monkeypatch):
    for rank, local_rank, expected in (
        (0, 0, (True, True)),
        (4, 0, (False, True)),
        (5, 1, (False,) * 2),
    ):
        monkeypatch.setenv(names[0], str(rank))
        monkeypatch.setenv(names[1], str(local_rank))
        assert (is_first_process(), is_first_on_machine()) == expected
