# %% [markdown]
# # CS231n, assignment 2: batch normalisation
#
# Forward and backward in both modes, nets with it, and what it changes: initial weights, batch sizes; then layer norm. In
# the course's convention: momentum 0.9 weighs the old running statistics, which start at zero.

# %%
# ruff: noqa: NPY002, F405, F403 (the course's generator and its star imports)
import time

import numpy as np
from _course import COLOURS, Assignment, figure, frame, rel_error

from fastnet.cs231n.classifiers.fc_net import *
from fastnet.cs231n.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array
from fastnet.cs231n.solver import Solver

here = Assignment("BatchNormalization")
data = here.data()
D = int(np.prod(data["X_train"].shape[1:]))

# %% [markdown]
# ## Forward: mean beta and deviation gamma in training; nearly that in testing, with running statistics

# %%
print("forward")
np.random.seed(231)
X, W1, W2 = np.random.randn(200, 50), np.random.randn(50, 60), np.random.randn(60, 3)
a = np.maximum(0, X.dot(W1)).dot(W2)
print(f"  before: means {a.mean(axis=0).round(2)}, deviations {a.std(axis=0).round(2)}")
for gamma, beta in ((np.ones(3), np.zeros(3)), (np.array([1.0, 2, 3]), np.array([11.0, 12, 13]))):
    out, _ = batchnorm_forward(a, gamma, beta, {"mode": "train"})
    here.check(f"means, beta {beta}", out.mean(axis=0) + 1, beta + 1, 1e-8)
    here.check(f"deviations, gamma {gamma}", out.std(axis=0), gamma, 1e-7)
bn_param = {"mode": "train"}
for _ in range(50):
    a = np.maximum(0, np.random.randn(200, 50).dot(W1)).dot(W2)
    batchnorm_forward(a, np.ones(3), np.zeros(3), bn_param)
bn_param["mode"] = "test"
a = np.maximum(0, np.random.randn(200, 50).dot(W1)).dot(W2)
out, _ = batchnorm_forward(a, np.ones(3), np.zeros(3), bn_param)
print(f"  in testing: means {out.mean(axis=0).round(3)}, deviations {out.std(axis=0).round(3)}")
here.holds("near 0 and 1, more noisily", abs(out.mean(axis=0)).max() < 0.3 and abs(out.std(axis=0) - 1).max() < 0.2)

# %% [markdown]
# ## Backward, and the formula derived on paper

# %%
print("backward")
np.random.seed(231)
x, gamma, beta, dout = 5 * np.random.randn(4, 5) + 12, np.random.randn(5), np.random.randn(5), np.random.randn(4, 5)
_, cache = batchnorm_forward(x, gamma, beta, {"mode": "train"})
for which, array, found in zip(("dx", "dgamma", "dbeta"), (x, gamma, beta), batchnorm_backward(dout, cache)):
    wanted = eval_numerical_gradient_array(
        lambda _: batchnorm_forward(x, gamma, beta, {"mode": "train"})[0], array, dout
    )
    here.check(f"batchnorm_backward, {which}", found, wanted, 1e-6)
x, dout = 5 * np.random.randn(100, 500) + 12, np.random.randn(100, 500)
_, cache = batchnorm_forward(x, np.ones(500), np.zeros(500), {"mode": "train"})
seconds = []
for backward in (batchnorm_backward, batchnorm_backward_alt):
    began = time.perf_counter()
    for _ in range(20):
        result = backward(dout, cache)
    seconds.append(time.perf_counter() - began)
for which, one, other in zip(("dx", "dgamma", "dbeta"), batchnorm_backward(dout, cache), result):
    here.check(f"compiled against paper, {which}", one, other, 1e-8)
print(f"  the compiled one is {seconds[1] / seconds[0]:.1f} times as fast as the formula in NumPy")

# %% [markdown]
# ## A net with batch norm

# %%
print("net")
np.random.seed(231)
X, y = np.random.randn(2, 15), np.random.randint(10, size=(2,))
for reg in (0, 3.14):
    model = FullyConnectedNet(
        [20, 30], input_dim=15, reg=reg, weight_scale=5e-2, dtype=np.float64, normalization="batchnorm"
    )
    loss, grads = model.loss(X, y)
    for name in sorted(grads):
        wanted = eval_numerical_gradient(
            lambda _, model=model: model.loss(X, y)[0], model.params[name], verbose=False, h=1e-5
        )
        if max(abs(wanted).max(), abs(grads[name]).max()) > 1e-8:  # a bias before a batch norm has no slope
            here.check(f"gradient of {name}, reg {reg}", grads[name], wanted, 1e-3)


def trained(hidden, count, epochs, batch=50, rate=1e-3, weight_scale=2e-2, normalization=None):
    np.random.seed(231)
    few = {**data, "X_train": data["X_train"][:count], "y_train": data["y_train"][:count]}
    model = FullyConnectedNet(hidden, input_dim=D, weight_scale=weight_scale, normalization=normalization)
    solver = Solver(
        model,
        few,
        num_epochs=epochs,
        batch_size=batch,
        update_rule="adam",
        optim_config={"learning_rate": rate},
        verbose=False,
    )
    with np.errstate(all="ignore"):
        solver.train()
    return solver


# %%
epochs = here.of(1, 8, 10)
six = {name or "without": trained([100] * 5, 1000, epochs, normalization=name) for name in (None, "batchnorm")}
for name, solver in six.items():
    print(f"  six layers, {name}: training {max(solver.train_acc_history):.1%}, validation {solver.best_val_acc:.1%}")
here.curves("batch_normalization_six_layers.png", six)

# %% [markdown]
# ## Batch norm and the scale of the initial weights

# %%
scales = np.logspace(-4, 0, num=here.of(3, 9, 20))
drawing = figure(11, 3.8)
left, right = drawing.subplots(1, 2)
for colour, name in zip(COLOURS, (None, "batchnorm")):
    runs = [trained([50] * 7, 1000, here.of(1, 5, 10), weight_scale=s, normalization=name) for s in scales]
    left.semilogx(scales, [max(s.train_acc_history) for s in runs], "-o", color=colour, label=name or "without")
    right.semilogx(scales, [s.best_val_acc for s in runs], "-o", color=colour)
    good = [s for s, run in zip(scales, runs) if run.best_val_acc > 0.2]
    print(f"  {name or 'without'}: above 20 % at {len(good)} of {len(scales)} scales")
frame(left, "Best training accuracy, eight layers", "standard deviation of the initial weights", "")
frame(right, "Best validation accuracy", "standard deviation of the initial weights", "")
left.legend(frameon=False)
here.save(drawing, "batch_normalization_scales.png")

# %% [markdown]
# ## Batch size, for batch norm and for layer norm (which does not look at the batch)

# %%
for norm in ("batchnorm", "layernorm"):
    sizes = {
        f"{norm}, batch {n}": trained([100] * 5, 1000, epochs, n, 10**-3.5, normalization=norm) for n in (5, 10, 50)
    }
    sizes["without, batch 5"] = trained([100] * 5, 1000, epochs, 5, 10**-3.5)
    for name, solver in sizes.items():
        print(f"  {name}: training {max(solver.train_acc_history):.1%}, validation {solver.best_val_acc:.1%}")
    here.curves(f"batch_normalization_sizes_{norm}.png", sizes)

# %% [markdown]
# ## Layer norm: forward and backward

# %%
print("layer norm")
np.random.seed(231)
X, W1, W2 = np.random.randn(4, 50), np.random.randn(50, 60), np.random.randn(60, 3)
a = np.maximum(0, X.dot(W1)).dot(W2)
out, _ = layernorm_forward(a, np.ones(3), np.zeros(3), {})
here.check("means of the rows", out.mean(axis=1) + 1, np.ones(4), 1e-8)
here.check("deviations of the rows", out.std(axis=1), np.ones(4), 1e-6)
x, gamma, beta, dout = 5 * np.random.randn(4, 5) + 12, np.random.randn(5), np.random.randn(5), np.random.randn(4, 5)
_, cache = layernorm_forward(x, gamma, beta, {})
for which, array, found in zip(("dx", "dgamma", "dbeta"), (x, gamma, beta), layernorm_backward(dout, cache)):
    wanted = eval_numerical_gradient_array(lambda _: layernorm_forward(x, gamma, beta, {})[0], array, dout)
    here.check(f"layernorm_backward, {which}", found, wanted, 1e-6)
print(f"  (one example's mean alone: {rel_error(a[0].mean(), -59.06673243):.0e} from the notebook's)")
here.done()
