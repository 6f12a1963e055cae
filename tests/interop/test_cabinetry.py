"""cabinetry on jaxlik's fits gives what it gives on Minuit's, with lower minima."""

import numpy as np
import pyhf
import pytest
from pyhf_cases import share_shape, two_channels

from jaxlik.errors import MissingPackageError
from jaxlik.interop import cabinetry_bridge
from jaxlik.interop.cabinetry_bridge import jaxlik_fits
from jaxlik.interop.pyhf_drop_in import upper_limit
from jaxlik.interop.pyhf_optimizer import jaxlik_optimizer

pytestmark = [
    pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


@pytest.fixture(autouse=True)
def _shared_shape_and_backend(monkeypatch):
    share_shape(monkeypatch)
    before = pyhf.get_backend()
    pyhf.set_backend("numpy")
    yield
    pyhf.set_backend(*before)


@pytest.fixture(scope="module")
def cabinetry():
    return pytest.importorskip("cabinetry")


def both(call):
    """The answer with Minuit, and with jaxlik."""
    theirs = call()
    with jaxlik_fits():
        ours = call()
    assert type(ours) is type(theirs)
    return ours, theirs


def test_fits(cabinetry):
    model, data = two_channels()
    ours, theirs = both(lambda: cabinetry.fit.fit(model, data, goodness_of_fit=True))
    assert ours.labels == theirs.labels
    assert ours.best_twice_nll <= theirs.best_twice_nll + 1e-9
    assert ours.best_twice_nll == pytest.approx(theirs.best_twice_nll, abs=1e-3)
    np.testing.assert_allclose(ours.bestfit, theirs.bestfit, atol=0.02)
    np.testing.assert_allclose(ours.uncertainty, theirs.uncertainty, rtol=0.02, atol=1e-9)
    np.testing.assert_allclose(ours.corr_mat, theirs.corr_mat, atol=0.02)
    assert ours.goodness_of_fit == pytest.approx(theirs.goodness_of_fit, abs=1e-3)


def test_minos(cabinetry):
    model, data = two_channels()
    ours, theirs = both(lambda: cabinetry.fit.fit(model, data, minos=["mu", "free"]))
    assert list(ours.minos_uncertainty) == list(theirs.minos_uncertainty)
    for name, pair in ours.minos_uncertainty.items():
        np.testing.assert_allclose(pair, theirs.minos_uncertainty[name], rtol=0.02)


def test_ranking(cabinetry):
    model, data = two_channels()
    ours, theirs = both(lambda: cabinetry.fit.ranking(model, data))
    assert ours.labels == theirs.labels
    for name in ("prefit_up", "prefit_down", "postfit_up", "postfit_down"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=0.01)


def test_scan(cabinetry):
    model, data = two_channels()
    kwargs = {"par_range": (0.0, 2.0), "n_steps": 5}
    ours, theirs = both(lambda: cabinetry.fit.scan(model, data, "mu", **kwargs))
    np.testing.assert_allclose(ours.delta_nlls, theirs.delta_nlls, atol=2e-3)
    assert ours.uncertainty == pytest.approx(theirs.uncertainty, rel=0.02)


def test_limit(cabinetry):
    model, data = two_channels()
    with jaxlik_fits():
        found = cabinetry.fit.limit(model, data, bracket=(0.5, 6.0), poi_tolerance=1e-4)
    assert isinstance(found, cabinetry.fit.LimitResults)
    observed, expected = upper_limit(data, model)
    assert found.observed_limit == pytest.approx(float(observed), abs=2e-4)
    np.testing.assert_allclose(found.expected_limit, expected, atol=2e-4)
    # pyhf's own fits, at one of the limits.
    assert pyhf.infer.hypotest(found.observed_limit, data, model) == pytest.approx(0.05, abs=1e-3)
    assert model.config.poi_name == "mu"


def test_significance(cabinetry):
    model, data = two_channels()
    ours, theirs = both(lambda: cabinetry.fit.significance(model, data))
    for name in ("observed_p_value", "observed_significance", "expected_significance"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=2e-3)


def test_fits_inside_are_jaxliks_and_outside_minuits(cabinetry, monkeypatch):
    model, data = two_channels()
    calls = []
    original = jaxlik_optimizer.minimize

    def counted(self, *args, **kwargs):
        calls.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(jaxlik_optimizer, "minimize", counted)
    _, before = pyhf.get_backend()
    with jaxlik_fits():
        cabinetry.fit.fit(model, data)
    assert len(calls) == 1
    assert pyhf.get_backend()[1] is before
    cabinetry.fit.fit(model, data)
    assert len(calls) == 1
    assert pyhf.optimize.minuit_optimizer().name == "minuit"


def test_an_error_inside_leaves_pyhf_as_it_was(cabinetry):
    model, data = two_channels()
    _, before = pyhf.get_backend()
    # cabinetry does not put the optimizer back where its fit raises.
    with pytest.raises(pyhf.exceptions.InvalidPdfData), jaxlik_fits():
        cabinetry.fit.fit(model, data[:-1])
    assert pyhf.get_backend()[1] is before
    assert pyhf.optimize.minuit_optimizer().name == "minuit"


def test_a_missing_package_is_named(monkeypatch):
    def missing(package, *, extra):
        raise MissingPackageError(f"{package}: pip install 'jaxlik[{extra}]'")

    monkeypatch.setattr(cabinetry_bridge, "require", missing)
    with pytest.raises(ImportError, match="fitters"), jaxlik_fits():
        pass
