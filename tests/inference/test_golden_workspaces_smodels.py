"""Workspaces of database 3.0.0 with signals, against SModelS 3.1.1 and pyhf with JAX.

SModelS minimises with SLSQP and numerical gradients: its -ln L ends up to 3e-5 above the
minimum (ATLAS-SUSY-2019-09, mu = 0), never below, and its limits are roots to 1e-3. The full
likelihoods have reference values from pyhf with exact gradients.

Without its control regions, two free normalisations of ATLAS-SUSY-2018-04 trade against each
other and -ln L of the observed data has several minima; so has ATLAS-SUSY-2019-08 at large mu.
Values of the reference are some of these, not always the lowest.
"""

import functools
import gzip
import json
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shared_shapes import pack_shared

from jaxlik.database.workspace import flatten_workspace
from jaxlik.database.workspace_signal import POI, flatten_with_signal
from jaxlik.inference.workspace_fits import WorkspaceAnalysis
from jaxlik.inference.workspace_profile import fit_parameters
from jaxlik.statmodels.histfactory import Data, HistFactory
from jaxlik.statmodels.histfactory_signal import (
    SignalInput,
    background_data,
    pack_signal,
    with_signal,
)

pytestmark = pytest.mark.reference

RESULTS = ("2018-05-ewk", "2018-14", "2018-22-multibin", "2018-31", "2018-32", "2019-09")
VECTORS = ("v0_zero", "v1", "v3_sparse")
KINDS = ("obs", "apriori")

NEVER_ABOVE = 1e-6
"""How much a minimum of ours may lie above one of the reference, in -ln L."""

SLSQP, SLSQP_FULL = 1e-4, 1e-5
"""How much it may lie below: simplified workspaces, and full ones with exact gradients."""

MU_HAT = 3e-4
"""Of mu-hat by SLSQP: 2e-7 above the minimum in -ln L is 6e-4 of its uncertainty."""

ROOT, ROOT_FULL = 1e-3, 1e-6
"""Relative, of limits: the tolerance of SModelS's root finder, and that of the full ones."""


class Place(NamedTuple):
    """A workspace with places for signals."""

    model: HistFactory
    where: SignalInput
    region_ids: tuple[str, ...]
    poi: int


class Case(NamedTuple):
    """A workspace with a signal."""

    model: HistFactory
    poi: int
    data: dict[str, Data]


@pytest.fixture(scope="module")
def place_of(snapshot):
    """From folder and file to the packed workspace."""
    records = {(w.analysis_id, w.name): w for w in snapshot.workspaces}

    @functools.cache
    def find(folder: str, name: str) -> Place:
        record, where = flatten_with_signal(records[folder, name])
        model = pack_shared(record)
        return Place(model, pack_signal(where, model), where.region_ids, record.poi)

    return find


def case_of(place: Place, document: dict, events: list[float]) -> Case:
    """The workspace with the signal of a golden document."""
    given = dict(zip(document["SRs"], events, strict=True))
    signal = jnp.array([given[name] for name in place.region_ids])
    model = with_signal(place.model, place.where, signal)
    data = {"obs": model.data, "apriori": background_data(model, place.where)}
    return Case(model, place.poi, data)


@eqx.filter_jit
def log_density(model, parameters, data):
    return model.log_density(parameters, data)


def nll(case, kind, fit):
    """-ln L with all constants."""
    return -float(log_density(case.model, fit.parameters, case.data[kind]))


def assert_minima(found, reference, below):
    excess = np.asarray(found) - np.array(reference, float)
    assert excess.max() < NEVER_ABOVE
    assert excess.min() > -below


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("name", RESULTS)
def test_simplified_workspaces_agree_with_smodels(name, vector, reference, place_of):
    folder = f"ATLAS-SUSY-{name}-eff"
    path = reference / "golden" / "smodels" / "stats_pyhf" / f"{folder}.json"
    document = json.loads(path.read_text())
    golden = document["vectors"][vector]
    expected = []
    zero = golden["comb"]["zeroSignals"]
    for wanted, no_signal in zip(golden["comb"]["per_ws"], zero, strict=True):
        case = case_of(place_of(folder, wanted["ws"]), document, golden["nsig"])
        limits = {kind: check_kind(case, kind, document["mu"], wanted) for kind in KINDS}
        expected.append(limits["apriori"])
        assert no_signal == np.isinf(limits["apriori"])
    if vector != "v0_zero":
        # Workspaces that see the same signal in one region tie (2018-14, v3_sparse).
        assert expected[golden["comb"]["best_index"]] <= min(expected) * (1 + ROOT)


def check_kind(case, kind, mu, wanted) -> float:
    """Compare one kind of data; returns the limit, infinite without signal."""
    analysis = WorkspaceAnalysis(case.model, case.poi, case.data[kind])
    profile = wanted[f"nll_{kind}"]
    found = [nll(case, kind, analysis.fit_at(m)) for m in mu[: len(profile)]]
    assert_minima(found, profile, SLSQP)
    if f"max_{kind}" not in wanted:
        np.testing.assert_allclose(found, found[0], rtol=1e-12)
        return np.inf
    best = wanted[f"max_{kind}"]
    assert_minima([nll(case, kind, analysis.best)], [best["nll_min"]], SLSQP)
    mu_hat = float(analysis.best.parameters[case.poi])
    assert mu_hat == pytest.approx(best["muhat"], abs=MU_HAT)
    limit, band = analysis.upper_limits()
    assert limit == pytest.approx(wanted[f"UL_{kind}"], rel=ROOT)
    if kind == "obs" and "UL_aposteriori" in wanted:
        assert band[2] == pytest.approx(wanted["UL_aposteriori"], rel=ROOT)
    return limit


PATCHED = (
    "2018-04-eff__0__v1",
    "2018-04-eff__0__v3_sparse",
    "2018-16-eff__0__v1",
    "2018-16-eff__0__v3_sparse",
    "2018-16-eff__1__v1",
    "2018-16-eff__1__v3_sparse",
    "2019-08-eff__0__v1",
    "2019-08-eff__0__v3_sparse",
)


@pytest.mark.parametrize("name", PATCHED)
def test_patched_workspaces_are_those_of_smodels(name, reference, place_of):
    path = reference / "golden" / "smodels" / "heavy_ws" / f"ATLAS-SUSY-{name}.json.gz"
    document = json.loads(gzip.decompress(path.read_bytes()))
    case = case_of(place_of(document["folder"], document["ws"]), document, document["nsig"])
    patched = document["obs"]
    wanted = pack_shared(flatten_workspace(patched, poi=POI))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12), case.model, wanted
    )
    counts = {entry["name"]: entry["data"] for entry in document["exp_observations"]}
    events = np.concatenate([counts[channel["name"]] for channel in patched["channels"]])
    found = case.data["apriori"].observed[: len(events)]
    np.testing.assert_allclose(found, events, rtol=1e-12)


FULL = ("2018-04-eff__0__v1", "2018-04-eff__0__v3_sparse", *PATCHED[-2:])

LOWER = {
    ("2019-08-eff__0__v1", "obs", 4.0): 0.03,
    ("2019-08-eff__0__v1", "apriori", 4.0): 0.4,
}
"""Where the reference is in another minimum than the lowest, and by how much at most."""


@pytest.fixture(scope="module")
def full(reference, place_of):
    """From the name of a golden file to the file and its workspace."""

    def find(name: str) -> tuple[dict, Case]:
        folder = reference / "golden" / "smodels" / "stats_pyhf_heavy"
        document = json.loads((folder / f"ATLAS-SUSY-{name}.json").read_text())
        place = place_of(document["folder"], document["ws"])
        return document, case_of(place, document, document["nsig"])

    return find


def lowest_fit(case, kind, mu):
    """From the default start, looking for other minima."""
    held, start = case.model.fixed.at[case.poi].set(True), case.model.init.at[case.poi].set(mu)
    return fit_parameters(case.model, case.data[kind], held, start, thorough=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FULL)
def test_profiles_of_full_workspaces(name, kind, full):
    document, case = full(name)
    for mu, wanted in zip(document["mu"], document[f"nll_{kind}_best"], strict=True):
        found = nll(case, kind, lowest_fit(case, kind, mu))
        assert_minima([found], [wanted], LOWER.get((name, kind, mu), SLSQP_FULL))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FULL)
def test_limits_of_full_workspaces(name, kind, full):
    document, case = full(name)
    analysis = WorkspaceAnalysis(case.model, case.poi, case.data[kind])
    assert_minima([nll(case, kind, analysis.best)], [document[f"nllmin_{kind}"]], SLSQP_FULL)
    test = analysis.test(1.0)
    assert np.exp(test.log_cls) == pytest.approx(document[f"CLs1_{kind}"], abs=1e-7)
    limit, _ = analysis.upper_limits()
    assert limit == pytest.approx(document[f"UL_{kind}"], rel=ROOT_FULL)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "below"), [("0", 1e-5), ("1", 0.03)])
def test_profiles_with_an_uncertain_signal(name, below, reference, place_of):
    # SModelS stops above the minimum: by up to 7e-6 for electroweakinos, 0.028 for sleptons.
    stem = f"ATLAS-SUSY-2018-16-eff__{name}__v1__smodels_numpy.json"
    path = reference / "golden" / "smodels" / "stats_pyhf_heavy" / stem
    document = json.loads(path.read_text())
    case = case_of(place_of(document["folder"], document["ws"]), document, document["nsig"])
    analysis = WorkspaceAnalysis(case.model, case.poi)
    grid = document["nll_obs_by_mu"]
    found = [nll(case, "obs", analysis.fit_at(float(mu))) for mu in grid]
    assert_minima(found, list(grid.values()), below)
