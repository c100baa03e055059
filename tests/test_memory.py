"""The pool of memory: alignment, reuse, counting, no growth, impossible sizes, and that no two arrays share a byte."""

import gc
import itertools
import subprocess
import sys
import threading

import numpy as np
import pytest

from fastnet import memory
from fastnet._ext.memory import Block
from fastnet.layers import Conv2d, MaxPool2d, ReLU, Sequential

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")


@pytest.fixture(autouse=True)
def clean():
    """Each test starts with nothing kept."""
    gc.collect()
    memory.empty_cache()
    yield
    memory.empty_cache()


def address(array):
    return array.ctypes.data


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 1000, 4097, 1 << 20, (4 << 20) - 1, 4 << 20, (9 << 20) + 3])
def test_arrays_are_aligned_to_cache_lines(nbytes):
    for _ in range(3):
        array = memory.empty((nbytes,), np.uint8)
        assert array.shape == (nbytes,)
        assert address(array) % 64 == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.intp])
def test_arrays_are_ordinary_ones(dtype):
    array = memory.empty((3, 5, 2), dtype)
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    array[...] = np.arange(30).reshape(3, 5, 2)
    np.testing.assert_array_equal(array.sum((0, 2)), np.arange(30).reshape(3, 5, 2).sum((0, 2)))
    assert not memory.zeros((4, 3), dtype).any()
    assert memory.empty((), dtype).shape == ()


def test_a_piece_is_reused_once_the_last_view_of_it_is_gone():
    first = memory.empty((1000, 33))
    place, view = address(first), first[5:, ::2]
    del first
    assert address(memory.empty((1000, 33))) != place  # a view keeps it alive
    del view
    assert address(memory.empty((1000, 33))) == place
    assert address(memory.empty((33, 999))) == place  # and for nearly the same size


def test_statistics_count_what_lives_what_is_kept_and_the_peak():
    base = memory.statistics()
    assert base["kept"] == 0
    arrays = [memory.empty((1 << 20,), np.uint8) for _ in range(3)]
    assert memory.statistics()["live"] == base["live"] + (3 << 20)
    assert memory.statistics()["peak"] == memory.statistics()["live"]
    arrays.pop()
    now = memory.statistics()
    assert (now["live"], now["kept"]) == (base["live"] + (2 << 20), 1 << 20)
    assert now["peak"] == base["live"] + (3 << 20)
    assert now["fresh"] == base["fresh"] + 3
    arrays.append(memory.empty((1 << 20,), np.uint8))
    assert memory.statistics()["fresh"] == now["fresh"]  # the one that was kept
    del arrays
    memory.empty_cache()
    assert memory.statistics() == base | {"peak": base["live"], "fresh": now["fresh"]}


def test_live_and_kept_bytes_never_exceed_the_peak_of_live_ones_by_half():
    rng, arrays = np.random.default_rng(0), []
    for _ in range(3000):
        if arrays and rng.random() < 0.5:
            arrays.pop(int(rng.integers(len(arrays))))
        else:
            arrays.append(memory.empty((int(2 ** rng.uniform(0, 18)),), np.uint8))
        s = memory.statistics()
        assert s["live"] + s["kept"] <= 1.5 * s["peak"]


def test_no_two_arrays_that_live_share_a_byte():
    """A thousand random comings and goings, each array filled with a number of its own that must still be there."""
    rng, alive = np.random.default_rng(1), {}
    for k in range(4000):
        if len(alive) > 40 or (alive and rng.random() < 0.4):
            chosen = list(alive)[int(rng.integers(len(alive)))]
            assert (alive.pop(chosen) == chosen).all()
        else:
            array = memory.empty((int(2 ** rng.uniform(0, 14)),), np.int64)
            array.fill(k)
            alive[k] = array
    places = sorted((address(a), address(a) + a.nbytes) for a in alive.values())
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))
    for k, array in alive.items():
        assert (array == k).all()


def test_arrays_of_several_threads_never_share_a_byte():
    wrong = []

    def work(seed):
        rng, mine = np.random.default_rng(seed), []
        for k in range(400):
            array = memory.empty((int(rng.integers(1, 5000)),), np.int64)
            array.fill(seed * 1000 + k)
            mine.append((seed * 1000 + k, array))
            if len(mine) > 10:
                number, old = mine.pop(int(rng.integers(10)))
                if not (old == number).all():
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_arrays_that_hold_each_other_in_a_circle_come_back():
    class Holder:
        pass

    before = memory.statistics()["live"]
    for _ in range(50):
        one, other = Holder(), Holder()
        one.other, other.one, one.array = other, one, memory.empty((10_000,))
    del one, other
    gc.collect()
    assert memory.statistics()["live"] == before


@linux
def test_a_thousand_shapes_leave_no_more_behind_than_the_largest_needed():
    import resource

    rng = np.random.default_rng(2)
    net = Sequential(Conv2d(3, 8, 3, padding=1), ReLU(), MaxPool2d(2))

    def run(times, largest):
        for _ in range(times):
            n, h, w = (int(k) for k in rng.integers(2, largest, 3))
            y = net.forward(rng.standard_normal((n, 3, h, w)).astype(np.float32))
            net.backward(y)

    net.forward(np.zeros((16, 3, 16, 16), np.float32))
    run(300, 16)
    memory_then, peak_then = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, memory.statistics()["peak"]
    run(1000, 16)
    assert memory.statistics()["peak"] <= 1.5 * peak_then
    assert memory.statistics()["kept"] + memory.statistics()["live"] <= 1.5 * memory.statistics()["peak"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_then < 1024  # kilobytes


@pytest.mark.parametrize(
    "shape", [(2**62,), (2**31, 2**31), (2**63,), (2**64 + 1,), (2**40, 2**40, 3), (2**60 - 1,), (10**30,)]
)
def test_an_impossible_size_is_a_memory_error_and_nothing_is_lost(shape):
    before = memory.statistics()["live"]
    for _ in range(3):
        with pytest.raises(MemoryError, match="array"):
            memory.empty(shape)
    assert memory.statistics()["live"] == before
    assert memory.zeros((7, 5)).shape == (7, 5)


@pytest.mark.parametrize("shape", [(-1,), (3, -2), (-4, -5)])
def test_a_negative_size_is_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        memory.empty(shape)


@linux
def test_without_memory_the_kept_pieces_are_given_back_before_giving_up():
    """In a process of its own, whose address space is limited to little more than it has."""
    program = """
import resource
with open('/proc/self/statm') as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (2 << 30), resource.RLIM_INFINITY))   # no room for a range of addresses
from fastnet import memory
pieces = [memory.empty((1 << 24,), 'u1') for _ in range(8)]
del pieces                                                    # 128 MB are kept
with open('/proc/self/statm') as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (32 << 20),) * 2)
whole = memory.empty((100 << 20,), 'u1')                      # fits only if they go
whole[::4096] = 1
try:
    memory.empty((1 << 30,), 'u1')
except MemoryError as error:
    print('refused', memory.statistics()['live'] >> 20, error)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert found.stdout.startswith("refused 10"), found.stderr
    assert "no memory for an array of 1073741824 bytes" in found.stdout


def test_images_are_channels_last_and_their_memory_is_shown_without_a_copy():
    y = memory.empty_images((2, 3, 5, 4))
    assert y.shape == (2, 3, 5, 4)
    shown = memory.channels_last(y)
    assert shown.shape == (2, 5, 4, 3)
    assert shown.flags.c_contiguous
    assert np.shares_memory(shown, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_images_in_any_other_order_are_copied_into_that_order(dtype):
    x = np.random.default_rng(3).integers(0, 200, (2, 3, 5, 4)).astype(dtype)
    for other in (x, np.asfortranarray(x), x[:, ::-1], x[:1], x[:0], x.astype(x.dtype.newbyteorder())):
        shown = memory.channels_last(other)
        assert shown.flags.c_contiguous
        assert shown.dtype == dtype
        assert shown.dtype.isnative
        np.testing.assert_array_equal(shown.transpose(0, 3, 1, 2), other)
        copied = memory.copy(other)
        assert copied.flags.c_contiguous
        assert not np.shares_memory(copied, other)
        np.testing.assert_array_equal(copied, other)


@linux
def test_large_pieces_come_from_the_lowest_free_place_and_grow_together():
    """In a process of its own, where nothing else lies in the range."""
    program = """
from fastnet import memory
def address(array): return array.ctypes.data
MB = 1 << 20
pieces = [memory.empty((4 * MB,), 'u1') for _ in range(6)]
places = [address(piece) for piece in pieces]
assert [b - a for a, b in zip(places, places[1:])] == [4 * MB] * 5, places
fresh = memory.statistics()['fresh']
del pieces[1], pieces[2]                                      # the second and the fourth
small, other = memory.empty((2 * MB,), 'u1'), memory.empty((2 * MB,), 'u1')  # too large for what is in front of places[0]
assert (address(small), address(other)) == (places[1], places[1] + 2 * MB)
assert address(memory.empty((4 * MB,), 'u1')) == places[3]
del pieces, small, other
whole = memory.empty((24 * MB,), 'u1')
assert address(whole) == places[0]
assert (memory.statistics()['fresh'], memory.statistics()['kept']) == (fresh, 0)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr


@linux
def test_what_is_given_back_is_the_systems_again():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    large = memory.empty((96 << 20,), np.uint8)
    large.fill(1)
    before = resident()
    del large
    assert resident() > before - (8 << 20)
    memory.empty_cache()
    assert resident() < before - (80 << 20)


def test_garbage_that_is_collected_while_a_piece_comes_or_goes_does_no_harm():
    """Python may collect garbage whenever a list is made; its blocks go back in the middle of another's way."""

    class Circle:
        pass

    rng, alive = np.random.default_rng(6), []
    threshold = gc.get_threshold()
    gc.disable()
    gc.set_threshold(1)
    try:
        for step in range(2000):
            size = (int(rng.integers(2, 8)) << 20) + int(rng.integers(10)) * 65536
            alive.extend(Block(size) for _ in range(3))
            for _ in range(2):
                circle = Circle()
                circle.me, circle.block = circle, alive.pop(int(rng.integers(len(alive))))
                del circle
            lists = [[] for _ in range(200)]  # or Python would have one at hand
            gc.enable()
            if step % 2:
                alive.append(Block(size))
            else:
                del alive[0]
            gc.disable()
            del lists
            del alive[20:]
            places = sorted((np.frombuffer(b, np.uint8).ctypes.data, memoryview(b).nbytes) for b in alive)
            assert all(p + n <= q for (p, n), (q, _) in itertools.pairwise(places))
    finally:
        gc.set_threshold(*threshold)
        gc.enable()
    live = memory.statistics()["live"]
    largest = max(memoryview(b).nbytes for b in alive)
    del alive, places
    gc.collect()
    fresh = memory.statistics()["fresh"]
    assert memory.statistics()["live"] < live
    memory.empty((2 * largest,), np.uint8)  # what is free has grown together
    assert memory.statistics()["fresh"] == fresh
