"""Random changes of training images."""

import numpy as np
import pytest

from fastnet.data import (
    AlternatingFlip,
    ColorJitter,
    Cutout,
    Loader,
    MixedLabels,
    MixUp,
    RandomCrop,
    RandomFlip,
    RandomShift,
)
from fastnet.data.augment import Augment, as_augments
from fastnet.data.batch import Batch
from fastnet.data.preprocess import Unit

N, C, H, W = 60, 3, 8, 6
X = np.random.default_rng(5).integers(1, 256, (N, H, W, C)).astype(np.uint8)
EVERY = [
    RandomCrop(5),
    RandomFlip(),
    AlternatingFlip(),
    RandomShift(2),
    Cutout(3),
    ColorJitter(0.2, 0.2, 0.2),
    MixUp(),
    as_augments(np.add)[0],
]


def made(augment, x=X, seed=0):
    """(images in 0 … 255 as (N, H, W, C), labels) after one augmentation."""
    batch = Batch(x, np.arange(len(x)), np.arange(len(x)), Unit(), seed=seed)
    augment.apply(batch, np.random.default_rng(seed))
    y = batch.finish().transpose(0, 2, 3, 1)
    return (np.rint(y * 255).astype(int) if x.dtype == np.uint8 else y), batch.y


def windows(x, wide, size):
    """(top, left) of the window of each `wide` image that x is."""
    found = []
    for im, w in zip(x, wide):
        places = [
            (t, l)
            for t in range(w.shape[0] - size[0] + 1)
            for l in range(w.shape[1] - size[1] + 1)
            if (w[t : t + size[0], l : l + size[1]] == im).all()
        ]
        assert len(places) == 1
        found += places
    return found


@pytest.mark.parametrize(("mode", "numpys"), [("zero", "constant"), ("reflect", "reflect")])
def test_a_random_crop_is_a_window_of_the_padded_image_and_every_window_occurs(mode, numpys):
    y, _ = made(RandomCrop((7, 5), padding=(1, 0), mode=mode))
    wide = np.pad(X, ((0, 0), (1, 1), (0, 0), (0, 0)), numpys)
    assert set(windows(y, wide, (7, 5))) == {(t, l) for t in range(4) for l in range(2)}


@pytest.mark.parametrize(("mode", "numpys"), [("zero", "constant"), ("reflect", "reflect")])
def test_a_random_shift_moves_by_at_most_that_many_pixels_each_way(mode, numpys):
    y, _ = made(RandomShift(1, mode))
    wide = np.pad(X, ((0, 0), (1, 1), (1, 1), (0, 0)), numpys)
    assert set(windows(y, wide, (H, W))) == {(t, l) for t in range(3) for l in range(3)}


def test_about_half_of_the_images_are_mirrored_and_the_others_left_alone():
    y, _ = made(RandomFlip())
    mirrored = (y == X[:, :, ::-1]).all((1, 2, 3))
    assert ((y == X).all((1, 2, 3)) ^ mirrored).all()
    assert 18 < mirrored.sum() < 42
    assert (made(RandomFlip(0.0))[0] == X).all()
    assert (made(RandomFlip(1.0))[0] == X[:, :, ::-1]).all()


def test_cutout_fills_one_box_around_a_pixel_of_the_image():
    y, _ = made(Cutout((4, 3), fill=0.0))
    sizes = set()
    for im, x in zip(y, X):
        rows, columns = np.nonzero((im == 0).all(2))
        box = np.zeros((H, W, 1), bool)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        assert (im == np.where(box, 0, x)).all()
        sizes.add((np.ptp(rows) + 1, np.ptp(columns) + 1))
    assert max(sizes) == (4, 3)
    assert min(h for h, _ in sizes) == 2  # half of the box lies outside


def test_colour_jitter_multiplies_brightness_about_black_and_contrast_about_the_mean_grey():
    x = X.astype(np.float64)
    bright, _ = made(ColorJitter(brightness=0.5), x)
    factors = (bright / x).reshape(N, -1)
    np.testing.assert_allclose(factors, factors[:, :1].repeat(factors.shape[1], 1))
    assert 0.5 <= factors.min() < 0.6
    assert 1.4 < factors.max() <= 1.5
    grey = (x * ColorJitter.GREY).sum(3, keepdims=True)
    contrast, _ = made(ColorJitter(contrast=0.5), x)
    middle = grey.mean((1, 2), keepdims=True)
    factors = ((contrast - middle) / (x - middle)).reshape(N, -1)
    np.testing.assert_allclose(factors, factors[:, :1].repeat(factors.shape[1], 1))
    dull, _ = made(ColorJitter(saturation=0.5), x)
    np.testing.assert_allclose((dull * ColorJitter.GREY).sum(3, keepdims=True), grey)


def test_jittered_bytes_stay_in_their_range():
    y, _ = made(ColorJitter(1.0, 1.0, 1.0))
    assert y.min() >= 0
    assert y.max() <= 255
    assert (made(ColorJitter())[0] == X).all()


def test_colour_jitter_of_grey_images_has_no_saturation():
    grey = X[..., :1].copy()
    assert made(ColorJitter(0.3, 0.3), grey)[0].shape == (N, H, W, 1)
    with pytest.raises(ValueError, match="ColorJitter: expected 3 channels, or 1 without saturation, found 1"):
        made(ColorJitter(saturation=0.1), grey)


def test_mixup_mixes_images_and_labels_by_the_same_weight():
    x = X.astype(np.float64)
    y, labels = made(MixUp(0.7), x)
    assert isinstance(labels, MixedLabels)
    assert len(labels) == N
    assert sorted(labels.other) == list(range(N))
    np.testing.assert_allclose(y, labels.weight * x[labels.y] + (1 - labels.weight) * x[labels.other])
    assert [w for w, _ in labels.terms()] == [labels.weight, 1 - labels.weight]
    hot = labels.one_hot(N, np.float64)
    np.testing.assert_allclose(hot.sum(1), 1)
    assert (hot.argmax(1) == labels.main()).all()
    batch = Batch(x, np.arange(N), np.arange(N), Unit())
    MixUp().apply(batch, np.random.default_rng(0))
    with pytest.raises(ValueError, match="mixed already"):
        MixUp().apply(batch, np.random.default_rng(0))


@pytest.mark.parametrize("augment", EVERY[:-1], ids=repr)
def test_the_same_generator_gives_the_same_images_and_another_one_others(augment):
    assert (made(augment, seed=1)[0] == made(augment, seed=1)[0]).all()
    assert (made(augment, seed=1)[0] != made(augment, seed=2)[0]).any()


def test_an_alternating_flip_shows_every_image_one_way_in_even_epochs_and_the_other_in_odd_ones():
    images = X.transpose(0, 3, 1, 2)

    def mirrored(loader):
        """For each image, whether this epoch shows it mirrored."""
        shown = {int(n): x for xs, ys in loader for x, n in zip(np.rint(xs * 255), ys)}
        assert all((shown[n] == images[n]).all() or (shown[n] == images[n, :, :, ::-1]).all() for n in range(N))
        return np.array([(shown[n] == images[n, :, :, ::-1]).all() for n in range(N)])

    loader = Loader(images, np.arange(N), 7, seed=4, augment=[AlternatingFlip()])
    first, second, third = (mirrored(loader) for _ in range(3))
    assert (first != second).all()
    assert (first == third).all()
    assert 0.25 < first.mean() < 0.75
    other = mirrored(Loader(images, np.arange(N), 9, seed=5, augment=[AlternatingFlip()]))
    assert 0.25 < (first == other).mean() < 0.75


def test_a_function_of_ones_own_takes_pixels_in_their_own_unit():
    y, _ = made(as_augments(lambda x, rng: x[:, :, 1:, :] - rng.integers(0, 1))[0])
    assert (y == X[:, 1:]).all()
    with pytest.raises(ValueError, match=r"augment: expected 60 images of shape \(N, C, H, W\), found \(59, "):
        made(as_augments(lambda x, rng: x[1:])[0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RandomCrop(0), ValueError, "RandomCrop: size must be at least 1, found 0"),
        (lambda: RandomCrop(4.5), TypeError, "RandomCrop: size must be an integer, found 4.5"),
        (lambda: RandomCrop(4, -1), ValueError, "RandomCrop: padding must be at least 0, found -1"),
        (lambda: RandomCrop(4, mode="edge"), ValueError, "RandomCrop: mode must be one of zero, reflect, found 'edge'"),
        (lambda: RandomShift(-1), ValueError, "RandomShift: pixels must be at least 0, found -1"),
        (lambda: RandomFlip(1.5), ValueError, "RandomFlip: p must be between 0 and 1, found 1.5"),
        (lambda: Cutout((3, 0)), ValueError, "Cutout: size must be at least 1, found 0"),
        (lambda: ColorJitter(contrast=-0.1), ValueError, "ColorJitter: contrast must be between 0 and 1, found -0.1"),
        (lambda: MixUp(0.0), ValueError, "MixUp: alpha must be positive, found 0.0"),
        (lambda: as_augments([RandomFlip(), 3]), TypeError, "augment: expected transforms or functions"),
        (lambda: made(RandomCrop(9, 1)), ValueError, r"window \(9, 9\) is larger than the padded image \(10, 8\)"),
        (lambda: made(RandomShift(6, "reflect")), ValueError, "RandomShift: columns .* lie beyond one reflection"),
    ],
)
def test_bad_settings_are_refused_with_the_numbers(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_every_augmentation_is_tested_here():
    kinds = {kind for kind in Augment.__subclasses__() if kind.__module__.startswith("fastnet.")}
    assert kinds == {type(one) for one in EVERY}, "add a case to EVERY"
