"""lr_range_test: a rate that falls, one that breaks, and a net that stays as it was."""

from functools import partial

import numpy as np
import pytest

import fastnet
from fastnet import lr_range_test, optim
from fastnet.layers import Linear, ReLU, Sequential


@pytest.fixture
def problem():
    """Three clouds of points, and a small net."""
    fastnet.manual_seed(1)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    x = (rng.standard_normal((300, 6)) + 2 * np.eye(3, 6)[y]).astype(np.float32)
    return Sequential(Linear(6, 16), ReLU(), Linear(16, 3)), {"x_train": x, "y_train": y}


@pytest.mark.parametrize("optimizer", [None, optim.Adam, partial(optim.SGD, momentum=0.9)])
def test_it_finds_rates_at_which_the_loss_falls(problem, optimizer):
    found = lr_range_test(*problem, optimizer=optimizer, batch_size=32)
    assert 1e-5 < found.low <= found.suggestion <= found.high < 5
    assert len(found.lr) == len(found.loss) == len(found.smooth) <= 200
    assert found.smooth.min() < 0.6 * found.loss[0]
    assert "falls most steeply" in repr(found)


def test_the_net_is_untouched_and_the_same_call_gives_the_same_numbers(problem):
    net, data = problem
    before = net.state_dict()
    first, again = (lr_range_test(net, data, steps=40) for _ in range(2))
    assert np.array_equal(first.loss, again.loss)
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())


def test_a_rule_that_is_built_lends_its_settings_and_keeps_its_rate(problem):
    net, data = problem
    rule = optim.SGD(net.parameters(), 0.3, momentum=0.5)
    found = lr_range_test(net, data, optimizer=rule, steps=30)
    same = lr_range_test(net, data, optimizer=partial(optim.SGD, momentum=0.5), steps=30)
    assert np.array_equal(found.loss, same.loss)
    assert (rule.lr, rule.steps) == (0.3, 0)


def test_where_nothing_falls_there_is_no_suggestion(problem):
    net, data = problem
    found = lr_range_test(net, data, lr_min=1e-9, lr_max=1e-8, steps=20)
    assert np.isnan(found.suggestion)
    assert "no learning rate" in repr(found)


def test_it_draws(problem, tmp_path):
    pytest.importorskip("matplotlib")
    lr_range_test(*problem, steps=60).plot(tmp_path / "range.png")
    assert (tmp_path / "range.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"steps": 1}, "steps"), ({"lr_min": 1.0, "lr_max": 1.0}, "above lr_min"), ({"optimizer": 3}, "optimizer")],
)
def test_bad_arguments_are_refused(problem, options, complaint):
    with pytest.raises((TypeError, ValueError), match=complaint):
        lr_range_test(*problem, **options)
