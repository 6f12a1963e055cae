"""Operations of a feed-forward network in JAX, and the evaluation of a list of them.

Names and meanings are those of the ONNX operator reference. Two have none there: the
transformations sign(x) ln(1+|x|) and its inverse, whose slope at zero is one.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.database.records import YIELDS, Operation
from jaxlik.typing import Array, Float


def evaluate(
    operations: tuple[Operation, ...],
    weights: Mapping[str, Array],
    yields: Float[Array, " region"],
) -> Float[Array, " output"]:
    """Run a program on one set of yields.

    Args:
        operations: Steps in order, as in `jaxlik.database.records.NeuralRecord`.
        weights: Their constants.
        yields: Events in every input.
    """
    values = {**weights, YIELDS: yields[None]}
    for step in operations:
        inputs = (values[name] for name in step.inputs)
        values[step.output] = KERNELS[step.kind](*inputs, **dict(step.attributes))
    return values[operations[-1].output][0]


def _elementwise(fn: Callable[..., Array]) -> Callable[..., Array]:
    """Broadcast the operands first: implicit changes of rank may be forbidden."""
    return lambda *operands, **attributes: fn(*jnp.broadcast_arrays(*operands), **attributes)


def _gemm(a, b, c=None, *, alpha, beta, transA, transB):
    product = alpha * jnp.matmul(a.T if transA else a, b.T if transB else b)
    return product if c is None else product + beta * jnp.broadcast_to(c, product.shape)


def _batch_normalization(x, scale, bias, mean, variance, *, epsilon):
    column = (1, -1) + (1,) * (x.ndim - 2)
    scale, bias, mean, variance = (
        jnp.broadcast_to(value.reshape(column), x.shape) for value in (scale, bias, mean, variance)
    )
    return (x - mean) / jnp.sqrt(variance + epsilon) * scale + bias


def _clip(x, *, min, max):
    return jnp.clip(x, min, max)


def _gather(x, *, indices, axis):
    # NumPy refuses indices beyond the end, which JAX would silently move.
    kept = np.arange(x.shape[axis])[np.asarray(indices, int)]
    return jnp.take(x, kept, axis=axis)


def _slice(x, *, starts, ends, axes, steps=None):
    index = [slice(None)] * x.ndim
    axes = range(len(starts)) if axes is None else axes
    for axis, *bounds in zip(axes, starts, ends, steps or (1,) * len(starts), strict=True):
        index[axis] = slice(*bounds)
    return x[tuple(index)]


def _flatten(x, *, axis):
    return x.reshape(math.prod(x.shape[: axis % (x.ndim + 1)]), -1)


def _reshape(x, *, shape, allowzero):
    kept = [x.shape[i] if not (size or allowzero) else size for i, size in enumerate(shape)]
    return x.reshape(kept)


def _reduce(fn: Callable[..., Array]) -> Callable[..., Array]:
    def reduce(x, *, axes, keepdims, noop_with_empty_axes):
        if not axes and noop_with_empty_axes:
            return x
        return fn(x, axis=axes or None, keepdims=bool(keepdims))

    return reduce


def _signed_log(x):
    above, below = jnp.where(x >= 0, x, 0.0), jnp.where(x < 0, -x, 0.0)
    return jnp.log1p(above) - jnp.log1p(below)


def _signed_exp(x):
    above, below = jnp.where(x >= 0, x, 0.0), jnp.where(x < 0, -x, 0.0)
    return jnp.expm1(above) - jnp.expm1(below)


KERNELS: dict[str, Callable[..., Any]] = {
    "Add": _elementwise(jnp.add),
    "Sub": _elementwise(jnp.subtract),
    "Mul": _elementwise(jnp.multiply),
    "Div": _elementwise(jnp.divide),
    "Pow": _elementwise(jnp.power),
    "Min": _elementwise(lambda *values: functools.reduce(jnp.minimum, values)),
    "Max": _elementwise(lambda *values: functools.reduce(jnp.maximum, values)),
    "Neg": jnp.negative,
    "Abs": jnp.abs,
    "Exp": jnp.exp,
    "Log": jnp.log,
    "Sqrt": jnp.sqrt,
    "Sinh": jnp.sinh,
    "Asinh": jnp.arcsinh,
    "Erf": jax.scipy.special.erf,
    "SignedLog": _signed_log,
    "SignedExp": _signed_exp,
    "Relu": jax.nn.relu,
    "LeakyRelu": lambda x, *, alpha: jnp.where(x >= 0, x, alpha * x),
    "Elu": lambda x, *, alpha: jax.nn.elu(x, alpha),
    "Selu": lambda x, *, alpha, gamma: gamma * jax.nn.elu(x, alpha),
    "Gelu": lambda x, *, approximate: jax.nn.gelu(x, approximate=approximate == "tanh"),
    "Sigmoid": jax.nn.sigmoid,
    "Tanh": jnp.tanh,
    "Softplus": jax.nn.softplus,
    "MatMul": jnp.matmul,
    "Gemm": _gemm,
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Concat": lambda *values, axis: jnp.concatenate(values, axis),
    "Gather": _gather,
    "Slice": _slice,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": lambda x, *, axes: jnp.squeeze(x, axes),
    "Unsqueeze": lambda x, *, axes: jnp.expand_dims(x, axes),
    "ReduceSum": _reduce(jnp.sum),
    "ReduceMean": _reduce(jnp.mean),
}
"""What each kind of operation computes."""
