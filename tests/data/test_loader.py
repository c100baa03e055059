"""Batches prepared ahead: the same ones whatever the timing, from any place, and no thread left behind."""

import gc
import os
import threading
import time

import numpy as np
import pytest

from fastnet.data import Cutout, Loader, MixUp, Normalize, RandomCrop, RandomFlip, RandomShift, Whiten, load

N, C, H, W = 23, 2, 6, 5
X = np.random.default_rng(0).integers(0, 256, (N, C, H, W)).astype(np.uint8)
Y = np.arange(N, dtype=np.int32)
AUGMENT = [RandomCrop((5, 4), 1), RandomFlip(), Cutout(2)]


def loader_threads():
    return [t for t in threading.enumerate() if t.name == "fastnet-loader"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert loader_threads() == []


def same(a, b):
    a, b = list(a), list(b)
    assert len(a) == len(b)
    for (x, y), (v, w) in zip(a, b):
        np.testing.assert_array_equal(x, v)
        np.testing.assert_array_equal(y, w)


@pytest.mark.parametrize("prefetch", [0, 1, 2, 50])
def test_an_epoch_has_every_image_once_in_batches_of_float32(prefetch):
    loader = Loader(X, Y, 5, prefetch=prefetch)
    batches = list(loader)
    assert len(batches) == len(loader) == 5
    assert [len(y) for _, y in batches] == [5, 5, 5, 5, 3]
    assert sorted(np.concatenate([y for _, y in batches])) == list(range(N))
    for x, y in batches:
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert x.transpose(0, 2, 3, 1).flags.c_contiguous
        np.testing.assert_allclose(x, X[y] / 255, rtol=1e-6)


def test_epochs_have_different_orders_and_without_shuffle_the_given_one():
    loader = Loader(X, Y, 8)
    one, two = (np.concatenate([y for _, y in loader]) for _ in range(2))
    assert (one != two).any()
    assert loader.epoch == 2
    plain = Loader(X, Y, 8, shuffle=False)
    assert np.concatenate([y for _, y in plain]).tolist() == list(range(N))


def test_an_incomplete_last_batch_can_be_left_out():
    loader = Loader(X, Y, 5, drop_last=True)
    assert [len(y) for _, y in loader] == [5] * 4 == [5] * len(loader)


@pytest.mark.parametrize("augment", [None, AUGMENT, [MixUp()]])
def test_the_same_seed_gives_the_same_batches_with_and_without_a_thread(augment):
    def epoch(prefetch, seed):
        return [
            (x, getattr(y, "other", y))
            for x, y in Loader(X, Y, 4, seed=seed, augment=augment, prefetch=prefetch).batches(3)
        ]

    same(epoch(0, seed=7), epoch(2, seed=7))
    same(epoch(1, seed=7), epoch(9, seed=7))
    assert any((a[1] != b[1]).any() for a, b in zip(epoch(0, seed=7), epoch(0, seed=8)))


def test_any_batch_of_any_epoch_is_reached_directly_with_the_same_bits():
    loader = Loader(X, Y, 4, seed=3, augment=AUGMENT)
    epochs = [list(loader) for _ in range(3)]
    for epoch in range(3):
        for start in range(len(loader) + 1):
            same(loader.batches(epoch, start), epochs[epoch][start:])
    with pytest.raises(ValueError, match=r"start must be at most 6, .* found 7"):
        loader.batches(0, 7)


def test_timing_does_not_matter():
    def slow(x, rng):
        time.sleep(float(rng.random()) * 0.01)
        return x + rng.integers(0, 9)

    loader = Loader(X, Y, 4, augment=slow)
    wanted = list(Loader(X, Y, 4, augment=slow, prefetch=0))
    found = []
    for k, batch in enumerate(loader.batches(0)):
        time.sleep(0.01 * (k % 2))
        found.append(batch)
    same(found, wanted)


def test_at_most_prefetch_batches_are_made_ahead():
    made = []

    def count(x, rng):
        made.append(len(x))
        return x

    batches = Loader(X, Y, 2, augment=count, prefetch=3).batches(0)
    next(batches)
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    assert len(made) == 4  # the one that was taken and three that wait
    batches.close()


def test_an_exception_in_the_thread_is_raised_in_its_turn():
    calls = []

    def fails_at_the_third(x, rng):
        calls.append(0)
        if len(calls) == 3:
            raise ArithmeticError("the third batch")
        return x

    batches = Loader(X, Y, 4, augment=fails_at_the_third).batches(0)
    next(batches)
    next(batches)
    with pytest.raises(ArithmeticError, match="the third batch"):
        next(batches)
    assert loader_threads() == []


def test_breaking_off_ends_the_thread_and_the_loader_goes_on():
    loader = Loader(X, Y, 4)
    for _ in loader:
        assert len(loader_threads()) == 1
        break
    gc.collect()
    assert loader_threads() == []
    assert len(list(loader)) == 6


def test_an_iterator_that_is_lost_ends_its_thread():
    batches = Loader(X, Y, 4).batches(0)
    next(batches)
    del batches
    gc.collect()
    assert loader_threads() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_says_that_the_thread_is_gone():
    batches = Loader(X, Y, 2, prefetch=1).batches(0)
    next(batches)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            for _ in batches:
                pass
            os.write(write, b"went on")
        except RuntimeError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    message = os.read(read, 1000).decode()
    os.waitpid(child, 0)
    os.close(read)
    assert "the thread that prepares batches is gone" in message
    batches.close()


def test_augmented_and_normalised_digits_come_out_in_the_preprocessings_shape():
    digits = load("mnist5k")
    normalize = Normalize().fit(digits)
    x, _ = next(iter(Loader(digits.x_train, digits.y_train, 32, augment=RandomShift(2), normalize=normalize)))
    assert x.shape == (32, 1, 28, 28)
    assert abs(float(x.mean())) < 0.1
    small = {"x_train": digits.x_train[:200, :, 8:20, 8:20]}
    x, _ = next(iter(Loader(small["x_train"], digits.y_train[:200], 32, normalize=Whiten(9).fit(small))))
    assert x.shape == (32, 9)


def test_any_memory_order_gives_the_same_batches():
    wanted = list(Loader(X, Y, 4, augment=AUGMENT))
    padded = np.zeros((N, C, H, 2 * W), np.uint8)
    padded[..., ::2] = X
    layouts = [
        np.asfortranarray(X),
        np.ascontiguousarray(X.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        padded[..., ::2],
        X[::-1][::-1],
    ]
    frozen = X.copy()
    frozen.flags.writeable = False
    for x in [*layouts, frozen]:
        same(Loader(x, Y, 4, augment=AUGMENT), wanted)


@pytest.mark.parametrize(
    ("kind", "dtype", "wanted"),
    [
        ("u1", None, "f4"),
        ("f4", None, "f4"),
        ("f8", None, "f8"),
        ("u1", "f8", "f8"),
        ("f8", "f4", "f4"),
    ],
)
def test_images_come_as_float32_or_as_asked_for(kind, dtype, wanted):
    x, y = next(iter(Loader(X.astype(kind), Y, 7, dtype=dtype)))
    assert x.dtype == np.dtype(wanted)
    np.testing.assert_allclose(x, X[y] / (255 if kind == "u1" else 1), rtol=1e-6)


def test_features_and_targets_of_any_shape_are_served_too():
    x, y = np.random.default_rng(0).normal(size=(N, 9)), np.random.default_rng(1).normal(size=(N, 2))
    for a, b in Loader(x, y, 6):
        rows = [int(np.flatnonzero((x == row).all(1))[0]) for row in a]
        np.testing.assert_array_equal(b, y[rows])


def test_no_images_are_no_batches():
    assert list(Loader(X[:0], Y[:0], 4)) == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": X.astype(np.int64)}, TypeError, "Loader: expected images of uint8, float32 or float64, found int64"),
        ({"x": X[0]}, ValueError, r"found shape \(2, 6, 5\)"),
        ({"y": Y[:-1]}, ValueError, r"Loader: expected 23 labels, found shape \(22,\)"),
        ({"batch_size": 0}, ValueError, "Loader: batch_size must be at least 1, found 0"),
        ({"batch_size": 2.0}, TypeError, "Loader: batch_size must be an integer, found 2.0"),
        ({"seed": -1}, ValueError, "Loader: seed must be at least 0, found -1"),
        ({"prefetch": -1}, ValueError, "Loader: prefetch must be at least 0, found -1"),
        ({"normalize": 0.5}, TypeError, "Loader: normalize must be a Preprocessing such as Normalize, found 0.5"),
        ({"normalize": Normalize()}, RuntimeError, r"Loader: Normalize is not fitted; call its fit\(data\) first"),
        ({"augment": "flip"}, TypeError, "augment: expected transforms"),
        ({"dtype": "f2"}, TypeError, "Loader: dtype must be float32 or float64, found float16"),
    ],
)
def test_bad_arguments_are_refused_with_what_was_found(change, error, message):
    arguments = {"x": X, "y": Y, "batch_size": 4} | change
    with pytest.raises(error, match=message):
        Loader(**arguments)
