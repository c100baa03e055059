"""Windows, mirrors and boxes done in one pass against the same done step by step in plain NumPy."""

import numpy as np
import pytest

from fastnet import _ext
from fastnet.data.batch import Batch
from fastnet.data.preprocess import Normalize, Unit, ZeroCenter

N, C, H, W = 5, 3, 7, 6


class Raw(Unit):
    """Pixels as they are, also those of bytes."""

    def affine(self):
        return np.array(255.0), np.array(0.0)


def images(rng, dtype=np.uint8, n=9, c=C):
    """(n, H, W, c) small integers: exact in every dtype."""
    return rng.integers(0, 256, (n, H, W, c)).astype(dtype)


def step_by_step(x, ops):
    """The operations one after another on x (N, H, W, C)."""
    for op, *args in ops:
        if op == "window":
            top, left, (h, w), mode = args
            pad = 6  # below one reflection of 7 x 6 pixels, for windows that reach no further
            wide = np.pad(
                x, ((0, 0), (pad, pad), (pad - 1, pad - 1), (0, 0)), "reflect" if mode == "reflect" else "constant"
            )
            x = np.stack(
                [im[t + pad : t + pad + h, l + pad - 1 : l + pad - 1 + w] for im, t, l in zip(wide, top, left)]
            )
        elif op == "flip":
            x = np.where(args[0][:, None, None, None], x[:, :, ::-1], x)
        elif op == "cut":
            x = x.copy()
            for im, (t, l, b, r) in zip(x, args[0]):
                im[t:b, l:r] = args[1]
    return x


def ask(batch, ops):
    for op, *args in ops:
        if op == "window":
            batch.window("test", *args)
        else:
            getattr(batch, op)(*args)


def random_op(rng, size):
    """A random operation on N images of this size, and the size after it."""
    kind = rng.integers(4)
    if kind < 2:
        h, w = int(rng.integers(2, 8)), int(rng.integers(2, 7))
        # at most 6 rows and 5 columns beyond every border, and within one reflection of the present size
        room_h, room_w = min(4, size[0] - 1), min(4, size[1] - 1)
        h, w = min(h, size[0] + room_h), min(w, size[1] + room_w)
        top = rng.integers(-room_h, size[0] + room_h - h + 1, N)
        left = rng.integers(-room_w, size[1] + room_w - w + 1, N)
        return ("window", top, left, (h, w), ("zero", "reflect")[kind]), (h, w)
    if kind == 2:
        return ("flip", rng.random(N) < 0.5), size
    corners = np.sort(rng.integers(0, min(size) + 1, (N, 2, 2)), axis=1).reshape(N, 4)
    return ("cut", corners, float(rng.integers(0, 256))), size


@pytest.mark.parametrize("level", _ext.available_levels())
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_any_sequence_of_operations_is_what_numpy_does_one_by_one(level, dtype, monkeypatch):
    monkeypatch.setattr("fastnet.data.batch.kernels", _ext.load("image", level))
    rng = np.random.default_rng(3)
    for case in range(60):
        x = images(rng, dtype, c=(1, 3, 4)[case % 3])
        index = rng.integers(0, len(x), N)
        ops, size = [], (H, W)
        for _ in range(rng.integers(0, 5)):
            op, size = random_op(rng, size)
            ops.append(op)
        batch = Batch(x, index, index, Raw() if dtype == np.uint8 else Unit())
        ask(batch, ops)
        found = batch.finish()
        wanted = step_by_step(x[index], ops).transpose(0, 3, 1, 2)
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(found, wanted)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(6)
    x, top, mask = images(rng), rng.integers(-3, 3, N), rng.random(N) < 0.5
    found = []
    for threads in (1, 2, 3, 7):
        batch = Batch(x, np.arange(N), np.arange(N), Normalize([0.4] * C, [0.3] * C), threads)
        ask(batch, [("window", top, top, (5, 4), "reflect"), ("flip", mask)])
        found.append(batch.finish().tobytes())
    assert len(set(found)) == 1


def test_normalising_rides_on_the_same_pass():
    rng = np.random.default_rng(4)
    x = images(rng)
    normalize = Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    batch = Batch(x, np.arange(N), np.arange(N), normalize)
    batch.flip(np.ones(N, bool))
    wanted = ((x[:N, :, ::-1] / 255 - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(batch.finish(), wanted, atol=1e-6)


def test_what_is_padded_is_black_and_what_is_cut_is_the_mean():
    x = np.full((1, H, W, C), 51, np.uint8)
    batch = Batch(x, np.zeros(1, int), np.zeros(1, int), Normalize([0.4] * 3, [0.5] * 3))
    batch.window("test", np.array([-1]), np.array([0]), (H, W))
    batch.cut(np.array([[3, 1, 5, 4]]))
    y = batch.finish()[0]
    np.testing.assert_allclose(y[:, 0, :], -0.8, rtol=1e-6)
    np.testing.assert_array_equal(y[:, 3:5, 1:4], 0)
    np.testing.assert_allclose(y[:, 1:3, :], -0.4, rtol=1e-6)


def test_a_cut_to_the_mean_stays_the_mean_when_a_later_window_needs_a_second_pass():
    x = np.full((2, H, W, C), 51, np.uint8)
    batch = Batch(x, np.arange(2), np.arange(2), ZeroCenter("pixel").fit({"x_train": x.transpose(0, 3, 1, 2) + 7}))
    batch.cut(np.array([[0, 0, H, W]] * 2))
    batch.window("test", np.array([1, 2]), np.array([0, 0]), (H, W), "reflect")
    np.testing.assert_allclose(batch.finish(), 0, atol=1e-7)


def test_reflecting_beyond_one_reflection_is_refused_with_the_numbers():
    batch = Batch(images(np.random.default_rng(0)), np.arange(2), np.arange(2), Unit())
    with pytest.raises(ValueError, match=r"RandomShift: rows -7 … 0 of images with 7 lie beyond one reflection"):
        batch.window("RandomShift", np.array([-7, 0]), np.array([0, 0]), (1, W), "reflect")


def test_a_batch_of_no_images_is_empty():
    batch = Batch(images(np.random.default_rng(0)), np.arange(0), np.arange(0), Unit())
    batch.flip(np.zeros(0, bool))
    batch.window("test", np.zeros(0, int), np.zeros(0, int), (4, 5), "reflect")
    assert batch.finish().shape == (0, C, 4, 5)


def gather_arguments(rng):
    table = np.ones((1, W, C), np.float32)
    return {
        "x": images(rng),
        "index": np.arange(N),
        "place": np.zeros((N, 3), np.int32),
        "boxes": np.zeros((N, 1, 4), np.int32),
        "scale": table,
        "shift": table,
        "fill": table,
        "reflect": False,
        "y": np.zeros((N, H, W, C), np.float32),
        "threads": 1,
    }


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"index": np.array([0, 1, 2, 3, 9])}, IndexError),
        ({"index": np.array([0, 1, 2, 3, -1])}, IndexError),
        ({"index": np.arange(N - 1)}, ValueError),
        ({"place": np.zeros((N, 2), np.int32)}, ValueError),
        ({"place": np.full((N, 3), -H, np.int32), "reflect": True}, ValueError),
        ({"boxes": np.full((N, 1, 4), W + 1, np.int32)}, ValueError),
        ({"scale": np.ones((2, W, C), np.float32)}, ValueError),
        ({"fill": np.ones((1, W, C + 1), np.float32)}, ValueError),
        ({"y": np.zeros((N, H, W, C - 1), np.float32)}, ValueError),
    ],
)
def test_the_kernel_refuses_what_would_read_or_write_elsewhere(change, error):
    arguments = gather_arguments(np.random.default_rng(0)) | change
    with pytest.raises(error):
        _ext.image.gather(*arguments.values())
    assert not arguments["y"].any()
