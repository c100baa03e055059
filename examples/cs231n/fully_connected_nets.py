# %% [markdown]
# # CS231n, assignment 2: fully connected nets
#
# Layers, sandwiches, losses, a net of two layers and of any number, and the update rules, with `fastnet.cs231n` in place of
# `cs231n`. First the checks of the notebook, then its training runs.

# %%
# ruff: noqa: NPY002, F405, F403 (the course's generator and its star imports)
import numpy as np
from _course import Assignment, case

from fastnet.cs231n.classifiers.fc_net import *
from fastnet.cs231n.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array
from fastnet.cs231n.optim import adam, rmsprop, sgd_momentum
from fastnet.cs231n.solver import Solver

here = Assignment("FullyConnectedNets")
data = here.data()
D = int(np.prod(data["X_train"].shape[1:]))
print({name: array.shape for name, array in data.items()})

# %% [markdown]
# ## Affine and ReLU layers: forward against the notebook's numbers, backward against differences

# %%
print("layers")
inputs, _, expected, limit = case("affine_forward")
here.check("affine_forward", affine_forward(**inputs)[0], expected["out"], limit)
inputs, _, expected, limit = case("relu_forward")
here.check("relu_forward", relu_forward(**inputs)[0], expected["out"], limit)

np.random.seed(231)
x, w, b = np.random.randn(10, 2, 3), np.random.randn(6, 5), np.random.randn(5)
dout = np.random.randn(10, 5)
for name, forward, backward in (
    ("affine", affine_forward, affine_backward),
    ("affine_relu", affine_relu_forward, affine_relu_backward),
):
    _, cache = forward(x, w, b)
    for which, array, found in zip(("dx", "dw", "db"), (x, w, b), backward(dout, cache)):
        wanted = eval_numerical_gradient_array(lambda _, forward=forward: forward(x, w, b)[0], array, dout)
        here.check(f"{name}_backward, {which}", found, wanted, 1e-7)
x, dout = np.random.randn(10, 10), np.random.randn(10, 10)
wanted = eval_numerical_gradient_array(lambda x: relu_forward(x)[0], x, dout)
here.check("relu_backward, dx", relu_backward(dout, relu_forward(x)[1]), wanted, 1e-7)

# %% [markdown]
# ## Losses: at chance for small scores (SVM 9, softmax 2.3), and their gradients

# %%
print("losses")
np.random.seed(231)
x, y = 0.001 * np.random.randn(50, 10), np.random.randint(10, size=50)
for name, loss_of, about in (("svm_loss", svm_loss, 9.0), ("softmax_loss", softmax_loss, np.log(10))):
    loss, dx = loss_of(x, y)
    print(f"  {name}: {loss:.4f}, guessing costs {about:.4f}")
    wanted = eval_numerical_gradient(lambda x, loss_of=loss_of: loss_of(x, y)[0], x, verbose=False)
    here.check(f"{name}, dx", dx, wanted, 1e-6)

# %% [markdown]
# ## The net of two layers

# %%
print("TwoLayerNet")
N, d, H, C = 3, 5, 50, 7
model = TwoLayerNet(input_dim=d, hidden_dim=H, num_classes=C, weight_scale=1e-3)
model.params["W1"] = np.linspace(-0.7, 0.3, num=d * H).reshape(d, H)
model.params["b1"] = np.linspace(-0.1, 0.9, num=H)
model.params["W2"] = np.linspace(-0.3, 0.4, num=H * C).reshape(H, C)
model.params["b2"] = np.linspace(-0.9, 0.1, num=C)
X, y = np.linspace(-5.5, 4.5, num=N * d).reshape(d, N).T, np.array([0, 5, 1])
here.check("loss without regularisation", model.loss(X, y)[0], 3.4702243556, 1e-10)
model.reg = 1.0
here.check("loss with regularisation 1", model.loss(X, y)[0], 26.5948426952, 1e-10)
for reg in (0.0, 0.7):
    model.reg = reg
    _, grads = model.loss(X, y)
    for name in sorted(grads):
        wanted = eval_numerical_gradient(lambda _, model=model: model.loss(X, y)[0], model.params[name], verbose=False)
        here.check(f"gradient of {name}, reg {reg}", grads[name], wanted, 1e-5)

# %%
np.random.seed(231)
model = TwoLayerNet(input_dim=D, hidden_dim=100, weight_scale=1e-3, reg=0.2)
config = {"learning_rate": 1e-3} if D == 3072 else {"learning_rate": 5e-4}
two = Solver(
    model,
    data,
    update_rule="sgd",
    optim_config=config,
    lr_decay=0.95,
    num_epochs=here.of(1, 8, 10),
    batch_size=100,
    print_every=10**6,
    verbose=False,
)
two.train()
print(f"  trained: {two.best_val_acc:.1%} on the validation split (the notebook wants 50 % from 49,000 images)")
here.curves("fully_connected_two_layers.png", {"two layers": two})

# %% [markdown]
# ## Nets of any number of layers

# %%
print("FullyConnectedNet")
np.random.seed(231)
N, d, H1, H2, C = 2, 15, 20, 30, 10
X, y = np.random.randn(N, d), np.random.randint(C, size=(N,))
for reg, wanted_loss in ((0, 2.3004790897684924), (3.14, 7.052114776533016)):
    model = FullyConnectedNet([H1, H2], input_dim=d, num_classes=C, reg=reg, weight_scale=5e-2, dtype=np.float64)
    loss, grads = model.loss(X, y)
    here.check(f"initial loss, reg {reg}", loss, wanted_loss, 1e-12)
    for name in sorted(grads):
        wanted = eval_numerical_gradient(
            lambda _, model=model: model.loss(X, y)[0], model.params[name], verbose=False, h=1e-5
        )
        here.check(f"gradient of {name}, reg {reg}", grads[name], wanted, 1e-4)

# %% [markdown]
# Fifty images by heart: a net that cannot do this has an error somewhere.

# %%
print("fifty images by heart")
small = {**data, "X_train": data["X_train"][:50], "y_train": data["y_train"][:50]}
heart = {}
for hidden, weight_scale, rate in (([100, 100], 1e-2, 1e-2), ([100, 100, 100, 100], 5e-2, 2e-3)):
    np.random.seed(231)
    model = FullyConnectedNet(hidden, input_dim=D, weight_scale=weight_scale, dtype=np.float64)
    solver = Solver(
        model,
        small,
        num_epochs=here.of(20, 40, 40),
        batch_size=25,
        update_rule="sgd",
        optim_config={"learning_rate": rate},
        num_val_samples=200,
        verbose=False,
    )
    solver.train()
    heart[f"{len(hidden) + 1} layers"] = solver
    print(f"  {len(hidden) + 1} layers: {max(solver.train_acc_history):.0%} of the training images")
here.curves("fully_connected_by_heart.png", heart)

# %% [markdown]
# ## Update rules

# %%
print("update rules")
inputs, settings, expected, limit = case("sgd_momentum")
w, dw = inputs.pop("w"), inputs.pop("dw")
next_w, config = sgd_momentum(w, dw, {**settings["config"], **inputs})
here.check("sgd_momentum, next_w", next_w, expected["next_w"], limit)
here.check("sgd_momentum, velocity", config["velocity"], expected["velocity"], limit)
inputs, settings, expected, limit = case("adam")
w, dw = inputs.pop("w"), inputs.pop("dw")
next_w, config = adam(w, dw, {**settings["config"], **inputs})
here.check("adam, next_w", next_w, expected["next_w"], limit)
here.check("adam, m", config["m"], expected["m"], limit)
here.check("adam, v", config["v"], expected["v"], limit)
cached = np.linspace(0.6, 0.9, 20).reshape(4, 5)
next_w, config = rmsprop(w, dw, {"learning_rate": 1e-2, "cache": cached})
wanted = 0.99 * cached + 0.01 * dw**2
here.check("rmsprop, cache", config["cache"], wanted, 1e-12)
here.check("rmsprop, next_w", next_w, w - 1e-2 * dw / (np.sqrt(wanted) + 1e-8), 1e-12)

# %%
part = {**data, "X_train": data["X_train"][:4000], "y_train": data["y_train"][:4000]}
rules = {}
for rule, rate in (("sgd", 5e-3), ("sgd_momentum", 5e-3), ("rmsprop", 1e-4), ("adam", 1e-3)):
    np.random.seed(231)
    model = FullyConnectedNet([100, 100, 100, 100, 100], input_dim=D, weight_scale=5e-2)
    solver = Solver(
        model,
        part,
        num_epochs=here.of(1, 3, 5),
        batch_size=100,
        update_rule=rule,
        optim_config={"learning_rate": rate},
        verbose=False,
    )
    with np.errstate(all="ignore"):
        solver.train()
    rules[rule] = solver
    print(f"  {rule}: {solver.best_val_acc:.1%} on the validation split")
here.curves("fully_connected_rules.png", rules)

# %% [markdown]
# ## A good net: batch norm, Adam, a falling rate

# %%
np.random.seed(231)
model = FullyConnectedNet([200, 100], input_dim=D, weight_scale=2e-2, normalization="batchnorm", reg=1e-3)
best = Solver(
    model,
    data,
    num_epochs=here.of(1, 5, 10),
    batch_size=100,
    update_rule="adam",
    optim_config={"learning_rate": 1e-3},
    lr_decay=0.85,
    verbose=False,
)
best.train()
test = best.check_accuracy(data["X_test"], data["y_test"])
print(f"a good net: validation {best.best_val_acc:.1%}, test {test:.1%}")
here.done()
