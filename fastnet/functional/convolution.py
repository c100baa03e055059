"""Convolution and transposed convolution of images: arguments, shapes, and the calls of their three products."""

from functools import lru_cache
from typing import Any, NamedTuple

from .. import memory
from ..memory import Array
from . import checks, products, trace
from .deferred import Deferred, Finish, Into, Value, finish_into, finished, memory_of, storage
from .geometry import Geometry, geometry_of, output_padding_of, output_size
from .products import bias_gradient, gather, scatter


class Conv2dSaved(NamedTuple):
    """x in channels-last memory or Deferred, the weights, whether there was a bias, the geometry, the output's shape."""

    x: Array | Deferred
    w: Array
    bias: bool
    geometry: Geometry
    shape: tuple[int, int, int, int]


def conv2d(
    x: Array, w: Array, b: Array | None = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[Array, Conv2dSaved]:
    """y[n,f,i,j] = b[f] + sum over c,u,v of x[n, c, i*SH + u*DH - PH, j*SW + v*DW - PW] * w[f,c,u,v].

    x (N, C, H, W), w (F, C/groups, KH, KW), b (F,)  ->  y (N, F, OH, OW), saved.  With groups, filter f sees the channels of
    its own group only.  padding: int, pair, or "same" (stride 1: y as large as x; an odd pixel goes below and right).
    In float32, here and in the gradients, denormal numbers (below 1.2e-38) may count as zero.
    ValueError if the window does not fit the padded image or groups do not divide.  Dumoulin & Visin 2016, section 4.
    """
    w = checks.floats("conv2d", w, 4, "w")
    groups = checks.integer("conv2d", groups, "groups", 1)
    geometry = geometry_of("conv2d", w.shape[2:], stride, padding, dilation, groups, w.shape[1] * groups, w.shape[0])
    y, saved = convolve(x, w, b, geometry, padding == "same")
    return y.transpose(0, 3, 1, 2), saved


def convolve(
    x: Value,
    w: Array,
    b: Array | None,
    geometry: Geometry,
    same: bool,
    finish: Finish | None = None,
    *,
    carried: bool = False,
) -> tuple[Array, Conv2dSaved]:
    """conv2d of an array or of what is Deferred, of a checked geometry; y in channels-last memory, with what `finish` does
    to it; `carried`: as Deferred values are stored."""
    image = _source("conv2d", x, w.shape[1] * geometry.groups)
    checks.same_dtype("conv2d", w, "w", image.dtype)
    if b is not None:
        b = checks.parameter("conv2d", b, "b", (w.shape[0],), image.dtype)
    n, height, width, _ = image.a.shape if isinstance(image, Deferred) else image.shape
    size = (height, width) if same else _output(geometry, height, width)
    y = memory.empty((n, *size, w.shape[0]), storage(image.dtype) if carried else image.dtype)
    if finish is not None and finish.add is not None and finish.add.shape != y.shape:
        raise ValueError(f"conv2d: the output has shape {y.shape}, what is added to it {finish.add.shape} (N, H, W, C)")
    began = trace.begin()
    y = gather(image, w, b, y, geometry, finish)
    trace.product("product", began, [image], y, finish)
    return y, Conv2dSaved(image, w, b is not None, geometry, (n, w.shape[0], size[0], size[1]))


@lru_cache(maxsize=1024)
def _output(geometry: Geometry, height: int, width: int) -> tuple[int, int]:
    """(OH, OW); ValueError if no window fits."""
    rows, columns = (output_size(i, *(pair[k] for pair in geometry[:4])) for k, i in enumerate((height, width)))
    if min(rows, columns) < 1:
        raise ValueError(
            f"conv2d: window {geometry.kernel} with dilation {geometry.dilation} is larger than the padded input "
            f"({height + 2 * geometry.padding[0]}, {width + 2 * geometry.padding[1]})"
        )
    return rows, columns


def _source(op: str, x: Value, channels: int) -> Array | Deferred:
    """What a product loads: x itself if it is Deferred, else its channels-last memory; ValueError for other channels."""
    if isinstance(x, Deferred) and x.shape[1] == channels:
        return x
    return checks.images(op, x.array() if isinstance(x, Deferred) else x, channels)


def conv2d_backward(
    dy: Array, saved: Conv2dSaved, *, input_gradient: bool = True, weight_gradient: bool = True
) -> tuple[Array | None, Any, Array | None]:
    """dx[n,c,h,w] = sum of dy * w over the windows that saw the pixel;  dw[f,c,u,v] = sum over n,i,j of dy[n,f,i,j] * x[…];
    db[f] = sum over n,i,j of dy[n,f,i,j].

    dy (N, F, OH, OW)  ->  dx (N, C, H, W) or None without `input_gradient`, dw (F, C/groups, KH, KW) or None without
    `weight_gradient`, db (F,) or None.  ValueError if dy has not the output's shape.  Dumoulin & Visin 2016, section 4.
    """
    x = saved.x
    checks.gradient("conv2d_backward", dy, saved.shape, x.dtype)
    dx, dw, db = convolve_back(dy, saved, Into() if input_gradient else None, weight_gradient)
    return None if dx is None else dx.array(), dw, db


def convolve_back(
    dy: Value, saved: Conv2dSaved, into: Into | None, weight_gradient: bool = True, dw: Array | None = None
) -> tuple[Deferred | None, Any, Array | None]:
    """conv2d_backward of a gradient that may be Deferred, its dx finished as `into` wants it; None: no dx. `dw`: an array
    for the gradient of the weights."""
    x, w, bias, geometry, _ = saved
    gradient = dy if isinstance(dy, Deferred) else memory.channels_last(dy)
    if weight_gradient:
        began = trace.begin()
        dw = products.weight_gradient(x, gradient, geometry, dw)
        trace.product("weight gradient", began, [x, gradient], None)
    db = None
    if bias:
        sums = dy.sums if isinstance(dy, Deferred) else None
        db = bias_gradient(memory_of(dy)) if sums is None else sums[0].astype(w.dtype)
    if into is None:
        return None, dw, db
    finish = finish_into(into)
    like = x.a if isinstance(x, Deferred) else x
    dx = memory.empty(like.shape, like.dtype)
    began = trace.begin()
    dx = scatter(gradient, w, None, dx, geometry, finish)
    trace.product("input gradient", began, [gradient], dx, finish)
    return finished(dx, finish), dw, db


def conv_transpose2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> tuple[Array, Conv2dSaved]:
    """y[n, f, i*SH + u*DH - PH, j*SW + v*DW - PW] = b[f] + sum over c of x[n,c,i,j] * w[c,f,u,v]: the transpose of conv2d.

    x (N, C, H, W), w (C, F/groups, KH, KW), b (F,)  ->  y (N, F, OH, OW), saved, with
    OH = (H - 1) SH - 2 PH + DH (KH - 1) + 1 + output_padding.  ValueError if that is not positive, or if output_padding is
    neither below the stride nor below the dilation.  Dumoulin & Visin 2016, section 4; Zeiler et al. 2010.
    """
    w = checks.floats("conv_transpose2d", w, 4, "w")
    groups = checks.integer("conv_transpose2d", groups, "groups", 1)
    filters = w.shape[1] * groups
    padding = checks.pair("conv_transpose2d", padding, "padding", 0)  # "same" is conv2d's alone
    geometry = geometry_of("conv_transpose2d", w.shape[2:], stride, padding, dilation, groups, w.shape[0], filters)
    more = output_padding_of("conv_transpose2d", output_padding, geometry)
    image = checks.images("conv_transpose2d", x, w.shape[0])
    checks.same_dtype("conv_transpose2d", w, "w", image.dtype)
    if b is not None:
        b = checks.parameter("conv_transpose2d", b, "b", (filters,), image.dtype)
    size = tuple(
        (image.shape[1 + i] - 1) * s - 2 * p + d * (k - 1) + 1 + more[i]
        for i, (k, s, p, d) in enumerate(zip(*geometry[:4]))
    )
    if min(size) < 1:
        raise ValueError(
            f"conv_transpose2d: the output would have size {size}: padding {geometry.padding} is too large"
        )
    y = memory.empty((image.shape[0], *size, filters), image.dtype)
    scatter(image, w, b, y, geometry)
    return y.transpose(0, 3, 1, 2), Conv2dSaved(image, w, b is not None, geometry, (y.shape[0], filters, *size))


def conv_transpose2d_backward(
    dy: Array, saved: Conv2dSaved, *, input_gradient: bool = True, weight_gradient: bool = True
) -> tuple[Array | None, Any, Array | None]:
    """dx = conv2d(dy, w);  dw[c,f,u,v] = sum over n,i,j of x[n,c,i,j] * dy[n, f, i*SH + u*DH - PH, …];  db[f] = sum of dy.

    dy (N, F, OH, OW)  ->  dx (N, C, H, W) or None without `input_gradient`, dw (C, F/groups, KH, KW) or None without
    `weight_gradient`, db (F,) or None.  ValueError if dy has not the output's shape.
    """
    x, w, bias, geometry, shape = saved
    dy = memory.channels_last(checks.gradient("conv_transpose2d_backward", dy, shape, x.dtype))
    dx = None
    if input_gradient:
        dx = memory.empty(x.shape, x.dtype)
        gather(dy, w, None, dx, geometry)
        dx = dx.transpose(0, 3, 1, 2)
    dw = products.weight_gradient(dy, x, geometry) if weight_gradient else None
    return dx, dw, bias_gradient(dy) if bias else None
