"""-ln L as a JAX object, and the programs that evaluate it.

Traced numbers and compiled programs are kept apart: programs take the likelihood as an argument,
so that two likelihoods of the same structure, say before and after the data change, share them.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.typing import Array, Float, Int, Scalar


class AbstractNll(eqx.Module):
    """-ln L of a vector of parameters, traced numbers included; pure and differentiable.

    A likelihood whose derivatives are known by hand overrides `value_and_gradient` and `hessian`.
    """

    @abc.abstractmethod
    def nll(self, x: Float[Array, " parameter"]) -> Scalar:
        """-ln L; infinite, with a finite gradient, where a point is impossible."""

    def value_and_gradient(
        self, x: Float[Array, " parameter"]
    ) -> tuple[Scalar, Float[Array, " parameter"]]:
        """-ln L and its gradient."""
        return jax.value_and_grad(self.nll)(x)

    def hessian(self, x: Float[Array, " parameter"]) -> Float[Array, "parameter parameter"]:
        """Second derivatives of -ln L."""
        return jax.hessian(self.nll)(x)

    def constant(self) -> Scalar:
        """What -ln L with all constants has more."""
        return jnp.zeros(())


class FunctionNll(AbstractNll):
    """Any JAX function as -ln L.

    Attributes:
        nll_fn: Of the vector and of `arguments`.
        arguments: Traced; another value compiles nothing.
    """

    nll_fn: Callable[..., Scalar] = eqx.field(static=True)
    arguments: tuple[Any, ...] = ()

    def nll(self, x: Float[Array, " parameter"]) -> Scalar:
        """The function."""
        return self.nll_fn(x, *self.arguments)


class RestrictedNll(AbstractNll):
    """A likelihood of some of its parameters, the others held.

    Attributes:
        whole: Of all parameters.
        free: Positions of those that move.
        held: Values of all parameters; those of free ones do not matter.
    """

    whole: AbstractNll
    free: Int[Array, " free"]
    held: Float[Array, " parameter"]

    def _all(self, x: Float[Array, " free"]) -> Float[Array, " parameter"]:
        return self.held.at[self.free].set(x)

    def nll(self, x: Float[Array, " free"]) -> Scalar:
        """-ln L with the others held."""
        return self.whole.nll(self._all(x))

    def value_and_gradient(self, x: Float[Array, " free"]) -> tuple[Scalar, Float[Array, " free"]]:
        """Part of the gradient of the whole."""
        value, gradient = self.whole.value_and_gradient(self._all(x))
        return value, gradient[self.free]

    def hessian(self, x: Float[Array, " free"]) -> Float[Array, "free free"]:
        """Block of the Hessian of the whole."""
        return self.whole.hessian(self._all(x))[self.free[:, None], self.free[None, :]]

    def constant(self) -> Scalar:
        """That of the whole."""
        return self.whole.constant()


class Frame:
    """What programs are compiled for: everything about a likelihood that is no array.

    Compared by value, hashed once.
    """

    __slots__ = ("_hash", "static", "structure")

    def __init__(self, nll: AbstractNll):
        leaves, self.structure = jax.tree.flatten(nll)
        self.static = tuple(None if is_array(leaf) else leaf for leaf in leaves)
        self._hash = hash((self.structure, self.static))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        same = isinstance(other, Frame) and self.structure == other.structure
        return same and self.static == other.static  # type: ignore[reportAttributeAccessIssue]

    def whole(self, arrays: Sequence[Array]) -> AbstractNll:
        """The likelihood again, from its arrays in order."""
        rest = iter(arrays)
        leaves = [next(rest) if leaf is None else leaf for leaf in self.static]
        return jax.tree.unflatten(self.structure, leaves)


def is_array(leaf: Any) -> bool:
    """Whether a leaf of a likelihood is data of its programs."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic))


def _program(compute: Callable[..., Any]) -> Callable[..., Any]:
    """One compiled function for all likelihoods of one structure."""

    def run(frame: Frame, arrays: Sequence[Array], *rest: Array) -> Any:
        return compute(frame.whole(arrays), *rest)

    return jax.jit(run, static_argnums=0)


VALUE = _program(lambda nll, x: nll.nll(x))
VALUE_AND_GRADIENT = _program(lambda nll, x: nll.value_and_gradient(x))
HESSIAN = _program(lambda nll, x: nll.hessian(x))
BATCH = _program(lambda nll, xs: jax.vmap(nll.nll)(xs))
CONSTANT = _program(lambda nll: nll.constant())
