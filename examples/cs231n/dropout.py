# %% [markdown]
# # CS231n, assignment 2: dropout
#
# Here p is the probability to KEEP a unit, as in the course since 2018 (`fastnet.Dropout` has the probability to drop).

# %%
# ruff: noqa: NPY002, F405, F403 (the course's generator and its star imports)
import numpy as np
from _course import Assignment

from fastnet.cs231n.classifiers.fc_net import *
from fastnet.cs231n.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array
from fastnet.cs231n.solver import Solver

here = Assignment("Dropout")
data = here.data()
D = int(np.prod(data["X_train"].shape[1:]))

# %% [markdown]
# ## Forward: the mean stays, a share 1 - p becomes zero in training

# %%
print("forward")
np.random.seed(231)
x = np.random.randn(500, 500) + 10
for p in (0.25, 0.4, 0.7):
    out, _ = dropout_forward(x, {"mode": "train", "p": p})
    out_test, _ = dropout_forward(x, {"mode": "test", "p": p})
    zero = (out == 0).mean()
    print(
        f"  p {p}: mean {x.mean():.3f}, in training {out.mean():.3f}, in testing {out_test.mean():.3f}; zero {zero:.3f}"
    )
    here.holds(
        "the means agree to 1 %, the share of zeros too", abs(out.mean() / x.mean() - 1) < 0.01 > abs(zero - 1 + p)
    )

# %% [markdown]
# ## Backward

# %%
print("backward")
np.random.seed(231)
x, dout = np.random.randn(10, 10) + 10, np.random.randn(10, 10)
param = {"mode": "train", "p": 0.2, "seed": 123}
_, cache = dropout_forward(x, param)
wanted = eval_numerical_gradient_array(lambda x: dropout_forward(x, param)[0], x, dout)
here.check("dropout_backward, dx", dropout_backward(dout, cache), wanted, 1e-7)

# %% [markdown]
# ## Nets with dropout

# %%
print("net")
np.random.seed(231)
X, y = np.random.randn(2, 15), np.random.randint(10, size=(2,))
for keep in (1, 0.75, 0.5):
    model = FullyConnectedNet(
        [20, 30], input_dim=15, weight_scale=5e-2, dtype=np.float64, dropout_keep_ratio=keep, seed=123
    )
    loss, grads = model.loss(X, y)
    print(f"  keep {keep}: initial loss {loss:.4f}")
    for name in sorted(grads):
        wanted = eval_numerical_gradient(
            lambda _, model=model: model.loss(X, y)[0], model.params[name], verbose=False, h=1e-5
        )
        here.check(f"gradient of {name}, keep {keep}", grads[name], wanted, 1e-4)

# %% [markdown]
# ## As regularisation: 500 images, a hidden layer of 500

# %%
few = {**data, "X_train": data["X_train"][:500], "y_train": data["y_train"][:500]}
solvers = {}
for keep in (1, 0.25):
    np.random.seed(231)
    model = FullyConnectedNet([500], input_dim=D, dropout_keep_ratio=keep)
    solver = Solver(
        model,
        few,
        num_epochs=here.of(1, 25, 25),
        batch_size=100,
        update_rule="adam",
        optim_config={"learning_rate": 5e-4},
        verbose=False,
    )
    solver.train()
    solvers[f"keep {keep}"] = solver
    train, val = solver.train_acc_history[-1], solver.val_acc_history[-1]
    print(f"  keep {keep}: training {train:.1%}, validation {val:.1%}, gap {train - val:.1%}")
here.curves("dropout.png", solvers)
here.done()
