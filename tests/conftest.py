"""Settings of the process that tests change, and put back."""

import pytest

from fastnet import config


@pytest.fixture
def threads():
    """Sets the number of threads."""
    before = config.get_num_threads()
    yield config.set_num_threads
    config.set_num_threads(before)


@pytest.fixture
def one_thread(threads):
    """For tests that are not about threads: on a busy machine two of them mostly wait for each other."""
    threads(1)


@pytest.fixture
def machine(threads):
    """Commands set threads and precision for their process; here several share one."""
    before = config.get_float32_matmul_precision()
    yield
    config.set_float32_matmul_precision(before)
