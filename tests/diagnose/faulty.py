"""Layers as a user may write them: right ones, and ones with the mistakes that the diagnosis must find."""

import numpy as np

from fastnet.layers import Layer


class Scale(Layer):
    """y = a * x with a learned number per feature."""

    def __init__(self, features):
        super().__init__()
        self.a = self.add_parameter("a", np.linspace(0.5, 2, features, dtype=np.float32))

    def forward(self, x):
        return self._keep(x * self.a.data, x)

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        self._give(self.a, (dy * self._kept()).sum(0), accumulate)
        return dy * self.a.data


class WrongInput(Scale):
    """Forgets its factor on the way back."""

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        super().backward(dy, accumulate=accumulate)
        return dy


class WrongParameter(Scale):
    """Takes the mean over the batch where the sum belongs."""

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        dx = super().backward(dy, accumulate=accumulate)
        self.a.grad /= len(dy)
        return dx


class Bent(Layer):
    """y = max(x, 0.2 x): a kink that nobody outside knows of."""

    def forward(self, x):
        return self._keep(np.maximum(x, 0.2 * x), x)

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        return dy * np.where(self._kept() > 0, 1, 0.2)


class Coarse(Layer):
    """Computes in float32, whatever it gets."""

    def forward(self, x):
        return self._keep((x.astype(np.float32) * np.float32(1.3)).astype(np.float32), x.dtype)

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        return dy * 1.3


class TwiceScaled(Layer):
    """Inverted dropout behind which somebody multiplies by 1 / (1 - p) once more."""

    def __init__(self, p):
        super().__init__()
        self.p, self.rng = p, np.random.default_rng(5)

    def forward(self, x):
        if not self.training:
            return x
        mask = (self.rng.random(x.shape) >= self.p) / (1 - self.p) / (1 - self.p)
        mask = mask.astype(x.dtype)
        return self._keep(x * mask, mask)

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        return dy * self._kept()


class ScaledAfterwards(TwiceScaled):
    """Inverted dropout that multiplies by 1 - p in evaluation, too."""

    def forward(self, x):
        return super().forward(x) * (1 - self.p) if self.training else x * x.dtype.type(1 - self.p)

    def backward(self, dy, *, accumulate=False, input_gradient=True):
        return super().backward(dy) * (1 - self.p)
