r"""Pseudo-experiments ("toys") of HistFactory models, where asymptotics is doubtful.

Events and auxiliary data are drawn at the nuisance parameters fitted to the data, at the
tested mu for signal and at mu = 0 for background-only toys, as the LHC experiments do
(ATL-PHYS-PUB-2011-11, CMS NOTE-2011/005) and pyhf does. Each toy gets a fit at the tested mu and a
free one, and with them the statistic of the data (arXiv:1007.1727, eqs. 8, 12, 16):

$$ t_\mu = -2 \ln \frac{L(\mu, \hat{\hat\theta})}{L(\hat\mu, \hat\theta)}, \quad \hat\mu \ge 0,
   \qquad \tilde q_\mu = t_\mu \text{ if } \hat\mu \le \mu \text{ else } 0,
   \qquad q_0 = t_0 $$

Single regions and counting experiments are HistFactory models, too.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from tqdm import tqdm

from jaxlik.errors import ConfigError, ConvergenceError, Status
from jaxlik.inference.asymptotics import BAND_SIGMAS
from jaxlik.inference.workspace_fits import WorkspaceAnalysis
from jaxlik.inference.workspace_profile import CERTIFIED, fit_from
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar

TIE = 1e-6
"""Statistics closer than this count as equal: what fits leave uncertain is far smaller, and
different counts are further apart."""

BLOCK = 250
"""Toys of one call of the compiled program, between updates of the progress bar."""

_LARGEST_EXACT = 1e4


class Toys(NamedTuple):
    """What fits to toys found.

    Attributes:
        t_mu: -2 ln of the likelihood ratio of the tested to the best mu.
        mu_hat: Best mu, not below zero.
        certificate: Larger projected gradient of -ln L of the two fits; infinite where the free
            fit ended in a minimum above the other one.
    """

    t_mu: Float[Array, " toy"]
    mu_hat: Float[Array, " toy"]
    certificate: Float[Array, " toy"]

    @property
    def certified(self) -> Bool[Array, " toy"]:
        """Whether both fits are; the other numbers are to be used only there."""
        return (self.certificate <= CERTIFIED) & jnp.isfinite(self.t_mu)


class ToyTest(NamedTuple):
    """Test of one mu by toys.

    p-values are shares of the certified toys; toys without certified fits are in `failed` and
    nowhere else. Errors are those of the finite number of toys.

    Attributes:
        statistic: q~_mu on the data.
        p_signal: CL_{s+b}, share of signal toys with at least this statistic.
        p_signal_error: Its standard deviation.
        p_background: CL_b, the same of background-only toys.
        p_background_error: Its standard deviation.
        cls: Ratio of the two; not a number if no background toy reaches the statistic.
        cls_error: Its standard deviation.
        expected: CLs of background-only toys at -2, -1, 0, 1, 2 sigma, increasing.
        number: Toys of each hypothesis.
        failed: Toys of both hypotheses without certified fits.
        status: `max_steps` where toys failed, `not_finite` where CLs is not a number.
    """

    statistic: Scalar
    p_signal: Scalar
    p_signal_error: Scalar
    p_background: Scalar
    p_background_error: Scalar
    cls: Scalar
    cls_error: Scalar
    expected: Float[Array, " band"]
    number: Int[Array, ""]
    failed: Int[Array, ""]
    status: Status


class ToyDiscovery(NamedTuple):
    """Test of the background alone by toys.

    Attributes:
        statistic: q_0 on the data.
        p_value: Share of certified background-only toys with at least this statistic.
        p_value_error: Its standard deviation.
        number: Toys drawn.
        failed: Toys without certified fits.
        status: `max_steps` where toys failed.
    """

    statistic: Scalar
    p_value: Scalar
    p_value_error: Scalar
    number: Int[Array, ""]
    failed: Int[Array, ""]
    status: Status


def draw(key: Key[Array, ""], model: HistFactory, parameters: Float[Array, " parameter"]) -> Data:
    """One pseudo-experiment: events and the auxiliary data of all constraints.

    Args:
        key: Random key.
        model: The packed workspace; its padding stays as it is.
        parameters: Where to draw.
    """
    of_events, of_counts, of_pulls = jax.random.split(key, 3)
    events = _poisson(of_events, model.expected(parameters))
    rates = jnp.where(model.poisson, model.width * parameters, 1.0)
    counts = _poisson(of_counts, rates)
    pulls = parameters + model.width * jax.random.normal(of_pulls, parameters.shape)
    centre = jnp.where(model.poisson, counts, jnp.where(model.normal, pulls, model.data.centre))
    return Data(jnp.where(model.real_bins, events, model.data.observed), centre)


def _poisson(key: Key[Array, ""], rates: Float[Array, " bin"]) -> Float[Array, " bin"]:
    """Poisson counts in double precision; above 1e4 by Cornish and Fisher's expansion.

    JAX draws in single precision, whose variance is off by per cents from 1e6 events on. The
    distribution function of the expansion is right to 2e-6.
    """
    small, large = jax.random.split(key)
    exact = jax.random.poisson(small, jnp.minimum(rates, _LARGEST_EXACT)).astype(rates.dtype)
    z = jax.random.normal(large, rates.shape)
    rounded = jnp.floor(rates + jnp.sqrt(rates) * z + (z**2 - 1) / 6 + 0.5)
    return jnp.where(rates > _LARGEST_EXACT, rounded, exact)


def fit_toy(
    model: HistFactory,
    poi: Int[Array, ""] | int,
    mu: Scalar,
    data: Data,
    near: Float[Array, " parameter"],
    thorough: Bool[Array, ""] | bool = False,
) -> tuple[Scalar, Scalar, Scalar]:
    """t_mu, the best mu and the certificate of one data set.

    Args:
        model: From `jaxlik.inference.workspace_limits.bounded_below`.
        poi: Position of the parameter of interest.
        mu: Tested.
        data: Events and auxiliary data.
        near: Where fits begin, at any mu.
        thorough: Look for other minima, see `fit_from`.
    """

    def fit(near: Array, free: Array) -> tuple[Array, tuple[Scalar, Scalar, Scalar]]:
        held = model.fixed.at[poi].set(~free)
        # At zero a product of two parameters may have no slope.
        begin = jnp.where(free & (mu <= 0), 0.1, mu)
        starts = jnp.stack([near, model.init]).at[:, poi].set(begin)
        found = fit_from(model, data, held, starts, thorough)
        return found.parameters, (found.twice_nll, found.parameters[poi], found.certificate)

    # One program for both fits; the free one begins where the other ends, and ends below it.
    _, found = jax.lax.scan(fit, near, jnp.asarray([False, True]))
    twice_nll, best, certificates = found
    ratio = twice_nll[0] - twice_nll[1]
    certificate = jnp.where(ratio >= -TIE, jnp.max(certificates), jnp.inf)
    return jnp.maximum(ratio, 0.0), best[1], certificate


@eqx.filter_jit
def fit_toys(
    keys: Key[Array, " toy"],
    model: HistFactory,
    poi: Int[Array, ""],
    mu: Scalar,
    parameters: Float[Array, " parameter"],
    thorough: Bool[Array, ""],
) -> Toys:
    """Draw a toy for each key, and fit it; see `draw` and `fit_toy`.

    Args:
        keys: Random keys.
        model: From `bounded_below`.
        poi: Position of the parameter of interest.
        mu: Tested.
        parameters: Where toys are drawn and fits begin.
        thorough: Look for other minima.
    """

    def one(key: Key[Array, ""]) -> tuple[Scalar, Scalar, Scalar]:
        return fit_toy(model, poi, mu, draw(key, model, parameters), parameters, thorough)

    # One by one on CPUs: no toy waits for the slowest one.
    side_by_side = None if jax.default_backend() == "cpu" else BLOCK
    return Toys(*jax.lax.map(one, keys, batch_size=side_by_side))


def p_values(
    statistics: Float[Array, " value"],
    toys: Float[Array, " toy"],
    certified: Bool[Array, " toy"],
) -> Float[Array, " value"]:
    """Shares of certified toys with at least the statistic.

    Low counts let a statistic take few values, and data and toys agree exactly with a chance
    that is not small. A p-value is the chance of data *at least* as extreme: toys equal to the
    data count. Since two fits to the same counts differ by rounding, "equal" is "within `TIE`".
    """
    ordered = jnp.sort(jnp.where(certified, toys, -jnp.inf))
    reached = toys.shape[0] - jnp.searchsorted(ordered, statistics - TIE)
    return reached / jnp.sum(certified)


def _share_error(share: Scalar, number: Scalar) -> Scalar:
    """Standard deviation of a probability known from a share of toys; never zero.

    Of the posterior for a flat prior: the binomial one for many toys on both sides.
    """
    inside, outside = share * number + 1, (1 - share) * number + 1
    return jnp.sqrt(inside * outside / (number + 3)) / (number + 2)


@jax.jit
def cls_from_toys(mu: Scalar, statistic: Scalar, signal: Toys, background: Toys) -> ToyTest:
    """CLs, its error and its expected band from fitted toys of both hypotheses.

    Args:
        mu: Tested.
        statistic: q~_mu on the data.
        signal: Drawn at the tested mu.
        background: Drawn at mu = 0.
    """
    q_signal, q_background = (
        jnp.where(toys.mu_hat > mu, 0.0, toys.t_mu) for toys in (signal, background)
    )
    # The data, then every background toy as if it were the data.
    tested = jnp.append(statistic, q_background)
    p_signal = p_values(tested, q_signal, signal.certified)
    p_background = p_values(tested, q_background, background.certified)
    known = jnp.append(True, background.certified) & (p_background > 0)
    cls = jnp.where(known, p_signal / jnp.where(known, p_background, 1.0), jnp.nan)
    number_signal, number_background = (jnp.sum(t.certified) for t in (signal, background))
    signal_error = _share_error(p_signal[0], number_signal.astype(float))
    background_error = _share_error(p_background[0], number_background.astype(float))
    error = jnp.hypot(signal_error, cls[0] * background_error) / p_background[0]
    number = signal.t_mu.shape[0] + background.t_mu.shape[0]
    failed = number - number_signal - number_background
    status = Status.where(failed > 0, Status.max_steps, Status.success)
    return ToyTest(
        statistic,
        p_signal[0],
        signal_error,
        p_background[0],
        background_error,
        cls[0],
        error,
        jnp.nanquantile(cls[1:], ndtr(jnp.asarray(BAND_SIGMAS))),
        jnp.asarray(signal.t_mu.shape[0]),
        failed,
        Status.where(jnp.isfinite(cls[0]), status, Status.not_finite),
    )


def toy_cls(
    key: Key[Array, ""],
    analysis: WorkspaceAnalysis,
    mu: float,
    number: int,
    *,
    quiet: bool = True,
) -> ToyTest:
    """CLs of one mu from toys of both hypotheses; host code, with a progress bar.

    The same key gives the same toys, however many are drawn in one block.

    Args:
        key: Random key.
        analysis: The workspace, its data and their fits.
        mu: Tested, not negative.
        number: Toys of each hypothesis.
        quiet: No progress bar.

    Raises:
        ConfigError: no toys wanted, or a negative mu.
        ConvergenceError: a fit to the data, or all toys of a hypothesis, are not certified.
    """
    _check(mu, number)
    fixed = analysis.fit_at(mu)
    keys = jax.random.split(key)
    with tqdm(total=2 * number, desc="toys", unit="toy", disable=quiet, leave=False) as bar:
        signal = _fit_blocks(keys[0], analysis, mu, fixed.parameters, number, bar)
        background = _fit_blocks(keys[1], analysis, mu, analysis.null.parameters, number, bar)
    statistic = jnp.asarray(analysis.statistic(fixed, mu), float)
    return cls_from_toys(jnp.asarray(mu, float), statistic, signal, background)


def toy_discovery(
    key: Key[Array, ""], analysis: WorkspaceAnalysis, number: int, *, quiet: bool = True
) -> ToyDiscovery:
    """p-value of the background alone, from q_0 of background-only toys; see `toy_cls`.

    Raises:
        ConfigError: no toys wanted.
        ConvergenceError: all toys are not certified.
    """
    _check(0.0, number)
    with tqdm(total=number, desc="toys", unit="toy", disable=quiet, leave=False) as bar:
        toys = _fit_blocks(key, analysis, 0.0, analysis.null.parameters, number, bar)
    statistic = jnp.maximum(analysis.null.twice_nll - analysis.best.twice_nll, 0.0)
    p_value = p_values(statistic[None], toys.t_mu, toys.certified)[0]
    certified = jnp.sum(toys.certified)
    return ToyDiscovery(
        statistic,
        p_value,
        _share_error(p_value, certified.astype(float)),
        jnp.asarray(number),
        number - certified,
        Status.where(certified < number, Status.max_steps, Status.success),
    )


def _check(mu: float, number: int) -> None:
    if number < 1:
        raise ConfigError(f"number of toys is {number}, wanted at least 1")
    if not mu >= 0:
        raise ConfigError(f"mu of toys is {mu:g}, wanted a number that is not negative")


def _fit_blocks(
    key: Key[Array, ""],
    analysis: WorkspaceAnalysis,
    mu: float,
    parameters: Float[Array, " parameter"],
    number: int,
    bar: tqdm,
) -> Toys:
    """Toys of one hypothesis, block by block, all blocks of one size."""
    keys = jax.random.split(key, number)
    arguments = (
        analysis.model,
        jnp.asarray(analysis.poi),
        jnp.asarray(mu, float),
        parameters,
        jnp.asarray(analysis.several_minima),
    )
    blocks = []
    for first in range(0, number, BLOCK):
        block = keys[(first + jnp.arange(BLOCK)) % number]
        blocks.append(jax.block_until_ready(fit_toys(block, *arguments)))
        bar.update(min(BLOCK, number - first))
    toys = jax.tree.map(lambda *parts: jnp.concatenate(parts)[:number], *blocks)
    if not bool(toys.certified.any()):
        raise ConvergenceError(
            f"none of {number} toys at mu = {mu:g} has certified fits: smallest projected "
            f"gradient {float(jnp.min(toys.certificate)):.1e}, wanted below {CERTIFIED:g}; scale "
            "the signal so that mu is near one"
        )
    return toys
