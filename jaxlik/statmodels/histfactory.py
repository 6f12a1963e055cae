r"""HistFactory likelihoods from packed arrays: value, gradient and Hessian by hand.

With cells c (a sample in a bin), v_c = h_c F_c, h the nominal plus additive shifts,
F = N G the product of normsys factors N and of parameters G, and rates lambda = S v (S sums
cells into bins):

    A = dh/dtheta,  L = d ln N/dtheta,  M = N dG/dtheta,  E = dF/dtheta = F L + M
    r = 1 - n/lambda,  w = n/lambda^2,  J = S (diag(F) A + diag(h) E)
    gradient of the nll   J^T r
    Hessian               J^T diag(w) J + X + X^T + own
    X = (A + h L / 2)^T diag(rF) L + M^T diag(r) (A + h L) + the pairs of parameters in G

with `own` the diagonal of each parameter's second derivatives. A has columns for the leading
parameters only (pulls: normsys, histosys), L for the first of these (normsys); M has few entries
per cell. All arrays are arguments, padded to few shapes: another workspace, patch or data set
compiles nothing new.

Everything is float64 and in deviance form: zero where rates equal data and constraints rest.

References:
    K. Cranmer et al., CERN-OPEN-2012-016; conventions of pyhf 0.7.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from jaxlik.statmodels.base import LN_TWO_PI, poisson_deviance, poisson_nll_constant
from jaxlik.statmodels.interpolation import Factor, Shape, additive_shape, multiplicative_factor
from jaxlik.typing import Array, Bool, Float, Int, Scalar


class Data(NamedTuple):
    """What is observed: events, and auxiliary data of the constraints.

    Attributes:
        observed: Events in each bin.
        centre: Auxiliary data of each parameter.
    """

    observed: Float[Array, " bin"]
    centre: Float[Array, " parameter"]


class Expansion(NamedTuple):
    """-ln L and its derivatives at one place.

    Attributes:
        value: There.
        gradient: There.
        hessian: There; not always positive.
        scores: J/sqrt(lambda): with the constraints, `scores`^T `scores` is what the Hessian is
            on average over data (Fisher's information).
        constraint: Second derivatives of the constraints.
    """

    value: Scalar
    gradient: Float[Array, " parameter"]
    hessian: Float[Array, "parameter parameter"]
    scores: Float[Array, "bin parameter"]
    constraint: Float[Array, " parameter"]


class _Cells(NamedTuple):
    base: Float[Array, " cell"]
    factor: Float[Array, " cell"]
    shape: Shape
    normsys: Factor
    scale: Float[Array, " cell"]
    free: Float[Array, "cell factor"]


class HistFactory(eqx.Module):
    """One workspace, padded; made by `jaxlik.statmodels.packing.pack_workspace`.

    Padded bins expect and observe one event; padded parameters are fixed at zero.

    Attributes:
        nominal: Events of each cell.
        cell_bin: One row per bin, one where the cell belongs to it.
        bin_of_cell: The same as a number.
        cell_block: Block of each cell.
        up: Shift at +1 of each pull, the leading parameters.
        down: Shift at -1, sign reversed.
        entry_block: Block of each normsys entry.
        entry_parameter: Its parameter.
        log_high: Logarithm of its factor at +1.
        log_low: The same at -1.
        coefficients: Of its polynomial.
        factors: Parameters that multiply each cell; the last is a constant one.
        normal: Parameters with a normal constraint.
        poisson: Parameters with a Poisson constraint.
        width: Standard deviation, or rate at 1.
        lower: Bounds.
        upper: Bounds.
        fixed: Parameters that stay where fits start.
        normalisations: Free factors of whole samples; padding lies beyond the parameters.
        init: Where fits start.
        scale: Natural step of each parameter.
        real_bins: False for padding.
        data: Observed events and auxiliary data.
        num_normsys: Leading pulls that may be of normsys.
        additive_code: Interpolation of histosys.
        multiplicative_code: Interpolation of normsys.
    """

    nominal: Float[Array, " cell"]
    cell_bin: Float[Array, "bin cell"]
    bin_of_cell: Int[Array, " cell"]
    cell_block: Int[Array, " cell"]
    up: Float[Array, "cell pull"]
    down: Float[Array, "cell pull"]
    entry_block: Int[Array, " entry"]
    entry_parameter: Int[Array, " entry"]
    log_high: Float[Array, " entry"]
    log_low: Float[Array, " entry"]
    coefficients: Float[Array, "entry 6"]
    factors: Int[Array, "cell factor"]
    normal: Bool[Array, " parameter"]
    poisson: Bool[Array, " parameter"]
    width: Float[Array, " parameter"]
    lower: Float[Array, " parameter"]
    upper: Float[Array, " parameter"]
    fixed: Bool[Array, " parameter"]
    normalisations: Int[Array, " normalisation"]
    init: Float[Array, " parameter"]
    scale: Float[Array, " parameter"]
    real_bins: Bool[Array, " bin"]
    data: Data
    num_normsys: int = eqx.field(static=True)
    additive_code: str = eqx.field(static=True, default="code4p")
    multiplicative_code: str = eqx.field(static=True, default="code4")

    @property
    def num_parameters(self) -> int:
        """Padding included."""
        return self.init.shape[0]

    @property
    def num_pulls(self) -> int:
        """Leading parameters that may be of normsys and histosys."""
        return self.up.shape[1]

    def _cells(self, parameters: Float[Array, " parameter"]) -> _Cells:
        shape = additive_shape(parameters[: self.num_pulls], self.additive_code)
        base = self.nominal + self.up @ shape.up + self.down @ shape.down
        normsys = multiplicative_factor(
            parameters[self.entry_parameter],
            self.log_high,
            self.log_low,
            self.coefficients,
            self.multiplicative_code,
        )
        # A product by logarithms; polynomials between very different factors may dip below zero.
        nothing = jnp.zeros(self.nominal.shape[0], parameters.dtype)
        size = nothing.at[self.entry_block].add(jnp.log(jnp.abs(normsys.value)), mode="drop")
        negative = jnp.where(normsys.value < 0, 1.0, 0.0)
        count = nothing.at[self.entry_block].add(negative, mode="drop")
        blocks = jnp.exp(size) * (1 - 2 * (count % 2))
        free = jnp.concatenate([parameters, jnp.ones(1, parameters.dtype)])[self.factors]
        scale = blocks[self.cell_block]
        return _Cells(base, scale * jnp.prod(free, axis=1), shape, normsys, scale, free)

    def expected(self, parameters: Float[Array, " parameter"]) -> Float[Array, " bin"]:
        """Expected events in each bin."""
        cells = self._cells(parameters)
        return self.cell_bin @ (cells.base * cells.factor) + ~self.real_bins

    def twice_nll(self, parameters: Float[Array, " parameter"], data: Data | None = None) -> Scalar:
        """-2 ln L in deviance form, constraints included; `inf` where a rate is not possible.

        Differentiable; `expand` gives the same with derivatives by hand.
        """
        data = self.data if data is None else data
        main = jnp.sum(poisson_deviance(self.expected(parameters), data.observed))
        return main + jnp.sum(self._constraints(parameters, data))

    def _constraints(
        self, parameters: Float[Array, " parameter"], data: Data
    ) -> Float[Array, " parameter"]:
        pull = (parameters - data.centre) / self.width
        rate = jnp.where(self.poisson, self.width * parameters, 1.0)
        counts = poisson_deviance(rate, jnp.where(self.poisson, data.centre, 1.0))
        return jnp.where(self.normal, pull**2, jnp.where(self.poisson, counts, 0.0))

    def log_density(
        self, parameters: Float[Array, " parameter"], data: Data | None = None
    ) -> Scalar:
        """Logarithm of the likelihood with all constants, as pyhf's `logpdf`."""
        data = self.data if data is None else data
        saturated = jnp.sum(jnp.where(self.real_bins, poisson_nll_constant(data.observed), 0.0))
        normal = jnp.log(self.width) + 0.5 * LN_TWO_PI
        counts = poisson_nll_constant(jnp.where(self.poisson, data.centre, 0.0))
        constants = jnp.where(self.normal, normal, jnp.where(self.poisson, counts, 0.0))
        return -0.5 * self.twice_nll(parameters, data) - saturated - jnp.sum(constants)

    def expand(self, parameters: Float[Array, " parameter"], data: Data | None = None) -> Expansion:
        """-ln L, half of `twice_nll`, with its gradient and Hessian."""
        data = self.data if data is None else data
        cells = self._cells(parameters)
        rates = cells.base * cells.factor
        expected = self.cell_bin @ rates + ~self.real_bins
        value = 0.5 * jnp.sum(poisson_deviance(expected, data.observed))
        value += 0.5 * jnp.sum(self._constraints(parameters, data))
        safe = jnp.where(expected == 0, 1.0, expected)
        excess = jnp.where(data.observed > 0, 1 - data.observed / safe, 1.0)
        weight = jnp.where(data.observed > 0, data.observed / safe**2, 0.0)
        additive = self.up * cells.shape.up_slope[None] + self.down * cells.shape.down_slope[None]
        logs, logs_own = self._log_slopes(cells)
        partial = self._partial_products(cells)
        pulls, size, normsys = self.num_pulls, self.num_parameters, self.num_normsys
        pull = excess @ self.cell_bin
        weighted = pull * cells.base
        scaled = cells.base[:, None] * logs
        both = additive.at[:, :normsys].add(scaled)
        half = additive.at[:, :normsys].add(0.5 * scaled)
        slopes = jnp.zeros((expected.shape[0], size), rates.dtype)
        slopes = slopes.at[:, :pulls].set(self.cell_bin @ (cells.factor[:, None] * both))
        product = jnp.zeros((size, size), rates.dtype)
        mixed = half.T @ ((pull * cells.factor)[:, None] * logs)
        product = product.at[:pulls, :normsys].set(mixed)
        for k in range(self.factors.shape[1]):
            column, rest = self.factors[:, k], partial[:, k]
            slopes = slopes.at[self.bin_of_cell, column].add(cells.base * rest, mode="drop")
            rows = (pull * rest)[:, None] * both
            product = product.at[column, :pulls].add(rows, mode="drop")
        product = self._add_pairs(product, weighted, cells)
        bent = (pull * cells.factor) @ self.up * cells.shape.up_curvature
        bent += (pull * cells.factor) @ self.down * cells.shape.down_curvature
        own = jnp.zeros(size, rates.dtype).at[:pulls].set(bent)
        own = own.at[:normsys].add((weighted * cells.factor) @ logs_own)
        normal = jnp.where(self.normal, 1 / self.width**2, 0.0)
        gamma = jnp.where(self.poisson, parameters, 1.0)
        counts = jnp.where(self.poisson, data.centre, 0.0)
        gradient = excess @ slopes + normal * (parameters - data.centre)
        gradient += jnp.where(self.poisson, self.width - counts / gamma, 0.0)
        constraint = normal + counts / gamma**2
        hessian = slopes.T @ (weight[:, None] * slopes) + product + product.T
        hessian += jnp.diag(own + constraint)
        root = jnp.sqrt(jnp.where(expected > 0, 1 / safe, 0.0))
        return Expansion(value, gradient, hessian, root[:, None] * slopes, constraint)

    def _log_slopes(
        self, cells: _Cells
    ) -> tuple[Float[Array, "cell normsys"], Float[Array, "cell normsys"]]:
        """Slopes of ln N in the pulls, and f''/f - (f'/f)^2 of each factor f of N."""
        slope, curvature = cells.normsys.slope, cells.normsys.curvature
        empty = jnp.zeros((self.nominal.shape[0], self.num_normsys), self.nominal.dtype)
        at = (self.entry_block, self.entry_parameter)
        blocks = empty.at[at].add(slope, mode="drop")
        own = empty.at[at].add(curvature - slope**2, mode="drop")
        return blocks[self.cell_block], own[self.cell_block]

    def _partial_products(self, cells: _Cells) -> Float[Array, "cell factor"]:
        """N dG/dtheta for each factor; without division, because a parameter may be zero."""
        width = self.factors.shape[1]
        others = [cells.free.at[:, k].set(1.0) for k in range(width)]
        return jnp.stack([cells.scale * jnp.prod(part, axis=1) for part in others], axis=1)

    def _add_pairs(
        self, product: Float[Array, "parameter parameter"], weighted: Array, cells: _Cells
    ) -> Float[Array, "parameter parameter"]:
        """Second derivatives of G in two of its parameters."""
        width = self.factors.shape[1]
        for k in range(width):
            for other in range(k + 1, width):
                rest = cells.free.at[:, k].set(1.0).at[:, other].set(1.0)
                value = weighted * cells.scale * jnp.prod(rest, axis=1)
                at = (self.factors[:, k], self.factors[:, other])
                product = product.at[at].add(value, mode="drop")
        return product
