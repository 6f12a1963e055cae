"""Labels against the likelihood they are of, fitted on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.errors import ConvergenceError, WorkspaceError
from surrogates.labels import Oracle
from surrogates.likelihood_run import LikelihoodRun

SIGNALS = np.array([[0.5, 0.0, 1.0], [2.0, 1.0, 0.3], [0.0, 0.0, 0.0]])


@pytest.fixture(scope="module")
def profiles(oracle):
    """-2 ln L of the data and of their Asimov data, by the interface of all models."""
    models = [oracle.likelihood, oracle.likelihood.background_asimov()]
    return [jax.jit(lambda s, m=m: m.profiled_twice_nll(jnp.asarray(1.0), s)) for m in models]


def test_labels_are_changes_of_the_profile(oracle, profiles):
    scale = np.array([2.0, 1.5, 4.0])
    labels = oracle.label(SIGNALS, scale)
    for k, profile in enumerate(profiles):
        nothing = float(profile(jnp.zeros(3)))
        for row, signal in enumerate(SIGNALS):
            wanted = float(profile(jnp.asarray(signal * scale))) - nothing
            assert labels.change[row, k] == pytest.approx(wanted, abs=1e-8)
    assert oracle.twice_nll_background[0] == pytest.approx(float(profiles[0](jnp.zeros(3))))


def test_slopes_are_differences_of_the_profile(oracle, profiles):
    scale = np.array([2.0, 1.5, 4.0])
    slope = oracle.label(SIGNALS[:2], scale).slope
    for k, profile in enumerate(profiles):
        for row, signal in enumerate(SIGNALS[:2]):
            for region in range(3):
                step = 1e-4 * np.eye(3)[region]
                ends = [float(profile(jnp.asarray((signal + e) * scale))) for e in (step, -step)]
                assert slope[row, k, region] == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=1e-5)


def test_units_are_a_third_of_three_standard_deviations(oracle, profiles):
    scale = oracle.scale()
    for region in range(3):
        signal = jnp.asarray(3 * scale * np.eye(3)[region])
        assert float(profiles[1](signal)) == pytest.approx(9.0, abs=0.01)


def test_chunks_tell_as_they_come(oracle):
    rng = np.random.default_rng(3)
    signals, told = rng.random((20, 3)), []
    before = oracle.asked
    labels = oracle.label(signals, np.ones(3), lambda first, some: told.append((first, some)))
    assert [first for first, _ in told] == [0, 16]
    np.testing.assert_array_equal(np.concatenate([some.change for _, some in told]), labels.change)
    assert oracle.asked - before == 20
    one = oracle.label(signals[17:18], np.ones(3))
    np.testing.assert_allclose(one.change[0], labels.change[17], atol=1e-9)


def test_labels_without_a_fit_are_left_out(oracle):
    labels = oracle.label(SIGNALS, np.ones(3))
    broken = labels._replace(change=labels.change.copy())
    broken.change[1, 0] = np.nan
    assert len(broken.usable().signal) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"channels": []}', "wanted a list that is not empty"),
        ("[]", "found list"),
    ],
)
def test_files_that_are_no_workspace_are_refused(tmp_path, text, message):
    path = tmp_path / "w.json"
    path.write_text(text)
    with pytest.raises(WorkspaceError, match=message):
        Oracle.of_file(path)


def test_workspaces_without_such_regions_are_refused(workspace, tmp_path):
    with pytest.raises(WorkspaceError, match=r"no channel begins with 'signal'.*--prefix"):
        Oracle.of_file(workspace, "signal")
    with pytest.raises(WorkspaceError, match="cannot be read"):
        Oracle.of_file(tmp_path / "nothing.json")


def test_regions_without_sensitivity_are_named(oracle, monkeypatch):
    labels = oracle.label(SIGNALS, np.ones(3))
    flat = labels._replace(change=0 * labels.change, slope=0 * labels.slope)
    monkeypatch.setattr(oracle, "label", lambda signals, scale: flat)
    with pytest.raises(ConvergenceError, match=r"region SR0\[0\].*wanted 3"):
        oracle.scale()


def test_units_are_asked_for_once(oracle, learned_run):
    run, learned, _ = learned_run
    before = oracle.asked
    np.testing.assert_array_equal(LikelihoodRun(run.folder).scale(oracle), learned.scale)
    assert oracle.asked == before
    labels, seconds = run.scale_cost()
    assert labels >= 6
    assert labels % 3 == 0
    assert seconds > 0
