"""The golden workspaces of ATLAS through the drop-in; made by certified fits of another program."""

import numpy as np
import pyhf
import pytest
from shared_shapes import pack_shared

from jaxlik.database.workspace_patch import with_synthetic_signal
from jaxlik.interop import pyhf_model
from jaxlik.interop.pyhf_drop_in import fit, fixed_poi_fit, hypotest, twice_nll

pytestmark = [
    pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning"),
    pytest.mark.reference,
]

QUICK = (
    "2018-22-multibin-eff/simplified_MB-C_noCR_bkgonly",
    "2018-22-multibin-eff/simplified_MB-SSd_noCR_bkgonly",
    "2018-31-eff/simplifiedA",
)
SLOW = (
    "2018-04-eff/SRcombined",
    "2018-05-ewk-eff/ewk_signal_bkgonly",
    "2018-05-ewk-eff/simplified",
    "2018-14-eff/Comb_bkgonly",
    "2018-14-eff/SRee_bkgonly",
    "2018-16-eff/EWKinos_bkgonly_SR2lOnly",
    "2018-31-eff/BkgOnlyA",
    "2018-31-eff/BkgOnlyB",
    "2018-31-eff/simplifiedB",
    "2018-32-eff/bkgonly_simplified",
    "2019-09-eff/SR_WH_0j_fake_bkgonly",
    "2019-09-eff/SR_WH_DFOS_fake_bkgonly",
    "2019-09-eff/bkg_offshell",
    "2019-09-eff/bkg_onshell_simplified",
)
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.fixture(autouse=True)
def _shared_shape_and_backend(monkeypatch):
    monkeypatch.setattr(pyhf_model, "pack_workspace", lambda record, **_: pack_shared(record))
    before = pyhf.get_backend()
    pyhf.set_backend("numpy")
    yield
    pyhf.set_backend(*before)


@pytest.mark.parametrize("name", NAMES)
def test_fits_and_tests_are_those_of_the_reference(name, workspace_of):
    golden, document = workspace_of(name)
    workspace = pyhf.Workspace(document, validate=False)
    model = workspace.model(poi_name=None, validate=False)
    data = workspace.data(model)
    for point in golden["points"]:
        value = twice_nll(point["x"], data, model)[0]
        assert value == pytest.approx(-2 * point["logpdf"], rel=1e-10)
    pars, value = fit(data, model, return_fitted_val=True)
    reference = golden["bkg_only_fit"]["reference"]
    assert value == pytest.approx(reference["twice_nll"], abs=1e-7)
    assert value <= golden["bkg_only_fit"]["pyhf_numpy_slsqp"]["twice_nll"] + 1e-6
    assert len(pars) == golden["counts"]["npars"]

    workspace = pyhf.Workspace(with_synthetic_signal(document), validate=False)
    model = workspace.model(validate=False)
    data = workspace.data(model)
    wanted = golden["signal"]["hypotest_mu1_qtilde_asymptotic"]
    cls, tails, band = hypotest(1.0, data, model, return_tail_probs=True, return_expected_set=True)
    # CLs of strong signals are differences of large numbers in the exponent.
    np.testing.assert_allclose(
        [cls, *tails], [wanted["CLs_obs"], wanted["CLsb"], wanted["CLb"]], rtol=2e-6, atol=1e-300
    )
    np.testing.assert_allclose(band, wanted["CLs_exp"], rtol=2e-6, atol=1e-300)
    _, value = fixed_poi_fit(1.0, data, model, return_fitted_val=True)
    assert value == pytest.approx(wanted["twice_nll_fixed"], abs=1e-7)
