"""Preprocessing fitted to the training split and to nothing else."""

import numpy as np
import pytest

from fastnet.data import PCA, Normalize, Whiten, ZeroCenter, load
from fastnet.data.preprocess import Preprocessing

N, C, H, W = 70, 3, 4, 5
EVERY = [Normalize, ZeroCenter, lambda: ZeroCenter("pixel"), PCA, lambda: PCA(7), Whiten, lambda: Whiten(7)]


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 100, (N, C, H, W)) + rng.integers(0, 150, (N, 1, 1, 1))
    return {"x_train": base.astype(np.uint8), "x_val": base[:9].astype(np.uint8) + 5, "y_train": np.zeros(N, int)}


def as_float(data):
    return {"x_train": data["x_train"].astype(np.float64) / 255}


def test_normalised_training_images_have_mean_zero_and_deviation_one(data):
    normalize = Normalize().fit(data)
    y = normalize(data["x_train"]).astype(np.float64)
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.std((0, 2, 3)), 1, atol=1e-6)
    np.testing.assert_allclose(normalize.mean, (data["x_train"] / 255).mean((0, 2, 3)), rtol=1e-14)
    np.testing.assert_allclose(normalize.std, (data["x_train"] / 255).std((0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize("make", EVERY)
def test_bytes_and_their_values_as_float64_are_preprocessed_alike(data, make):
    of_bytes, of_floats = make().fit(data), make().fit(as_float(data))
    found = of_bytes(data["x_train"])
    wanted = of_floats(as_float(data)["x_train"])
    assert (found.dtype, wanted.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


def test_a_channel_that_never_varies_is_only_centred():
    x = np.full((3, 2, H, W), 77, np.uint8)
    x[1:, 1] = 200
    normalize = Normalize().fit({"x_train": x})
    assert normalize.std[0] == 1
    np.testing.assert_allclose(normalize(x)[:, 0], 0, atol=1e-6)


def test_zero_centre_takes_the_mean_of_channels_or_the_mean_image(data):
    x = data["x_train"] / 255
    np.testing.assert_allclose(ZeroCenter().fit(data)(data["x_train"]), x - x.mean((0, 2, 3), keepdims=True), atol=1e-6)
    np.testing.assert_allclose(ZeroCenter("pixel").fit(data)(data["x_train"]), x - x.mean(0), atol=1e-6)


def test_pca_gives_uncorrelated_features_of_falling_variance(data):
    pca = PCA().fit(as_float(data))
    y = pca(as_float(data)["x_train"])
    covariance = y.T @ y / N
    np.testing.assert_allclose(covariance, np.diag(pca.variances), atol=1e-12)
    assert (np.diff(pca.variances) <= 0).all()
    assert y.shape == (N, C * H * W)


def test_pca_of_few_components_is_the_beginning_of_all(data):
    few, every = PCA(7).fit(data), PCA().fit(data)
    np.testing.assert_allclose(few(data["x_train"]), every(data["x_train"])[:, :7], atol=1e-5)


def test_whitened_features_have_variance_one_where_the_data_vary(data):
    whiten = Whiten().fit(as_float(data))
    y = whiten(as_float(data)["x_train"])
    np.testing.assert_allclose(y.var(0), whiten.variances / (whiten.variances + 1e-5), atol=1e-9)


def test_pca_is_the_covariances_eigenvalues_as_numpy_has_them(data):
    x = as_float(data)["x_train"].reshape(N, -1)
    wanted = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / N
    found = PCA().fit(data).variances
    np.testing.assert_allclose(found[: len(wanted)], wanted[: len(found)], atol=1e-12)


@pytest.mark.parametrize("make", EVERY)
def test_fitting_twice_is_refused_and_changes_nothing(data, make):
    one = make().fit(data)
    before = {k: v.copy() for k, v in one.state_dict().items()}
    with pytest.raises(RuntimeError, match="is fitted already"):
        one.fit({"x_train": data["x_val"]})
    assert all((one.state_dict()[k] == v).all() for k, v in before.items())


@pytest.mark.parametrize("make", EVERY)
def test_fitting_to_anything_but_a_data_sets_training_split_is_refused(data, make):
    with pytest.raises(TypeError, match="expected a data set, whose x_train it uses, found an array"):
        make().fit(data["x_val"])
    with pytest.raises(TypeError, match="expected a data set with x_train"):
        make().fit({"x_val": data["x_val"]})
    with pytest.raises(ValueError, match="x_train is empty"):
        make().fit({"x_train": data["x_train"][:0]})


@pytest.mark.parametrize("make", EVERY)
def test_what_is_not_fitted_does_nothing(data, make):
    with pytest.raises(RuntimeError, match=r"is not fitted; call fit\(data\) first"):
        make()(data["x_train"])


@pytest.mark.parametrize("make", EVERY)
def test_the_state_carries_the_fit_to_another_of_its_kind(data, make):
    one, other = make().fit(data), make()
    other.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(other(data["x_val"]), one(data["x_val"]))
    with pytest.raises(ValueError, match="expected"):
        other.load_state_dict({"median": np.zeros(3)})


def test_a_data_set_object_is_fitted_by_its_training_images():
    digits = load("mnist5k")
    normalize = Normalize().fit(digits)
    assert repr(normalize) == "Normalize(mean=[0.1309], std=[0.308])"
    np.testing.assert_allclose(normalize.mean, digits.x_train.mean() / 255, rtol=1e-12)


def test_images_of_another_shape_than_fitted_are_refused_with_both(data):
    with pytest.raises(ValueError, match=r"Normalize: fitted to \(3,\), found images of \(H, W, C\) = \(4, 5, 1\)"):
        Normalize().fit(data)(data["x_train"][:, :1])
    with pytest.raises(ValueError, match=r"ZeroCenter: fitted to \(4, 5, 3\), found images of"):
        ZeroCenter("pixel").fit(data)(data["x_train"][:, :, 1:])


@pytest.mark.parametrize("bad", [np.zeros((2, 3, 4, 5), np.int32), np.zeros((2, 3, 4, 5), complex)])
def test_images_that_are_neither_bytes_nor_floats_are_refused(bad):
    with pytest.raises(TypeError, match="expected images of uint8, float32 or float64, found"):
        Normalize([0.5], [0.5])(bad)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Normalize([0.5]),
        lambda: Normalize([0.5, 0.5], [1.0]),
        lambda: Normalize([0.5], [0.0]),
        lambda: ZeroCenter("image"),
        lambda: PCA(0),
        lambda: Whiten(eps=0.0),
        lambda: PCA(61).fit({"x_train": np.zeros((2, C, H, W), np.uint8)}),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ValueError):
        make()


def test_features_stay_features():
    x = np.random.default_rng(0).normal(2.0, 3.0, (50, 6)).astype(np.float32)
    y = Normalize().fit({"x_train": x})(x)
    assert y.shape == (50, 6)
    np.testing.assert_allclose(y, (x - x.mean(0)) / x.std(0), atol=1e-5)


def test_every_preprocessing_is_tested_here():
    def below(kind):
        return {kind} | {deep for sub in kind.__subclasses__() for deep in below(sub)}

    public = {kind for kind in below(Preprocessing) if kind.__module__.startswith("fastnet.") and kind.fields}
    assert public == {type(make()) for make in EVERY}, "add a case to EVERY"
