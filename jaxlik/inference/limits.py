"""Upper limits on mu: where CLs falls to 5 percent.

The bracket grows upward from the best mu until CLs is below the target, so that no
limit is cut off at an arbitrary bound; without sensitivity the limit is infinite and
the status says so.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlik.errors import Status, merge_status
from jaxlik.inference.asymptotics import BAND_SIGMAS, log_cls, log_expected_cls
from jaxlik.inference.mle import MaximumLikelihood, fit_mu
from jaxlik.inference.newton import first_zero_above, implicit_root
from jaxlik.inference.test_statistics import q_mu_tilde, t_mu
from jaxlik.typing import Array, Float, Scalar, TwiceNllFn

_FARTHEST = 1e12
"""Search for limits up to this many standard deviations of mu above the best one."""


class UpperLimit(NamedTuple):
    """An upper limit on mu and how it came about.

    Attributes:
        mu: The limit; `inf` where CLs never falls to the target.
        best: Fit to the data.
        best_asimov: Fit to the Asimov data.
        status: `no_bracket` where the limit is infinite.
    """

    mu: Scalar
    best: MaximumLikelihood
    best_asimov: MaximumLikelihood
    status: Status


def upper_limit(
    observed_fn: TwiceNllFn,
    asimov_fn: TwiceNllFn,
    *,
    level: float | Scalar = 0.95,
    upper: float | Scalar = 1e6,
    throw: bool = True,
) -> Scalar:
    """Largest mu not excluded at the given level by CLs; differentiable.

    Args:
        observed_fn: -2 ln L(mu) on the data, nuisances profiled.
        asimov_fn: The same on background-only Asimov data.
        level: Confidence level.
        upper: Bound of the fits of mu, not of the limit.
        throw: Raise where no finite limit was found (`equinox.EquinoxRuntimeError`);
            otherwise return it as it is.

    Examples:
        >>> from jaxlik.inference.profile import likelihood_pair
        >>> from jaxlik.statmodels.poisson import PoissonCounting
        >>> region = PoissonCounting(jnp.array([9.0]), jnp.array([6.5]), jnp.array([1.3]))
        >>> print(f"{upper_limit(*likelihood_pair(region, jnp.array([4.0]))):.6f}")
        2.337635
    """
    limit = find_upper_limit(observed_fn, asimov_fn, level=level, upper=upper)
    if throw:
        return limit.status.error_if(limit.mu, limit.status != Status.success)
    return limit.mu


def find_upper_limit(
    observed_fn: TwiceNllFn,
    asimov_fn: TwiceNllFn,
    *,
    level: float | Scalar = 0.95,
    upper: float | Scalar = 1e6,
    max_steps: int = 64,
) -> UpperLimit:
    """`upper_limit` together with the fits it needed; never raises."""
    target = jnp.log1p(-jnp.asarray(level, jnp.float64))
    best = fit_mu(observed_fn, upper=upper)
    best_asimov = fit_mu(asimov_fn, upper=upper)

    def excess(mu):
        statistic = q_mu_tilde(mu, observed_fn, best)
        return log_cls(statistic, t_mu(mu, asimov_fn, best_asimov)) - target

    scale = jnp.where(jnp.isfinite(best_asimov.mu_error), best_asimov.mu_error, 1.0)
    mu, status = _solve(excess, best.mu_hat, scale, max_steps)
    fits = merge_status(best.status, best_asimov.status)
    return UpperLimit(mu, best, best_asimov, merge_status(fits, status))


def expected_band(
    asimov_fn: TwiceNllFn,
    *,
    level: float | Scalar = 0.95,
    upper: float | Scalar = 1e6,
    max_steps: int = 64,
) -> tuple[Float[Array, " band"], Status]:
    """Limits at -2, -1, 0, 1, 2 sigma of the background-only distribution, increasing."""
    target = jnp.log1p(-jnp.asarray(level, jnp.float64))
    best = fit_mu(asimov_fn, upper=upper)
    scale = jnp.where(jnp.isfinite(best.mu_error), best.mu_error, 1.0)

    def one(position):
        def excess(mu):
            return log_expected_cls(t_mu(mu, asimov_fn, best))[position] - target

        limit, status = _solve(excess, best.mu_hat, scale, max_steps)
        return limit, status == Status.success

    limits, solved = jax.vmap(one)(jnp.arange(len(BAND_SIGMAS)))
    outcome = Status.where(jnp.all(solved), Status.success, Status.max_steps)
    outcome = Status.where(jnp.all(jnp.isfinite(limits)), outcome, Status.no_bracket)
    return limits, merge_status(best.status, outcome)


def _solve(excess, mu_hat: Scalar, scale: Scalar, max_steps: int) -> tuple[Scalar, Status]:
    """Zero of a falling function above mu_hat, by bracketing upward."""
    fixed_start, fixed_scale = jax.lax.stop_gradient((mu_hat, scale))
    root = first_zero_above(
        lambda mu: -excess(mu),
        fixed_start,
        first_step=2 * fixed_scale,
        bound=fixed_start + _FARTHEST * fixed_scale,
        max_steps=max_steps,
    )
    found = root.status == Status.success
    limit = implicit_root(excess, root.position, active=found)
    return jnp.where(found, limit, jnp.inf), root.status
