"""Many simplified likelihoods as one array program: padded, stacked, vmapped.

A bank holds likelihoods of one kind (linear or skewed) padded to the largest. Padded
regions hold one event, expect one, and do not move: they contribute exactly zero to
every value and gradient. Selections and data are arrays, so that changing them
compiles nothing.

The bank is meant to be closed over or passed unbatched while signals are vmapped:
the products with its matrices then become matrix-matrix products, and evaluating all
models is cheaper than gathering a few of them per signal (`take`).
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import Status
from jaxlik.statmodels.base import as_float64, asimov_events
from jaxlik.statmodels.chord import BackgroundFit, background_fit, solve_chord
from jaxlik.statmodels.dual import (
    attach_derivatives,
    dual_optimum,
    pull_from_force,
    rate_from_force,
    solve_dual,
    x_from_force,
)
from jaxlik.statmodels.simplified import SimplifiedLikelihood
from jaxlik.typing import Array, Bool, Float, Int


class BankFit(NamedTuple):
    """Profiles of every model of a bank at a few values of mu.

    Attributes:
        twice_nll: -2 ln L, deviance form, nuisances profiled.
        slope: Its derivative with respect to mu.
        pulls: 1 - n/lambda; twice them is the derivative with respect to mu times signal.
        nuisances: Where the optimum is, standardised.
        residual: Largest violation of the optimum's conditions, in natural units.
        status: Of the worst node of each model.
    """

    twice_nll: Float[Array, "node model"]
    slope: Float[Array, "node model"]
    pulls: Float[Array, "node model region"]
    nuisances: Float[Array, "node model nuisance"]
    residual: Float[Array, " model"]
    status: Status


class StatModelBank(eqx.Module):
    """Simplified likelihoods of one kind, stacked along the axis `model`.

    Attributes:
        models: One module whose arrays have a leading axis `model`.
        fits: Background fits, made by `prepared`; `None` means they are made per call.
        region_index: Position of every region on the global region axis; a number
            beyond its end for padded regions.
        region_mask: False for padded regions.
        model_index: Position of every model in the list the bank was made from.
        region_ids: Names, one tuple per model; empty after `take`.
    """

    models: SimplifiedLikelihood
    fits: BackgroundFit | None
    region_index: Int[Array, "model region"]
    region_mask: Bool[Array, "model region"]
    model_index: Int[Array, " model"]
    region_ids: tuple[tuple[str, ...], ...] = eqx.field(static=True, default=())

    @property
    def num_models(self) -> int:
        """Length of the axis `model`."""
        return self.region_index.shape[0]

    @property
    def is_linear(self) -> bool:
        """Whether backgrounds depend linearly on their nuisances."""
        return self.models.curvature is None

    def gather(self, regions: Float[Array, " all_regions"]) -> Float[Array, "model region"]:
        """Rows of this bank from the global region axis; zero where padded."""
        values = regions.at[self.region_index].get(mode="fill", fill_value=0.0)
        return jnp.where(self.region_mask, values, 0.0)

    def scatter(
        self, values: Float[Array, "model region"], num_regions: int
    ) -> Float[Array, " all_regions"]:
        """The inverse of `gather`; zero where this bank has no region."""
        kept = jnp.where(self.region_mask, values, 0.0)
        return jnp.zeros(num_regions).at[self.region_index].add(kept, mode="drop")

    def prepared(self) -> "StatModelBank":
        """With the background fits made once; worth it outside of loops and `vmap`."""
        return eqx.tree_at(
            lambda bank: bank.fits, self, _background_fits(self), is_leaf=lambda x: x is None
        )

    def with_observed(self, observed: Float[Array, "model region"]) -> "StatModelBank":
        """With other data; padded entries and fits of the old data are discarded."""
        data = jnp.where(self.region_mask, observed, 1.0)
        models = eqx.tree_at(lambda models: models.observed, self.models, data)
        return StatModelBank(
            models, None, self.region_index, self.region_mask, self.model_index, self.region_ids
        )

    def with_asimov(self, *, fitted: bool = True) -> "StatModelBank":
        """With background-only Asimov data.

        Args:
            fitted: Backgrounds fitted to the data at mu = 0 (observed CLs), else the
                published ones (a-priori expectation).
        """
        if not fitted:
            return self.with_observed(self.models.background)
        fits = _background_fits(self) if self.fits is None else self.fits
        return self.with_observed(asimov_events(jax.vmap(_background_rates)(self.models, fits)))

    def take(self, indices: Int[Array, " model"]) -> "StatModelBank":
        """The models at these positions, traced or not; out of range means a dead model.

        A dead model consists of padding only: zero values, zero gradients.
        """
        prepared = self if self.fits is not None else self.prepared()
        alive = (indices >= 0) & (indices < self.num_models)
        position = jnp.clip(indices, 0, self.num_models - 1)
        dead = _dead_models(prepared)

        def pick(leaf, padding):
            flag = alive.reshape(alive.shape + (1,) * (leaf.ndim - 1))
            return jnp.where(flag, leaf[position], padding[None])

        arrays = lambda bank: (  # noqa: E731
            bank.models,
            bank.fits,
            bank.region_index,
            bank.region_mask,
            bank.model_index,
        )
        return StatModelBank(*jax.tree.map(pick, arrays(prepared), dead))

    def profile(
        self,
        mu: Float[Array, " node"],
        signal: Float[Array, "model region"],
        *,
        tolerance: float = 1e-8,
        max_steps: int = 40,
        sequential: bool = True,
        rescue: bool = False,
    ) -> BankFit:
        """Profile every model at every mu, each fit starting from the one before.

        Uses the chord iteration of `jaxlik.statmodels.chord`: no factorisation per
        signal. Derivatives with respect to mu and signal are exact to all orders; first
        ones of `twice_nll` cost no linear system.

        Args:
            mu: Signal strengths, best in increasing order.
            signal: Events at mu = 1, from `gather`.
            tolerance: Of the optimum's conditions in natural units, see `solve_chord`.
            max_steps: Per node; beyond it the status says so.
            sequential: One model after the other, each as many steps as it needs (fast
                on a CPU), or all side by side (for accelerators).
            rescue: Finish with damped Newton what the chord did not. Needed above some
                100 standard deviations of signal; one such case costs its whole batch
                a factorisation per step.
        """
        fits = _background_fits(self) if self.fits is None else self.fits
        signal = jnp.where(self.region_mask, signal, 0.0)

        def solve(terms):
            return _chord_nodes(*terms, mu=fixed_mu, **options)

        options = {"tolerance": tolerance, "max_steps": max_steps, "rescue": rescue}
        *terms, fixed_mu = jax.lax.stop_gradient((self.models, fits, signal, mu))
        solved = jax.lax.map(solve, terms) if sequential else jax.vmap(solve)(terms)
        forces, residual, converged = solved
        # Outside of the map: inside a scan JAX drops custom derivatives of second order.
        twice_nll, slope, pulls, nuisances = jax.vmap(_values_at_nodes, (0, 0, 0, None))(
            self.models, forces, signal, mu
        )
        finite = jnp.all(jnp.isfinite(twice_nll), axis=1)
        return BankFit(
            twice_nll.T,
            slope.T,
            jnp.swapaxes(pulls, 0, 1),
            jnp.swapaxes(nuisances, 0, 1),
            jnp.max(residual, axis=1),
            jax.vmap(_status)(finite, jnp.all(converged, axis=1)),
        )

    def null_twice_nll(self) -> Float[Array, " model"]:
        """-2 ln L at mu = 0, deviance form."""
        fits = _background_fits(self) if self.fits is None else self.fits

        def one(model, fit):
            problem = model.problem(jnp.zeros(()), jnp.zeros_like(fit.force))
            return dual_optimum(jax.lax.stop_gradient(fit.force), problem)

        return jax.vmap(one)(self.models, fits)


def make_banks(
    models: Sequence[SimplifiedLikelihood], *, max_buckets: int = 2
) -> tuple[StatModelBank, ...]:
    """Pad and stack likelihoods on the host; linear and skewed ones never share a bank.

    The global region axis is the concatenation of the models' regions in the order given.

    Args:
        models: Any number of simplified likelihoods.
        max_buckets: Most banks per kind; sizes are split where padding costs most.

    Returns:
        At most two times `max_buckets` banks, background fits included.

    Examples:
        >>> from jaxlik.statmodels.simplified import simplified_likelihood
        >>> covariance = np.array([[1.0, 0.5], [0.5, 2.0]])
        >>> pair = simplified_likelihood(np.array([4.0, 7.0]), np.array([5.0, 6.0]), covariance)
        >>> single = simplified_likelihood(np.array([3.0]), np.array([2.0]), np.array([[0.4]]))
        >>> (bank,) = make_banks([pair, single], max_buckets=1)
        >>> print(bank.num_models, bank.region_mask)
        2 [[ True  True]
         [ True False]]
    """
    offsets = np.cumsum([0] + [model.num_nuisances for model in models])
    banks = []
    for linear in (True, False):
        chosen = [i for i, model in enumerate(models) if (model.curvature is None) == linear]
        sizes = [models[i].num_nuisances for i in chosen]
        for bucket in _buckets(sizes, max_buckets):
            members = [chosen[i] for i in bucket]
            banks.append(_stack([models[i] for i in members], members, offsets))
    return tuple(bank.prepared() for bank in banks)


WORTHWHILE = 0.5
"""A further bank must cut the work to this fraction: every bank is compiled apart."""


def _buckets(sizes: Sequence[int], max_buckets: int) -> list[list[int]]:
    """Split positions into few groups of similar size with small sum(count * largest^2)."""
    if not sizes:
        return []
    order = np.argsort(sizes, kind="stable")
    ordered = np.asarray(sizes)[order]
    best_cost, best_cuts = np.inf, (0, len(order))
    for num_cuts in range(min(max_buckets, len(order))):
        wanted = WORTHWHILE * best_cost
        for inner in itertools.combinations(range(1, len(order)), num_cuts):
            cuts = (0, *inner, len(order))
            cost = sum(
                (stop - start) * ordered[stop - 1] ** 2 for start, stop in itertools.pairwise(cuts)
            )
            if cost < min(wanted, best_cost):
                best_cost, best_cuts = cost, cuts
    return [sorted(map(int, order[start:stop])) for start, stop in itertools.pairwise(best_cuts)]


def _stack(
    models: Sequence[SimplifiedLikelihood], members: Sequence[int], offsets: np.ndarray
) -> StatModelBank:
    width = max(model.num_nuisances for model in models)
    padded = [_padded(model, width) for model in models]
    beyond = int(offsets[-1])
    index = np.full((len(models), width), beyond)
    for row, (member, model) in enumerate(zip(members, models, strict=True)):
        size = model.num_nuisances
        index[row, :size] = offsets[member] + np.arange(size)
    return StatModelBank(
        models=jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded),
        fits=None,
        region_index=jnp.asarray(index),
        region_mask=jnp.asarray(index < beyond),
        model_index=jnp.asarray(members),
        region_ids=tuple(model.region_ids for model in models),
    )


def _padded(model: SimplifiedLikelihood, width: int) -> SimplifiedLikelihood:
    extra = width - model.num_nuisances
    row = lambda array, value: jnp.pad(array, (0, extra), constant_values=value)  # noqa: E731
    square = lambda array: jnp.pad(array, ((0, extra), (0, extra)))  # noqa: E731
    return SimplifiedLikelihood(
        observed=row(model.observed, 1.0),
        background=row(model.background, 1.0),
        central=row(model.central, 1.0),
        covariance=square(model.covariance),
        root=square(model.root),
        curvature=None if model.curvature is None else row(model.curvature, 0.0),
        log_normalisation=as_float64(model.log_normalisation),
    )


def _dead_models(bank: StatModelBank):
    """One model of padding only, with its background fit, in the layout of `take`."""
    width = bank.region_mask.shape[1]
    ones, square = jnp.ones(width), jnp.zeros((width, width))
    model = SimplifiedLikelihood(
        observed=ones,
        background=ones,
        central=ones,
        covariance=square,
        root=square,
        curvature=None if bank.is_linear else jnp.zeros(width),
        log_normalisation=jnp.asarray(0.0),
    )
    fit = BackgroundFit(jnp.zeros(width), jnp.zeros(width), ones, 2 * jnp.eye(width))
    beyond = jnp.full((width,), jnp.iinfo(bank.region_index.dtype).max)
    return (model, fit, beyond, jnp.zeros(width, bool), jnp.asarray(-1))


def _status(finite: Array, converged: Array) -> Status:
    outcome = Status.where(converged, Status.success, Status.max_steps)
    return Status.where(finite, outcome, Status.not_finite)


@eqx.filter_jit
def _background_fits(bank: StatModelBank) -> BackgroundFit:
    def one(model):
        return background_fit(model.problem(jnp.zeros(()), jnp.zeros(model.num_nuisances)))

    return jax.vmap(one)(bank.models)


def _background_rates(model: SimplifiedLikelihood, fit: BackgroundFit) -> Array:
    problem = model.problem(jnp.zeros(()), jnp.zeros_like(fit.force))
    force = attach_derivatives(jax.lax.stop_gradient(fit.force), problem)
    return rate_from_force(force, problem)


def _values_at_nodes(model: SimplifiedLikelihood, forces: Array, signal: Array, mu: Array):
    """One model at all nodes: values, slopes, pulls, nuisances."""

    def at_node(mu, force):
        problem = model.problem(mu, signal)
        attached = attach_derivatives(force, problem)
        pull = pull_from_force(attached, problem)
        slope = 2 * jnp.sum(signal * pull)
        return dual_optimum(force, problem), slope, pull, -model.root.T @ attached

    return jax.vmap(at_node)(mu, forces)


def _chord_nodes(
    model: SimplifiedLikelihood,
    fit: BackgroundFit,
    signal: Array,
    *,
    mu: Array,
    tolerance: float,
    max_steps: int,
    rescue: bool,
):
    """Along mu, each fit starting on the secant through the two before."""

    def node(carry, mu_here):
        x, tangent, mu_before = carry
        ahead = mu_here - mu_before
        x_here, solution = solve_chord(
            model.problem(mu_here, signal),
            x + ahead * tangent,
            fit,
            tolerance=tolerance,
            max_steps=max_steps,
        )
        if rescue:
            problem = model.problem(mu_here, signal)
            usable = jnp.where(jnp.all(jnp.isfinite(x_here)), x_here, fit.x)
            solution = solve_dual(problem, usable, fit.scale, tolerance=tolerance)
            x_here = x_from_force(solution.force, problem, fit.scale)
        moved = ahead != 0
        secant = (x_here - x) / jnp.where(moved, ahead, 1.0)
        carry = (x_here, jnp.where(moved, secant, tangent), mu_here)
        return carry, (solution.force, solution.residual, solution.converged)

    start = (fit.x, fit.inverse_jacobian @ signal, jnp.zeros(()))
    return jax.lax.scan(node, start, mu)[1]
