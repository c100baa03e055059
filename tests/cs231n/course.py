"""What the tests of the course's names share: draws, and gradient checks as the notebooks make them."""

import numpy as np

from fastnet.cs231n.gradient_check import eval_numerical_gradient_array


def draws(seed=0):
    """A function of a shape that draws normal numbers in float64, in C order."""
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.standard_normal(shape)


def relative_error(found, wanted):
    """The notebooks' measure: the largest |a - b| / max(1e-8, |a| + |b|)."""
    assert found.shape == wanted.shape
    return np.max(np.abs(found - wanted) / np.maximum(1e-8, np.abs(found) + np.abs(wanted)))


def norm_error(found, wanted):
    """|a - b| / (|a| + |b|) in the Euclidean norm: one small slope among large ones does not count its rounding."""
    assert found.shape == wanted.shape
    size = np.linalg.norm(found) + np.linalg.norm(wanted)
    return np.linalg.norm(found - wanted) / size if size else 0.0


def check_gradients(forward, backward, arrays, tolerance, seed=9, h=1e-5):
    """Every gradient of out, cache = forward(*arrays) against central differences, for a random dout."""
    out, cache = forward(*arrays)
    dout = np.random.default_rng(seed).standard_normal(out.shape)
    gradients = backward(dout, cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    assert len(gradients) == len(arrays)
    for i, (array, found) in enumerate(zip(arrays, gradients)):
        wanted = eval_numerical_gradient_array(lambda _: forward(*arrays)[0], array, dout, h=h)
        assert found.flags.c_contiguous
        assert norm_error(found, wanted) < tolerance, f"gradient of argument {i}"
