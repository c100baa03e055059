"""The reference update rules against torch.optim, ten steps with changing gradients."""

import numpy as np
import pytest

from fastnet.reference import adagrad_step, adam_step, rmsprop_step, sgd_step

torch = pytest.importorskip("torch")

RULES = [
    (sgd_step, torch.optim.SGD, {}),
    (sgd_step, torch.optim.SGD, dict(weight_decay=0.05)),
    (sgd_step, torch.optim.SGD, dict(momentum=0.9, weight_decay=0.05)),
    (sgd_step, torch.optim.SGD, dict(momentum=0.9, nesterov=True, weight_decay=0.05)),
    (adagrad_step, torch.optim.Adagrad, dict(weight_decay=0.05)),
    (rmsprop_step, torch.optim.RMSprop, dict(weight_decay=0.05)),
    (rmsprop_step, torch.optim.RMSprop, dict(alpha=0.9, eps=1e-3)),
    (adam_step, torch.optim.Adam, dict(weight_decay=0.05)),
    (adam_step, torch.optim.Adam, dict(betas=(0.8, 0.95), eps=1e-3)),
    (adam_step, torch.optim.AdamW, dict(weight_decay=0.05)),
]


@pytest.mark.parametrize(("step", "rule", "options"), RULES)
def test_ten_steps_end_where_torchs_end(step, rule, options):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((5, 3))
    theirs = torch.nn.Parameter(torch.tensor(w))
    optimizer = rule([theirs], lr=0.02, **options)
    if rule is torch.optim.AdamW:
        options = dict(options, decoupled=True)
    state = {}
    for _ in range(10):
        dw = rng.standard_normal(w.shape)
        step(w, dw, state, lr=0.02, **options)
        theirs.grad = torch.tensor(dw)
        optimizer.step()
    np.testing.assert_allclose(w, theirs.detach().numpy(), rtol=1e-12)


def test_a_rule_leaves_the_gradient_alone_and_the_dtype_too():
    for step in (sgd_step, adagrad_step, rmsprop_step, adam_step):
        w, dw = np.ones((3, 2), np.float32), np.full((3, 2), 0.5, np.float32)
        step(w, dw, {}, lr=0.1, weight_decay=0.1)
        assert w.dtype == np.float32
        assert (dw == 0.5).all()
        assert (w < 1).all()
