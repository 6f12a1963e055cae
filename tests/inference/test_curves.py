"""Limits from curves against the compiled solver, and their derivatives against differences."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.database.records import CovarianceRecord
from jaxlik.errors import ConvergenceError
from jaxlik.inference.curve_kinds import BankCurves, CountingCurves, FourfoldBank
from jaxlik.inference.curves import (
    ASIMOV,
    DATA,
    EXPECTED,
    OBSERVED,
    SumOfCurves,
    fit_curves,
    log_cls_at,
)
from jaxlik.inference.limits import find_upper_limit
from jaxlik.inference.profile import likelihood_pair
from jaxlik.statmodels.bank import make_banks
from jaxlik.statmodels.build import build
from jaxlik.statmodels.poisson import PoissonCounting

REGIONS = [
    (3.0, 10.0, 8.0, 2.0),
    (1.0, 0.0, 1.5, 0.7),
    (20.0, 90.0, 60.0, 9.0),
    (2.0, 4.0, 6.0, 0.0),
]


@pytest.mark.parametrize("region", REGIONS)
def test_counting_limits(region):
    signal, observed, background, error = region
    model = PoissonCounting(*(jnp.asarray([x]) for x in (observed, background, error)))
    fit = fit_curves(CountingCurves(*region))
    for dataset, expected in ((OBSERVED, False), (EXPECTED, True)):
        pair = likelihood_pair(model, jnp.asarray([signal]), expected=expected)
        wanted = find_upper_limit(*pair)
        assert fit.limit[dataset] == pytest.approx(float(wanted.mu), rel=1e-7)
        assert fit.mu_hat[dataset] == pytest.approx(float(wanted.best.mu_hat), abs=1e-6)


@pytest.fixture(scope="module")
def joint():
    covariance = np.array([[9.0, 3.0, 0.0], [3.0, 16.0, 2.0], [0.0, 2.0, 4.0]])
    observed, background = np.array([12.0, 20.0, 5.0]), np.array([10.0, 24.0, 3.0])
    record = CovarianceRecord("x", ("a", "b", "c"), observed, background, covariance, None)
    model = build(record)
    constants = np.array(
        [float(m.nll_constant()) for m in (model, model.with_observed(model.background))]
    )
    return model, FourfoldBank(make_banks([model])[0], 0, constants)


SIGNAL = np.array([2.0, 1.0, 3.0])


def test_joint_limits_and_likelihoods(joint):
    model, four = joint
    curves = BankCurves(four, SIGNAL)
    fit = fit_curves(curves)
    for dataset, expected in ((OBSERVED, False), (EXPECTED, True)):
        wanted = find_upper_limit(*likelihood_pair(model, jnp.asarray(SIGNAL), expected=expected))
        assert fit.limit[dataset] == pytest.approx(float(wanted.mu), rel=1e-7)
    value = curves.at(np.full((2, 2), 0.7)).value[OBSERVED, DATA]
    wanted = float(model.profiled_twice_nll(jnp.asarray(0.7), jnp.asarray(SIGNAL)))
    assert value == pytest.approx(wanted, rel=1e-9)


def curves_of(four, signal):
    return SumOfCurves([BankCurves(four, signal[:3]), CountingCurves(signal[3], 10.0, 8.0, 2.0)])


def test_derivatives_of_limits_by_signals(joint):
    _, four = joint
    signal = np.array([*SIGNAL, 3.0])
    fit = fit_curves(curves_of(four, signal))
    step = 1e-4
    for region in range(4):
        up, down = signal.copy(), signal.copy()
        up[region] += step
        down[region] -= step
        sides = [fit_curves(curves_of(four, s)).limit for s in (up, down)]
        slope = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(fit.limit_gradient[:, region], slope, rtol=1e-4)


def test_slopes_and_gradients_of_curves(joint):
    _, four = joint
    curves = curves_of(four, np.array([*SIGNAL, 3.0]))
    mu, step = np.array([[0.3, 0.9], [1.4, 0.0]]), 1e-5
    here = curves.at(mu)
    slope = (curves.at(mu + step).value - curves.at(mu - step).value) / (2 * step)
    # At mu = 0 the difference reaches below zero, where the curve goes on smoothly.
    np.testing.assert_allclose(here.slope, slope, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        np.sum(here.gradient * np.array([*SIGNAL, 3.0]), axis=2), mu * here.slope, rtol=1e-9
    )


def test_cls_at_the_limit_is_five_per_cent(joint):
    _, four = joint
    curves = BankCurves(four, SIGNAL)
    fit = fit_curves(curves)
    for dataset in (OBSERVED, EXPECTED):
        log_cls = log_cls_at(curves, float(fit.limit[dataset]))[dataset]
        assert np.exp(log_cls) == pytest.approx(0.05, rel=1e-6)


def test_no_signal_has_no_limit(joint):
    fit = fit_curves(CountingCurves(0.0, 3.0, 2.0, 1.0))
    assert np.isinf(fit.limit).all()
    assert not fit.limit_gradient.any()
    assert np.isinf(fit_curves(BankCurves(joint[1], np.zeros(3))).limit).all()


def test_a_profile_that_does_not_converge_is_an_error(joint, monkeypatch):
    import jaxlik.inference.curve_kinds as module

    monkeypatch.setattr(module, "LARGEST_RESIDUAL", -1.0)
    with pytest.raises(ConvergenceError, match="conditions of the optimum"):
        BankCurves(joint[1], SIGNAL).at(np.zeros((2, 2)))


class BrokenCurves(CountingCurves):
    """A region whose likelihood is not one beyond some mu."""

    def __init__(self, slope):
        super().__init__(3.0, 14.0, 8.0, 2.0)
        self.broken = slope

    def at(self, mu, wanted=None):
        heights = super().at(mu, wanted)
        return heights._replace(
            value=self.broken(mu, heights.value), slope=self.broken(mu, heights.slope)
        )


def test_an_undefined_likelihood_is_an_error():
    curves = BrokenCurves(lambda mu, height: np.where(mu > 1.0, np.nan, height))
    with pytest.raises(ConvergenceError, match="undefined at mu = "):
        fit_curves(curves)


def test_a_best_mu_that_is_not_found_is_an_error(monkeypatch):
    import jaxlik.inference.curves as module

    monkeypatch.setattr(module, "MOST_STEPS", 3)
    with pytest.raises(ConvergenceError, match=r"best mu: after 3 steps still between .* and "):
        fit_curves(CountingCurves(3.0, 14.0, 8.0, 2.0))


def test_a_limit_that_is_not_found_is_an_error(monkeypatch):
    import jaxlik.inference.curves as module

    monkeypatch.setattr(module, "MOST_STEPS", 3)
    with pytest.raises(ConvergenceError, match=r"upper limit: after 3 steps still between"):
        fit_curves(CountingCurves(3.0, 2.0, 8.0, 2.0))


def test_asimov_data_are_the_fitted_background():
    curves = CountingCurves(3.0, 14.0, 8.0, 2.0)
    assert curves.counts[OBSERVED, DATA] == 14.0
    assert 8.0 < curves.counts[OBSERVED, ASIMOV] < 14.0
    assert curves.counts[EXPECTED].tolist() == [8.0, 8.0]
