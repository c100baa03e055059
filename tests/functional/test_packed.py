"""Packed weights are never stale: whoever writes to the weights, and however, the next product is that of the new numbers."""

import os
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from kernels.exactness import threads

from fastnet import _ext, config, functional, layers, optim
from fastnet._ext import flat
from fastnet.functional import packed as keeper

SHAPE = (24, 45, 3, 4)  # of weights large enough to be kept
takes_kept = pytest.mark.skipif(_ext.level != "amx", reason="only AMX's products keep packed weights")


@pytest.fixture(autouse=True)
def forgetful():
    keeper.clear()
    yield
    keeper.clear()


def numbers(seed, shape=SHAPE):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def doubled(w, calls=None):
    """What `packed` returns for a packing that doubles; an entry in `calls` for each time that it did."""

    def make():
        if calls is not None:
            calls.append(1)
        return 2 * w

    return keeper.packed(w, "doubled", make)


def kept_bytes():
    return sum(kept.size for kept in keeper._kept.values())


def bytes_of_one(w):
    """Of the packed form that `doubled` makes, and of the digest: 16 for every 1024."""
    return w.nbytes + 16 * -(-w.nbytes // 1024)


def test_weights_are_packed_twice_and_then_kept():
    w, calls = numbers(0), []
    for _ in range(5):
        np.testing.assert_array_equal(doubled(w, calls), 2 * w)
    assert len(calls) == 2
    assert kept_bytes() == bytes_of_one(w)


def in_place(w):
    w[7, 3, 1, 2] += 1


def through_a_view(w):
    w[3:].reshape(-1)[::-1][5] *= -1


def to_nan(w):
    w[2, 4, 0, 1] = np.nan


def to_minus_zero(w):
    assert not np.signbit(w[5, 5, 2, 2])
    w[5, 5, 2, 2] = -0.0


def everywhere(w):
    w -= 0.01 * w


def through_its_memory(w):
    memoryview(w).cast("B")[4 * (w.size - 1)] ^= 1  # the last bit of the last number


def two_signs(w):
    """Differences of 2^31 each, which would cancel in a sum of products modulo 2^32."""
    w.reshape(-1)[[100, 356]] *= -1


def exchanged(w):
    line = w.reshape(-1)
    line[:1024] = line[:1024].reshape(4, 256)[[1, 0, 3, 2]].reshape(-1)  # pieces of the digest


WRITES = [in_place, through_a_view, to_nan, to_minus_zero, everywhere, through_its_memory, two_signs, exchanged]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("before", range(5))
def test_a_write_is_seen_after_any_number_of_uses(write, before):
    w = numbers(1)
    w[5, 5, 2, 2] = 0
    for _ in range(2):
        for _ in range(before):
            doubled(w)
        write(w) if write is not to_minus_zero or not np.signbit(w[5, 5, 2, 2]) else in_place(w)
        for _ in range(4):
            assert doubled(w).tobytes() == (2 * w).tobytes()


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("before", range(5))
def test_convolution_and_linear_layers_see_a_write_after_any_number_of_calls(write, before):
    x, w = numbers(2, (2, 45, 6, 7)), numbers(3)
    w[5, 5, 2, 2] = 0
    rows, matrix = numbers(4, (30, 45 * 12)), w.reshape(24, -1)
    for _ in range(before):
        _, saved = functional.conv2d(x, w)
        functional.conv2d_backward(numbers(5, (2, 24, 4, 4)), saved)
        functional.linear(rows, matrix)
    write(w)
    for _ in range(3):
        y, saved = functional.conv2d(x, w)
        dx, _, _ = functional.conv2d_backward(numbers(5, y.shape), saved)
        fresh, saved = functional.conv2d(x, w.copy())
        assert y.tobytes() == fresh.tobytes()
        assert dx.tobytes() == functional.conv2d_backward(numbers(5, y.shape), saved)[0].tobytes()
        assert functional.linear(rows, matrix)[0].tobytes() == functional.linear(rows, matrix.copy())[0].tobytes()


def test_a_step_of_an_update_rule_and_loaded_weights_are_seen():
    layer = layers.Conv2d(45, 24, 3)
    x, dy = numbers(6, (2, 45, 6, 7)), numbers(7, (2, 24, 4, 5))
    rule = optim.SGD(layer.parameters(), lr=0.1)
    saved = {name: np.copy(array) for name, array in layer.state_dict().items()}

    def fresh():
        return functional.conv2d(x, layer.weight.data.copy(), layer.bias.data)[0].tobytes()

    for step in range(5):
        for _ in range(step):
            layer(x)
        layer(x)
        layer.backward(dy)
        rule.step()
        assert layer(x).tobytes() == fresh()
    for _ in range(4):
        layer(x)
    layer.load_state_dict(saved)
    assert layer(x).tobytes() == fresh()


def test_a_write_while_the_weights_are_packed_is_seen_by_the_next_call():
    """Another thread may step while this one predicts: what was packed then is neither the old weights nor the new."""
    w = numbers(8)

    def make():
        found = 2 * w
        w[9, 9, 1, 1] += 1
        return found

    for before in range(4):
        keeper.clear()
        for _ in range(before):
            doubled(w)
        for _ in range(2):
            keeper.packed(w, "doubled", make)
        for _ in range(3):
            np.testing.assert_array_equal(doubled(w), 2 * w)


def test_another_array_at_the_same_address_is_not_taken_for_the_first():
    room = np.empty(2 * 24 * 45 * 12, np.float32)
    for seed, shape in enumerate([SHAPE, (45, 24, 3, 4), SHAPE, (24, 45, 4, 3), (12, 90, 3, 4)]):
        w = room[: 24 * 45 * 12].reshape(shape)
        w[...] = numbers(seed, shape)
        for _ in range(4):
            found = doubled(w)
            assert found.shape == shape
            np.testing.assert_array_equal(found, 2 * w)
    for seed in range(30):  # freed and allocated anew: most of them lie where the one before lay
        w = numbers(seed)
        for _ in range(3):
            np.testing.assert_array_equal(doubled(w), 2 * w)


def test_different_forms_of_the_same_weights_are_kept_apart():
    w = numbers(9)
    for _ in range(4):
        np.testing.assert_array_equal(keeper.packed(w, ("amx", 3), lambda: 3 * w), 3 * w)
        np.testing.assert_array_equal(keeper.packed(w, ("amx", 2), lambda: 2 * w), 2 * w)


@pytest.mark.parametrize("size", [1, 1023, 1024, 5000, 300_001])
def test_the_digest_is_its_formula_and_that_of_no_array_with_another_bit(size):
    rng = np.random.default_rng(size)
    a, key = rng.integers(0, 256, size, dtype=np.uint8), rng.integers(0, 2**32, (2, 256), dtype=np.uint32)

    def digest(a):
        out = np.empty((-(-size // 1024), 2), np.uint64)
        flat.digest(a, key, out, 3)
        return out

    padded = np.zeros(-(-size // 1024) * 1024, np.uint8)
    padded[:size] = a
    factors = (padded.view(np.uint32).reshape(-1, 1, 256) + key).astype(np.uint64)
    found = digest(a)
    np.testing.assert_array_equal(found, (factors[..., :128] * factors[..., 128:]).sum(axis=-1))
    for bit in rng.integers(0, 8 * size, 50):
        other = a.copy()
        other[bit // 8] ^= 1 << bit % 8
        differs = digest(other) != found
        assert differs[bit // 8 // 1024].all()
        assert differs.any(axis=1).sum() == 1


@pytest.mark.parametrize(("groups", "stride"), [(1, 2), (3, 1), (3, 2)])
def test_weights_of_several_phases_or_groups_are_looked_at_once(monkeypatch, groups, stride):
    looks, real = [], keeper._digest
    monkeypatch.setattr(keeper, "_digest", lambda w: looks.append(w.shape) or real(w))
    x, w = numbers(17, (1, 48, 5, 9)), numbers(18, (48, 60 // groups, 4, 3))
    for before in range(4):
        looks.clear()
        y, _ = functional.conv_transpose2d(x, w, stride=stride, groups=groups)
        assert len(looks) <= (2 if before == 1 else 1)
        fresh, _ = functional.conv_transpose2d(x, w.copy(), stride=stride, groups=groups)
        assert y.tobytes() == fresh.tobytes()


@takes_kept
@takes_kept
def test_weights_for_pairs_of_outputs_are_kept_apart_from_those_for_odd_rows():
    w, even, odd = numbers(0, (16, 15, 8, 7)), numbers(1, (2, 15, 11, 26)), numbers(2, (3, 15, 10, 21))
    fresh = [functional.conv2d(x, w.copy())[0] for x in (even, odd)]
    for _ in range(4):
        for x, wanted in zip((even, odd), fresh):
            np.testing.assert_array_equal(functional.conv2d(x, w)[0], wanted)


def test_one_layer_at_every_precision_in_turn_gives_the_bits_of_each():
    x, w, found = numbers(10, (9, 45, 12, 10)), numbers(11, (24, 45, 3, 3)), {}
    for _ in range(4):
        for precision in ("highest", "high", "medium"):
            with config.precision(precision):
                found.setdefault(precision, set()).add(functional.conv2d(x, w)[0].tobytes())
    assert [len(bits) for bits in found.values()] == [1, 1, 1]
    # Six products of planes, three, one; below AMX tiles of 2 x 2 and of 4 x 4 outputs.
    assert len(set.union(*found.values())) == (3 if _ext.level == "amx" else 2)


def test_what_is_kept_stays_within_its_limits(monkeypatch):
    monkeypatch.setattr(keeper, "LIMIT", 5 * bytes_of_one(numbers(0)))
    arrays = [numbers(seed) for seed in range(9)]
    for w in arrays:
        for _ in range(3):
            doubled(w)
            assert kept_bytes() <= keeper.LIMIT
    assert kept_bytes() == keeper.LIMIT  # five arrays
    calls = []
    doubled(arrays[-1], calls)
    assert not calls
    doubled(arrays[0], calls)
    assert len(calls) == 1  # the least recently used went first
    monkeypatch.setattr(keeper, "MANY", 3)
    for w in arrays:
        doubled(w)
        assert len(keeper._kept) <= 3


def test_too_small_too_large_and_strided_weights_are_not_kept(monkeypatch):
    small, strided = numbers(0, (5, 4, 3, 2)), numbers(1, (24, 45, 3, 8))[..., ::2]
    large = numbers(2)
    monkeypatch.setattr(keeper, "LIMIT", 2 * large.nbytes)
    for w in (small, strided, large):
        calls = []
        for _ in range(4):
            np.testing.assert_array_equal(doubled(w, calls), 2 * w)
        assert len(calls) == 4
    assert not keeper._kept


def test_nothing_is_kept_where_the_kernel_refuses():
    w = numbers(3)
    for _ in range(4):
        assert keeper.packed(w, "refused", lambda: None) is None
    assert not kept_bytes()


def test_a_training_loop_keeps_nothing():
    layer = layers.Sequential(layers.Conv2d(45, 24, 3), layers.ReLU(), layers.Conv2d(24, 40, 4))
    rule = optim.SGD(layer.parameters(), lr=1e-3)
    x, dy = numbers(12, (2, 45, 8, 9)), numbers(13, (2, 40, 3, 4))
    for _ in range(6):
        layer(x)
        layer.backward(dy)
        rule.step()
        assert kept_bytes() == 0


@takes_kept
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_the_bits_are_the_same_whether_packed_weights_were_kept_or_not(precision):
    x, w = numbers(14, (1, 45, 7, 9)), numbers(15)
    found = set()
    with config.precision(precision):
        for _ in range(5):
            found.add(functional.conv2d(x, w)[0].tobytes())
        assert kept_bytes()
        keeper.clear()
        found.add(functional.conv2d(x, w)[0].tobytes())
    assert len(found) == 1


def test_eight_threads_that_share_weights_get_equal_bits():
    x, w = [numbers(seed, (1, 45, 5, 9)) for seed in range(8)], numbers(16)
    with threads(1):
        wanted = [functional.conv2d(one, w.copy())[0].tobytes() for one in x]
        keeper.clear()
        together = threading.Barrier(8)

        def predict(one):
            together.wait()
            return {functional.conv2d(one, w)[0].tobytes() for _ in range(30)}

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(predict, x))
    assert found == [{bits} for bits in wanted]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_while_another_thread_holds_the_lock_packs_on():
    w = numbers(3)
    with keeper._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process with threads, from Python 3.12 on
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            doubled(w)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
