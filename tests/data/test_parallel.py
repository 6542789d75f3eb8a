"""Claims about work on many things at once."""

import os

import pytest

from capsnet.data.parallel import WORTH_PROCESSES, in_parallel


def doubled(number):
    return 2 * number


@pytest.mark.parametrize("count", [0, 1, 100, WORTH_PROCESSES + 1])
def test_results_come_in_order(count):
    assert list(in_parallel(doubled, range(count), "doubling")) == list(range(0, 2 * count, 2))


def failing(number):
    raise ValueError(f"number {number}")


@pytest.mark.parametrize("count", [100, 2 * WORTH_PROCESSES])
def test_an_error_comes_out_and_leaves_no_process(count):
    with pytest.raises(ValueError, match="number 0"):
        list(in_parallel(failing, range(count), "failing"))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
