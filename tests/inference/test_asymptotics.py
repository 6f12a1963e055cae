"""p-values, CLs and scores, against SciPy and published numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxlik.inference.asymptotics import asymptotic_cls, expected_cls, log_cls
from jaxlik.inference.score import discovery_p_value, score, significance

PAIRS = [(0.0, 4.0), (1.0, 4.0), (4.0, 4.0), (9.0, 4.0), (30.0, 2.0)]


def textbook(q, q_asimov):
    root, root_asimov = np.sqrt(q), np.sqrt(q_asimov)
    if q <= q_asimov:
        return stats.norm.sf(root), stats.norm.cdf(root_asimov - root)
    width = 2 * root_asimov
    return stats.norm.sf((q + q_asimov) / width), stats.norm.sf((q - q_asimov) / width)


@pytest.mark.parametrize(("q", "q_asimov"), PAIRS)
def test_p_values_follow_the_textbook(q, q_asimov):
    test = jax.jit(asymptotic_cls)(jnp.asarray(q), jnp.asarray(q_asimov))
    p_signal, p_background = textbook(q, q_asimov)
    np.testing.assert_allclose(test.p_signal, p_signal, rtol=1e-10)
    np.testing.assert_allclose(test.p_background, p_background, rtol=1e-10)
    np.testing.assert_allclose(test.cls, p_signal / p_background, rtol=1e-10)


def test_cls_is_known_far_beyond_underflow():
    value, slope = jax.value_and_grad(log_cls)(jnp.asarray(4000.0), jnp.asarray(4000.0))
    expected = stats.norm.logsf(np.sqrt(4000.0)) - np.log(0.5)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert jnp.isfinite(slope)
    assert slope < 0


@pytest.mark.parametrize("q", [0.0, 1.0])
def test_no_sensitivity_excludes_nothing(q):
    test = asymptotic_cls(jnp.asarray(q), jnp.asarray(0.0))
    assert test.cls == 1.0
    gradients = jax.grad(log_cls, argnums=(0, 1))(jnp.asarray(q), jnp.asarray(0.0))
    assert np.isfinite(gradients).all()


def test_expected_band_brackets_the_median_and_grows():
    band = expected_cls(jnp.asarray(4.0))
    assert (np.diff(band) > 0).all()
    np.testing.assert_allclose(band[2], 2 * stats.norm.sf(2.0), rtol=1e-12)
    fluctuation = stats.norm.sf(1.0) / stats.norm.cdf(1.0)
    np.testing.assert_allclose(band[3], fluctuation, rtol=1e-12)


def test_score_reproduces_the_published_winner():
    # arXiv:2012.12246: K = 6.90 at Z^2 = 10.475, golden numbers G3: 2 ln pi = -3.575
    np.testing.assert_allclose(score(jnp.sqrt(10.465), jnp.asarray(-3.575 / 2)), 6.890, atol=1e-9)


def test_significance_is_the_root_of_q0_without_a_cusp():
    value, slope = jax.value_and_grad(significance)(jnp.asarray(9.0))
    np.testing.assert_allclose([value, slope], [3.0, 1 / 6], rtol=1e-14)
    assert jax.value_and_grad(significance)(jnp.asarray(0.0)) == (0.0, 0.0)
    np.testing.assert_allclose(discovery_p_value(jnp.asarray(25.0)), 2.866516e-7, rtol=1e-6)
