r"""Large-sample p-values of the test statistics, in logarithms where they get small.

For $\tilde q_\mu$ and its value $q_A$ on background-only Asimov data (arXiv:1007.1727,
eqs. 64-66, and pyhf, SModelS):

$$ q_\mu \le q_A: \quad \mathrm{CL}_{s+b} = 1 - \Phi(\sqrt{q_\mu}), \quad
   \mathrm{CL}_b = \Phi(\sqrt{q_A} - \sqrt{q_\mu}) $$

$$ q_\mu > q_A: \quad \mathrm{CL}_{s+b} = 1 - \Phi\!\left(\frac{q_\mu + q_A}{2\sqrt{q_A}}\right),
   \quad \mathrm{CL}_b = 1 - \Phi\!\left(\frac{q_\mu - q_A}{2\sqrt{q_A}}\right) $$

and CLs is their ratio.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.special import log_ndtr

from jaxlik.errors import Status
from jaxlik.inference.mle import MaximumLikelihood
from jaxlik.inference.test_statistics import q_mu_tilde, t_mu
from jaxlik.typing import Array, Float, Scalar, TwiceNllFn

BAND_SIGMAS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Quantiles of the expected band; values increase along it."""

_SERIES_ORDER = 10  # of log Phi below -20 sigma: machine precision


class HypothesisTest(NamedTuple):
    """Outcome of a test of one signal hypothesis.

    Attributes:
        statistic: q~_mu on the data.
        statistic_asimov: q~_mu on background-only Asimov data.
        p_signal: CL_{s+b}, chance of data less signal-like if the signal is there.
        p_background: CL_b, the same if it is not.
        cls: Their ratio; below 0.05 the signal is excluded at 95 % CL.
        status: `not_finite` where a statistic is.
    """

    statistic: Scalar
    statistic_asimov: Scalar
    p_signal: Scalar
    p_background: Scalar
    cls: Scalar
    status: Status


def log_p_values(statistic: Scalar, statistic_asimov: Scalar) -> tuple[Scalar, Scalar]:
    """Logarithms of CL_{s+b} and CL_b; both zero where there is no sensitivity at all."""
    root, root_asimov = _safe_sqrt(statistic), _safe_sqrt(statistic_asimov)
    sensitive = root_asimov > 0
    safe = jnp.where(sensitive, root_asimov, 1.0)
    near = statistic <= statistic_asimov
    signal = jnp.where(near, root, (statistic + statistic_asimov) / (2 * safe))
    background = jnp.where(near, root - root_asimov, (statistic - statistic_asimov) / (2 * safe))
    log_signal = log_ndtr(-signal, _SERIES_ORDER)
    log_background = log_ndtr(-background, _SERIES_ORDER)
    return jnp.where(sensitive, log_signal, 0.0), jnp.where(sensitive, log_background, 0.0)


def log_cls(statistic: Scalar, statistic_asimov: Scalar) -> Scalar:
    """Logarithm of CLs; finite and differentiable where CLs itself underflows."""
    log_signal, log_background = log_p_values(statistic, statistic_asimov)
    return log_signal - log_background


def asymptotic_cls(statistic: Scalar, statistic_asimov: Scalar) -> HypothesisTest:
    """p-values and CLs from q~_mu on data and on Asimov data.

    Examples:
        >>> test = asymptotic_cls(jnp.asarray(4.0), jnp.asarray(4.0))
        >>> print(f"{test.p_signal:.5f} / {test.p_background:.5f} = {test.cls:.5f}")
        0.02275 / 0.50000 = 0.04550
    """
    log_signal, log_background = log_p_values(statistic, statistic_asimov)
    cls = jnp.exp(log_signal - log_background)
    finite = jnp.isfinite(statistic) & jnp.isfinite(statistic_asimov)
    status = Status.where(finite, Status.success, Status.not_finite)
    p_signal, p_background = jnp.exp(log_signal), jnp.exp(log_background)
    return HypothesisTest(statistic, statistic_asimov, p_signal, p_background, cls, status)


def expected_cls(statistic_asimov: Scalar) -> Float[Array, " band"]:
    """CLs at -2, -1, 0, 1, 2 sigma of the background-only distribution, increasing.

    Phi(N - sqrt(q_A)) / Phi(N): the data fluctuate by N standard deviations towards signal.

    Examples:
        >>> print(expected_cls(jnp.asarray(4.0)).round(4))
        [0.0014 0.0085 0.0455 0.1886 0.5116]
    """
    return jnp.exp(log_expected_cls(statistic_asimov))


def log_expected_cls(statistic_asimov: Scalar) -> Float[Array, " band"]:
    """Logarithm of `expected_cls`, finite where it underflows."""
    sigmas = jnp.asarray(BAND_SIGMAS)
    root = jnp.broadcast_to(_safe_sqrt(statistic_asimov), sigmas.shape)
    return log_ndtr(sigmas - root, _SERIES_ORDER) - log_ndtr(sigmas, _SERIES_ORDER)


def hypothesis_test(
    mu: Scalar,
    observed_fn: TwiceNllFn,
    asimov_fn: TwiceNllFn,
    best: MaximumLikelihood,
    best_asimov: MaximumLikelihood,
) -> HypothesisTest:
    """CLs of one mu from the likelihoods on data and on background-only Asimov data.

    Args:
        mu: Tested signal strength.
        observed_fn: -2 ln L(mu) on the data.
        asimov_fn: The same on Asimov data, see `jaxlik.inference.profile.likelihood_pair`.
        best: Minimum of the first, mu not below zero.
        best_asimov: Minimum of the second, mu not below zero. It lies at zero if the
            constraints moved with the Asimov data; SModelS leaves them, so that it may
            not, and counts the distance from it on both sides.
    """
    statistic = q_mu_tilde(mu, observed_fn, best)
    return asymptotic_cls(statistic, t_mu(mu, asimov_fn, best_asimov))


def _safe_sqrt(value: Array) -> Array:
    positive = value > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, value, 1.0)), 0.0)
