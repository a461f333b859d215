"""Work in several processes: the same results in the same order, few samples without any, and no silent death."""

import os

import pytest

from housebrain_core.data import processes
from housebrain_core.data.processes import map_chunks
from housebrain_core.errors import MachineError

pytestmark = pytest.mark.slow


def add_up(items: list) -> tuple[int, int]:
    return sum(items), os.getpid()


def die(items: list) -> None:
    if 30 in items:
        os._exit(1)


@pytest.fixture
def small(monkeypatch):
    """Processes from 10 items on, with 4 items each at once."""
    monkeypatch.setattr(processes, "FEW", 10)
    monkeypatch.setattr(processes, "CHUNK", 4)


def test_few_items_stay_in_this_process(small):
    results = list(map_chunks(add_up, iter(range(9))))
    assert [chunk for chunk, _ in results] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert [done for _, done in results] == [(6, os.getpid()), (22, os.getpid()), (8, os.getpid())]


def test_many_items_come_back_in_order_from_other_processes(small):
    results = list(map_chunks(add_up, iter(range(50))))
    assert [item for chunk, _ in results for item in chunk] == list(range(50))
    assert all(total == sum(chunk) for chunk, (total, _) in results)
    assert os.getpid() not in {process for _, (_, process) in results}


def test_a_process_that_dies_is_said_with_what_to_do(small):
    with pytest.raises(MachineError, match="was killed, or could not start"):
        list(map_chunks(die, iter(range(50))))


def test_nothing_gives_nothing(small):
    assert list(map_chunks(add_up, iter(()))) == []
