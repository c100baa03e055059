# %% [markdown]
# # CS231n, assignment 2: convolutional networks
#
# The naive loops against the notebook's numbers, the fast layers against the naive ones (and how much faster), sandwiches, a
# net of three layers, and spatial batch and group norm.

# %%
# ruff: noqa: NPY002, F405, F403 (the course's generator and its star imports)
import time

import numpy as np
from _course import Assignment, case, figure, rel_error

from fastnet.cs231n.classifiers.cnn import *
from fastnet.cs231n.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array
from fastnet.cs231n.solver import Solver
from fastnet.cs231n.vis_utils import visualize_grid

here = Assignment("ConvolutionalNetworks")
data = here.data()
shape = data["X_train"].shape[1:]

# %% [markdown]
# ## Naive convolution and pooling

# %%
print("naive layers")
inputs, settings, expected, limit = case("conv_forward")
here.check("conv_forward_naive", conv_forward_naive(**inputs, **settings)[0], expected["out"], limit)
inputs, settings, expected, limit = case("max_pool_forward")
here.check("max_pool_forward_naive", max_pool_forward_naive(**inputs, **settings)[0], expected["out"], limit)
np.random.seed(231)
x, w, b, dout = (
    np.random.randn(4, 3, 5, 5),
    np.random.randn(2, 3, 3, 3),
    np.random.randn(2),
    np.random.randn(4, 2, 5, 5),
)
conv_param = {"stride": 1, "pad": 1}
_, cache = conv_forward_naive(x, w, b, conv_param)
for which, array, found in zip(("dx", "dw", "db"), (x, w, b), conv_backward_naive(dout, cache)):
    wanted = eval_numerical_gradient_array(lambda _: conv_forward_fast(x, w, b, conv_param)[0], array, dout)
    here.check(f"conv_backward_naive, {which}", found, wanted, 1e-7)
x, dout = np.random.randn(3, 2, 8, 8), np.random.randn(3, 2, 4, 4)
pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
wanted = eval_numerical_gradient_array(lambda x: max_pool_forward_fast(x, pool_param)[0], x, dout)
here.check(
    "max_pool_backward_naive, dx", max_pool_backward_naive(dout, max_pool_forward_naive(x, pool_param)[1]), wanted, 1e-7
)

# %% [markdown]
# What a convolution can do: grey and edges, by weights that nobody learnt.

# %%
pictures = data["X_train"][:4] - data["X_train"][:4].min()
w = np.zeros((2, shape[0], 3, 3))
w[0, :, 1, 1] = 1 / shape[0]  # the mean of the channels
w[1, -1] = [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]  # horizontal edges
out, _ = conv_forward_fast(pictures, w, np.array([0.0, 128.0]), {"stride": 1, "pad": 1})
drawing = figure(7, 5)
for row, places in enumerate(drawing.subplots(3, 4)):
    for i, axes in enumerate(places):
        tile = pictures[i].transpose(1, 2, 0) / pictures.max() if row == 0 else out[i, row - 1]
        axes.imshow(tile.squeeze(), cmap="gray")
        axes.set_axis_off()
        if i == 0:
            axes.set_title(("image", "grey", "edges")[row], loc="left")
here.save(drawing, "convolutional_filters.png")

# %% [markdown]
# ## Fast layers

# %%
print("fast layers")


def timed(function, *arguments):
    began = time.perf_counter()
    return function(*arguments), time.perf_counter() - began


np.random.seed(231)
images, filters = here.of(2, 20, 100), here.of(3, 10, 25)
x, w, b = np.random.randn(images, 3, 31, 31), np.random.randn(filters, 3, 3, 3), np.random.randn(filters)
conv_param = {"stride": 2, "pad": 1}
conv_forward_fast(x, w, b, conv_param)  # the first call is no measurement
(naive, naive_cache), slow = timed(conv_forward_naive, x, w, b, conv_param)
(fast, fast_cache), quick = timed(conv_forward_fast, x, w, b, conv_param)
here.check(f"convolution forward, {slow / quick:,.0f} times as fast", fast, naive, 1e-7)
dout = np.random.randn(*naive.shape)
naive_grads, slow = timed(conv_backward_naive, dout, naive_cache)
fast_grads, quick = timed(conv_backward_fast, dout, fast_cache)
for which, found, wanted in zip(("dx", "dw", "db"), fast_grads, naive_grads):
    here.check(f"convolution backward {which}, {slow / quick:,.0f} times as fast", found, wanted, 1e-7)
x = np.random.randn(images, 3, 32, 32)
max_pool_forward_fast(x, pool_param)
(naive, naive_cache), slow = timed(max_pool_forward_naive, x, pool_param)
(fast, fast_cache), quick = timed(max_pool_forward_fast, x, pool_param)
here.check(f"pooling forward, {slow / quick:,.0f} times as fast", fast, naive, 0)
dout = np.random.randn(*naive.shape)
naive_dx, slow = timed(max_pool_backward_naive, dout, naive_cache)
fast_dx, quick = timed(max_pool_backward_fast, dout, fast_cache)
here.check(f"pooling backward, {slow / quick:,.0f} times as fast", fast_dx, naive_dx, 0)

# %% [markdown]
# ## Sandwiches, and the net of three layers

# %%
print("sandwich and net")
np.random.seed(231)
x, w, b, dout = (
    np.random.randn(2, 3, 8, 8),
    np.random.randn(3, 3, 3, 3),
    np.random.randn(3),
    np.random.randn(2, 3, 4, 4),
)
conv_param = {"stride": 1, "pad": 1}
_, cache = conv_relu_pool_forward(x, w, b, conv_param, pool_param)
for which, array, found in zip(("dx", "dw", "db"), (x, w, b), conv_relu_pool_backward(dout, cache)):
    wanted = eval_numerical_gradient_array(
        lambda _: conv_relu_pool_forward(x, w, b, conv_param, pool_param)[0], array, dout
    )
    here.check(f"conv_relu_pool, {which}", found, wanted, 1e-6)
model = ThreeLayerConvNet()
X, y = np.random.randn(50, 3, 32, 32), np.random.randint(10, size=50)
plain, _ = model.loss(X, y)
model.reg = 0.5
more, _ = model.loss(X, y)
print(f"  initial loss {plain:.4f} (ln 10 = {np.log(10):.4f}), with regularisation {more:.4f}")
here.holds("at chance, and higher with regularisation", abs(plain - np.log(10)) < 0.02 and more > plain)
model = ThreeLayerConvNet((3, 8, 8), num_filters=3, filter_size=3, hidden_dim=7, dtype=np.float64, weight_scale=0.05)
X, y = np.random.randn(2, 3, 8, 8), np.random.randint(10, size=2)
_, grads = model.loss(X, y)
for name in sorted(grads):
    wanted = eval_numerical_gradient(
        lambda _, model=model: model.loss(X, y)[0], model.params[name], verbose=False, h=1e-6
    )
    here.check(f"gradient of {name}", grads[name], wanted, 1e-2)

# %% [markdown]
# ## A hundred images by heart, then the data

# %%
np.random.seed(231)
few = {**data, "X_train": data["X_train"][:100], "y_train": data["y_train"][:100]}
model = ThreeLayerConvNet(shape, weight_scale=1e-2)
heart = Solver(
    model,
    few,
    num_epochs=here.of(1, 15, 15),
    batch_size=50,
    update_rule="adam",
    optim_config={"learning_rate": 1e-3},
    num_val_samples=200,
    verbose=False,
)
heart.train()
print(f"  100 images: training {max(heart.train_acc_history):.0%}, validation {heart.best_val_acc:.1%}")
here.curves("convolutional_by_heart.png", {"100 images": heart})

# %%
np.random.seed(231)
model = ThreeLayerConvNet(shape, weight_scale=0.001, hidden_dim=here.of(50, 500, 500), reg=0.001)
solver = Solver(
    model,
    data,
    num_epochs=here.of(1, 3, 1),
    batch_size=50,
    update_rule="adam",
    optim_config={"learning_rate": 1e-3},
    verbose=False,
)
began = time.perf_counter()
solver.train()
print(
    f"  {len(data['X_train']):,} images, {len(solver.loss_history)} steps in {time.perf_counter() - began:.1f} s:",
    end=" ",
)
print(f"validation {solver.best_val_acc:.1%}, test {solver.check_accuracy(data['X_test'], data['y_test']):.1%}")
here.curves("convolutional_training.png", {"three layers": solver})
drawing = figure(4.5, 4.5)
axes = drawing.subplots()
axes.imshow(visualize_grid(model.params["W1"].transpose(0, 2, 3, 1)).astype(np.uint8).squeeze(), cmap="gray")
axes.set_axis_off()
here.save(drawing, "convolutional_first_layer.png")

# %% [markdown]
# ## Spatial batch norm and group norm

# %%
print("spatial norms")
np.random.seed(231)
x = 4 * np.random.randn(2, 3, 4, 5) + 10
out, _ = spatial_batchnorm_forward(x, np.ones(3), np.zeros(3), {"mode": "train"})
here.check("means of the channels", out.mean(axis=(0, 2, 3)) + 1, np.ones(3), 1e-8)
here.check("deviations of the channels", out.std(axis=(0, 2, 3)), np.ones(3), 1e-6)
gamma, beta, dout = np.random.randn(3), np.random.randn(3), np.random.randn(2, 3, 4, 5)
_, cache = spatial_batchnorm_forward(x, gamma, beta, {"mode": "train"})
for which, array, found in zip(("dx", "dgamma", "dbeta"), (x, gamma, beta), spatial_batchnorm_backward(dout, cache)):
    wanted = eval_numerical_gradient_array(
        lambda _: spatial_batchnorm_forward(x, gamma, beta, {"mode": "train"})[0], array, dout
    )
    here.check(f"spatial_batchnorm_backward, {which}", found, wanted, 1e-6)
x = 4 * np.random.randn(2, 6, 4, 5) + 10
out, _ = spatial_groupnorm_forward(x, np.ones((1, 6, 1, 1)), np.zeros((1, 6, 1, 1)), 2, {})
here.check("deviations of the groups", out.reshape(4, -1).std(axis=1), np.ones(4), 1e-6)
x, dout = 5 * np.random.randn(2, 6, 4, 5) + 12, np.random.randn(2, 6, 4, 5)
gamma, beta = np.random.randn(1, 6, 1, 1), np.random.randn(1, 6, 1, 1)
_, cache = spatial_groupnorm_forward(x, gamma, beta, 2, {})
for which, array, found in zip(("dx", "dgamma", "dbeta"), (x, gamma, beta), spatial_groupnorm_backward(dout, cache)):
    wanted = eval_numerical_gradient_array(lambda _: spatial_groupnorm_forward(x, gamma, beta, 2, {})[0], array, dout)
    here.check(f"spatial_groupnorm_backward, {which}", found, wanted, 1e-6)
print(f"  (a group's mean after it: {rel_error(out.reshape(4, -1).mean(axis=1) + 1, np.ones(4)):.0e} from 0)")
here.done()
