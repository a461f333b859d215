"""Order, limits of threads, and their return to what the caller had."""

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from housebrain_core.adapters.parallel import map_ahead


def blas_threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order_from_workers_of_one_thread_each(threads):
    with threadpool_limits(2, user_api="blas"):
        before = torch.get_num_threads(), blas_threads()
        found = list(map_ahead(lambda item: (item, torch.get_num_threads(), blas_threads()), range(50), threads))
        assert found == [(item, 1, {1}) for item in range(50)]
        assert (torch.get_num_threads(), blas_threads()) == before


def test_an_error_of_a_worker_reaches_the_caller_and_limits_are_lifted():
    before = torch.get_num_threads(), blas_threads()
    with pytest.raises(ZeroDivisionError):
        list(map_ahead(lambda item: 1 // (item - 3), range(9)))
    assert (torch.get_num_threads(), blas_threads()) == before
