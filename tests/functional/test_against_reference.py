"""Every public operation of fastnet.functional against its twin of the same name in fastnet.reference."""

import inspect

import numpy as np
import pytest
from operations import CASES, all_cases, arguments, assert_same, run, signature

from fastnet import functional, reference

PUBLIC = [name for name in functional.__all__ if inspect.isroutine(getattr(functional, name))]
FORWARD = [name for name in PUBLIC if not name.endswith("_backward")]
TOLERANCE = {np.float64: 1e-11, np.float32: 3e-6}  # of the largest number; float32 sums here have up to 100 terms


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_operation_has_a_twin_of_the_same_signature(name):
    twin = getattr(reference, name, None)
    assert twin is not None, f"add a twin for {name} to fastnet/reference/vectorised"
    assert signature(getattr(functional, name)) == signature(twin)


@pytest.mark.parametrize("name", FORWARD)
def test_a_public_operation_has_a_backward_and_cases(name):
    assert f"{name}_backward" in PUBLIC, f"{name} has no public {name}_backward"
    assert name in CASES, f"add a case for {name} to tests/operations.py"


def test_every_operation_of_the_reference_is_public():
    """What is not exported, the tests below would not see."""
    operations = [name for name in reference.vectorised.__all__ if not name.endswith("_step")]  # rules are in optim
    missing = sorted(set(operations) - set(PUBLIC))
    assert not missing, f"add {missing} to __all__ in fastnet/functional/__init__.py"


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: d.__name__)
@pytest.mark.parametrize(("name", "case"), all_cases([name for name in FORWARD if name in CASES]))
def test_functional_is_the_reference(name, case, dtype):
    given, expected = arguments(case, dtype), arguments(case, dtype)
    with np.errstate(invalid="ignore"):  # inf - inf where the table has infinities
        wanted, gradients = run(reference, name, expected)
        found, ours = run(functional, name, given)
    assert_same(found, wanted, TOLERANCE[dtype], f"{name}: y")
    for i, pair in enumerate(zip(ours, gradients, strict=True)):
        assert_same(*pair, 10 * TOLERANCE[dtype], f"{name}: gradient {i}")
    for key, value in given.items():  # the running statistics have moved alike, and nothing else has changed
        if isinstance(value, np.ndarray):
            assert_same(value, expected[key], TOLERANCE[dtype], f"{name}: {key} afterwards")


@pytest.mark.parametrize("name", [name for name in FORWARD if "scores" not in signature(getattr(functional, name))[0]])
def test_an_empty_batch_gives_an_empty_output_and_zero_gradients(name):
    for case in CASES.get(name, []):
        given = arguments(case, np.float32)
        if name == "batch_norm" and given.get("training", True):
            continue  # has no statistics: refused
        if "xs" in given:
            given["xs"] = [x[:0] for x in given["xs"]]
        else:
            given["x"] = given["x"][:0]
        y, gradients = run(functional, name, given)
        wanted, expected = run(reference, name, given)
        assert_same(y, wanted, 0, f"{name}: y")
        for gradient, zeros in zip(gradients, expected, strict=True):
            assert_same(gradient, zeros, 0, f"{name}: gradient")
            assert gradient is None or not gradient.any()


@pytest.mark.parametrize(
    "name", [n for n in FORWARD if "input_gradient" in str(signature(getattr(functional, f"{n}_backward")))]
)
@pytest.mark.parametrize("left_out", [0, 1], ids=["input", "weight"])
@pytest.mark.parametrize("ops", [functional, reference.loops, reference.vectorised], ids=lambda m: m.__name__)
def test_the_gradient_of_the_input_or_of_the_weights_may_be_left_out(ops, left_out, name):
    options = {("input_gradient", "weight_gradient")[left_out]: False}
    for case in CASES.get(name, [])[: None if ops is functional else 1]:
        _, gradients = run(ops, name, arguments(case), **options)
        _, wanted = run(ops, name, arguments(case))
        assert gradients[left_out] is None
        gradients, wanted = (list(found) for found in (gradients, wanted))
        del gradients[left_out], wanted[left_out]
        for gradient, full in zip(gradients, wanted, strict=True):
            assert_same(gradient, full, 0, name)
