"""What the course's nets share: parameters by name, running statistics beside them, L2 on the weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...memory import Array

STATISTICS = ("running_mean", "running_var")


def running_statistics(bn_params: Any) -> dict[str, Array]:
    """Copies of the running statistics in a list of bn_params: "running_mean1", "running_var1" from the first, and so on."""
    return {
        f"{name}{i}": np.array(bn_param[name], copy=True)
        for i, bn_param in enumerate(bn_params, 1)
        for name in STATISTICS
        if name in bn_param
    }


def set_running_statistics(bn_params: Any, state: Mapping[str, Array]) -> None:
    """The way back: copies of what `running_statistics` gave. A bn_param without any in state loses its own."""
    for i, bn_param in enumerate(bn_params, 1):
        for name in STATISTICS:
            bn_param.pop(name, None)
            if f"{name}{i}" in state:
                bn_param[name] = np.array(state[f"{name}{i}"], copy=True)


class Net:
    """A net whose loss is the sum of a data loss and 0.5 * reg * sum(W**2) over the weights, biases and norms left out.

    A subclass fills self.params and has loss(X, y=None).
    """

    def __init__(self, reg: float, dtype: Any) -> None:
        self.reg = reg
        self.dtype = np.dtype(dtype)
        self.bn_params: list[dict[str, Any]] = []
        self._params: dict[str, Array] = {}

    @property
    def params(self) -> dict[str, Array]:
        """Parameters by name. Setting it to a Solver's best_params sets the running statistics among them as well."""
        return self._params

    @params.setter
    def params(self, state: Mapping[str, Array]) -> None:
        statistics = {name for name in state if name.startswith(STATISTICS)}
        self._params = {name: array for name, array in state.items() if name not in statistics}
        if statistics:
            set_running_statistics(self.bn_params, state)

    def regularize(self, loss: float, grads: dict[str, Array]) -> float:
        """loss + 0.5 * reg * sum(W**2), and reg * W added to the gradients of the weights W1, W2, …"""
        for name, w in self._params.items():
            if self.reg and name.startswith("W"):
                loss += 0.5 * self.reg * float(np.sum(w * w, dtype=np.float64))
                grads[name] = grads[name] + w.dtype.type(self.reg) * w
        return loss

    def normal(self, weight_scale: float, *shape: int) -> Array:
        """Weights drawn from a Gaussian of this deviation, by NumPy's global generator as in the course."""
        return (weight_scale * np.random.randn(*shape)).astype(self.dtype)  # noqa: NPY002

    def zeros(self, size: int) -> Array:
        return np.zeros(size, self.dtype)
