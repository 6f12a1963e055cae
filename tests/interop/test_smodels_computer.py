"""SModelS 3.2 with its own statistics and with jaxlik's, on the same theory predictions.

SModelS ends fits of mu and root searches at 1e-3; where its answer is not the exact one a closed
form or another route in this file decides.
"""

import ast
import logging
import re
import tarfile

import numpy as np
import pytest
from scipy import stats
from smodels_cases import MODEL, binned_results, workspace_results, write_database

from jaxlik.errors import ConfigError, ConvergenceError
from jaxlik.inference.curve_kinds import BankCurves
from jaxlik.interop.smodels_computer import use_jaxlik
from jaxlik.interop.smodels_curves import CountingFamily, SharedSimplified, SimplifiedFamily
from jaxlik.interop.smodels_statistics import JaxlikComputer, JaxlikTruncatedGaussian
from jaxlik.statmodels.simplified import simplified_likelihood

# pyhf 0.7.6 validates with a class that jsonschema wants to retire.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")

NLL, LIMIT, MU = 2e-6, 2e-3, 2e-3
"""Of SModelS: -ln L of converged fits, limits, best mu in units of its deviation."""

WEAK = 1.5e-3
"""Cross section in pb with limits on mu of order one."""


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    from smodels.experiment.databaseObj import Database

    root = write_database(tmp_path_factory.mktemp("database"), binned_results())
    return Database(str(root), force_load="txt")


@pytest.fixture(scope="module")
def topologies(tmp_path_factory):
    from jaxlik.database.smodels_oracle import decompose_file

    path = tmp_path_factory.mktemp("model") / "model.slha"
    path.write_text(MODEL.format(cross_section=WEAK))
    return decompose_file(path)


def predict(database, topologies):
    from smodels.matching.theoryPrediction import theoryPredictionsFor

    found = theoryPredictionsFor(database, topologies, combinedResults=True, useBestDataset=True)
    return {prediction.analysisId(): prediction for prediction in found}


def kinds():
    from smodels.statistics.basicStats import aposteriori, apriori, observed

    return {"observed": observed, "apriori": apriori, "aposteriori": aposteriori}


def own_and_ours(database, topologies, **options):
    """Predictions that hold SModelS's computers, and such that hold jaxlik's."""
    own = predict(database, topologies)
    for prediction in own.values():
        assert prediction.statsComputer is not None
    with use_jaxlik(**options):
        ours = predict(database, topologies)
        for prediction in ours.values():
            assert prediction.statsComputer is not None
    return own, ours


@pytest.fixture
def both(database, topologies):
    """Fresh ones: SModelS's computers keep the data of the last question (see below)."""
    return own_and_ours(database, topologies)


@pytest.fixture(scope="module")
def spaces(topologies, tmp_path_factory):
    """The same for a workspace; pyhf takes seconds for each limit."""
    from smodels.experiment.databaseObj import Database

    root = write_database(tmp_path_factory.mktemp("workspace"), workspace_results())
    return own_and_ours(Database(str(root), force_load="txt"), topologies)


def test_workspace(spaces):
    """Likelihoods, observed and expected ratios, CLs, bands as pyhf orders its expected set."""
    own, ours = (predictions["ATLAS-SPACE"] for predictions in spaces)
    computer = ours.statsComputer.getMostSensitiveModel()
    assert isinstance(computer, JaxlikComputer)
    assert computer.dataType == "pyhf"
    for data in kinds().values():
        assert ours.getRValue(data) == pytest.approx(own.getRValue(data), rel=LIMIT)
    observed, apriori = kinds()["observed"], kinds()["apriori"]
    for data in (observed, apriori):
        wanted, found = own.computeStatistics(data), ours.computeStatistics(data)
        for key in ("nllbsm", "nllsm", "nll_min"):
            assert found[key] <= wanted[key] + 1e-9
            assert found[key] == pytest.approx(wanted[key], abs=1e-5)
        assert found["muhat"] == pytest.approx(wanted["muhat"], abs=1e-2 * found["sigma_mu"])
    assert ours.CLs(1.0) == pytest.approx(own.CLs(1.0), abs=1e-4)
    found = ours.getUpperLimitOnMu(apriori, nSigma=1)
    assert found == pytest.approx(own.getUpperLimitOnMu(apriori, nSigma=1), rel=LIMIT)


ANALYSES = {"CMS-PLAIN": "1bin", "CMS-LINEAR": "SL", "CMS-SKEWED": "SL"}


@pytest.mark.parametrize("name", ANALYSES)
@pytest.mark.parametrize("kind", ["observed", "apriori"])
def test_likelihoods_ratios_and_cls(both, name, kind):
    own, ours = (predictions[name] for predictions in both)
    computer = ours.statsComputer.getMostSensitiveModel()
    assert isinstance(computer, JaxlikComputer)
    assert computer.dataType == ANALYSES[name]
    data = kinds()[kind]
    assert ours.getRValue(data) == pytest.approx(own.getRValue(data), rel=LIMIT)
    wanted, found = own.computeStatistics(data), ours.computeStatistics(data)
    for key in ("nllbsm", "nllsm", "nll_min"):
        # SModelS minimises skewed likelihoods along the slope of the linear ones.
        early = key == "nll_min" and name == "CMS-SKEWED"
        assert found[key] <= wanted[key] + 1e-9
        assert found[key] == pytest.approx(wanted[key], abs=2e-3 if early else NLL)
    if name != "CMS-SKEWED":
        assert found["muhat"] == pytest.approx(wanted["muhat"], abs=MU * found["sigma_mu"])
    for form in ("CLs", "1-CLs", "CLs-alpha"):
        here, there = (p.CLs(1.0, evaluationType=data, return_type=form) for p in (ours, own))
        assert here == pytest.approx(there, abs=1e-3 if name == "CMS-SKEWED" else 1e-4)


@pytest.mark.parametrize("name", ["CMS-LINEAR", "CMS-SKEWED"])
def test_background_fitted_to_data(both, name):
    """Limits with the fitted background in place of the data (a posteriori)."""
    own, ours = (predictions[name] for predictions in both)
    data = kinds()["aposteriori"]
    assert ours.getRValue(data) == pytest.approx(own.getRValue(data), rel=LIMIT)


def test_limits_are_roots_and_bands_normal_quantiles(both):
    computer = both[1]["CMS-LINEAR"].statsComputer.getMostSensitiveModel()
    for data in kinds().values():
        limit = computer.getUpperLimitOnMu(data)
        assert computer.CLs(limit, data) == pytest.approx(0.05, abs=1e-7)
    apriori = kinds()["apriori"]
    for sigmas in (-2, -1, 1, 2):
        limit = computer.getUpperLimitOnMu(apriori, nSigma=sigmas)
        asimov = {"evaluationType": apriori, "asimov": 0.0}
        statistic = 2 * (computer.nll(limit, **asimov) - computer.nll(0.0, **asimov))
        chance = stats.norm.cdf(sigmas)
        wanted = sigmas + stats.norm.ppf(1 - 0.05 * chance)
        assert np.sqrt(statistic) == pytest.approx(wanted, abs=1e-6)


def test_answers_do_not_depend_on_earlier_questions(both):
    """SModelS: after -ln L of the expected background the observed limit is another one."""
    own, ours = (predictions["CMS-LINEAR"] for predictions in both)
    data = kinds()
    limits = []
    for prediction in (own, ours):
        computer = prediction.statsComputer.getMostSensitiveModel()
        before = computer.getUpperLimitOnMu(data["observed"])
        prediction.statsComputer.nll(1.0, data["apriori"])
        limits.append((before, computer.getUpperLimitOnMu(data["observed"])))
    assert limits[1][0] == limits[1][1]
    assert limits[0][0] == pytest.approx(limits[1][0], rel=LIMIT)
    assert limits[0][1] != pytest.approx(limits[1][1], rel=LIMIT)


def members_of(predictions):
    return [predictions[name] for name in ("CMS-PLAIN", "CMS-LINEAR", "CMS-SKEWED")]


def test_combination_as_smodels_with_compat(database, topologies):
    """Its Asimov data are the observed ones (spec: a defect); with `compat` ours are, too."""
    from smodels.matching.theoryPrediction import TheoryPredictionsCombiner

    own, ours = own_and_ours(database, topologies, compat=True)
    theirs = TheoryPredictionsCombiner(members_of(own))
    assert theirs.statsComputer is not None
    with use_jaxlik(compat=True):
        here = TheoryPredictionsCombiner(members_of(ours))
        assert here.statsComputer.subComputers[0].dataType == "analysesComb"
    for data in (kinds()["observed"], kinds()["apriori"]):
        assert here.getRValue(data) == pytest.approx(theirs.getRValue(data), rel=LIMIT)
    found, wanted = here.computeStatistics(), theirs.computeStatistics()
    for key in ("nllbsm", "nllsm", "nll_min"):
        assert found[key] == pytest.approx(wanted[key], abs=1e-5)
    assert found["muhat"] == pytest.approx(wanted["muhat"], abs=1e-4)


def test_combination_is_one_likelihood_with_a_block_matrix(database, topologies):
    """Without `compat` Asimov data are right: the same as all regions in one matrix."""
    from smodels.matching.theoryPrediction import TheoryPredictionsCombiner

    with use_jaxlik():
        ours = predict(database, topologies)
        pair = [ours["CMS-PLAIN"], ours["CMS-LINEAR"]]
        combiner = TheoryPredictionsCombiner(pair)
        found = combiner.statsComputer.getMostSensitiveModel()
        observed = kinds()["observed"]
        assert combiner.getRValue(observed) > 0
    alone, linear = (p.statsComputer.getMostSensitiveModel().family for p in pair)
    model = linear.shared.model
    signal, events, background, error = alone.numbers
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[1:, 1:] = error**2, model.covariance
    joint = simplified_likelihood(
        np.append(events, model.observed), np.append(background, model.background), matrix
    )
    family = SimplifiedFamily(SharedSimplified(joint), np.append(signal, linear.signal))
    wanted = JaxlikComputer(family, "joint", "SL")
    for data in kinds().values():
        assert found.getUpperLimitOnMu(data) == pytest.approx(
            wanted.getUpperLimitOnMu(data), rel=1e-6
        )
        assert found.nll(1.0, data) == pytest.approx(wanted.nll(1.0, data), abs=1e-8)
    likelihoods = combiner.getLlhds(muvals=[0.0, 0.5, 1.0], normalize=False)
    assert set(likelihoods) == {"combined", "CMS-PLAIN", "CMS-LINEAR"}
    product = likelihoods["CMS-PLAIN"] * likelihoods["CMS-LINEAR"]
    np.testing.assert_allclose(likelihoods["combined"], product, rtol=1e-9)


def test_combination_with_another_computer_is_that_of_smodels(both, database, topologies):
    from smodels.matching.theoryPrediction import TheoryPredictionsCombiner
    from smodels.statistics.analysesCombinations import AnaCombLikelihoodComputer

    own, ours = both
    with use_jaxlik():
        combiner = TheoryPredictionsCombiner([own["CMS-PLAIN"], ours["CMS-LINEAR"]])
        (computer,) = combiner.statsComputer.subComputers
    assert isinstance(computer, AnaCombLikelihoodComputer)
    total = own["CMS-PLAIN"].nll(1.0) + ours["CMS-LINEAR"].nll(1.0)
    assert combiner.nll(1.0) == pytest.approx(total, rel=1e-12)


def test_empty_region_where_smodels_holds_the_background():
    """n = 0, b = 2 +- 1.5, s = 1: exact 3.1994, SModelS 4.3244 (its box)."""
    exact = JaxlikComputer(CountingFamily(1.0, 0.0, 2.0, 1.5), "SR", "1bin")
    boxed = JaxlikComputer(CountingFamily(1.0, 0.0, 2.0, 1.5, compat=True), "SR", "1bin")
    constant = 0.5 * np.log(2 * np.pi * 1.5**2)
    assert exact.nll(1.0) == pytest.approx(0.75 + 0.5 * 1.5**2 + constant, abs=1e-10)
    assert boxed.nll(1.0) == pytest.approx(3.0 + constant, abs=1e-10)


def test_negative_signals_and_deviations():
    """One region: the best mu is (n - b)/s, its variance (n + V)/s^2."""
    computer = JaxlikComputer(CountingFamily(4.0, 6.0, 10.0, 2.0), "SR", "1bin")
    assert computer.nll_min()["muhat"] == 0.0
    found = computer.nll_min(allowNegativeSignals=True)
    assert found["muhat"] == pytest.approx(-1.0, abs=1e-8)
    assert found["sigma_mu"] == pytest.approx(np.sqrt(6 + 4) / 4, rel=1e-5)
    assert found["nll_min"] == pytest.approx(computer.nll(-1.0), abs=1e-12)


def test_upper_limit_results_get_a_likelihood(database, topologies, monkeypatch):
    """SModelS 3.2.1 gives none; a Gaussian cut at zero, whose CLs at the limit is 5 %."""
    from smodels.base import runtime

    monkeypatch.setitem(runtime._experimental, "truncatedGaussians", True)
    with use_jaxlik():
        prediction = predict(database, topologies)["CMS-LIMITS"]
        computer = prediction.statsComputer.getMostSensitiveModel()
    limit, expected = (
        float((prediction.getUpperLimit(data) / prediction.xsection).asNumber())
        for data in (kinds()["observed"], kinds()["apriori"])
    )
    assert computer.getUpperLimitOnMu(kinds()["observed"]) == pytest.approx(limit)
    assert computer.getUpperLimitOnMu(kinds()["apriori"]) == pytest.approx(expected)
    assert computer.CLs(limit) == pytest.approx(0.05, abs=1e-8)
    excess = (limit - expected) / (limit + expected)
    width = expected / (1 - 0.6 * max(excess, 0)) / 1.96
    best = computer.nll_min()["muhat"]
    share = stats.norm.cdf((limit - best) / width) - stats.norm.cdf(-best / width)
    assert share / stats.norm.cdf(best / width) == pytest.approx(0.95, abs=1e-8)
    density = stats.norm.logpdf(0.3, best, width) - stats.norm.logcdf(best / width)
    assert prediction.nll(0.3) == pytest.approx(-density, abs=1e-9)
    deficit = JaxlikTruncatedGaussian(0.7, 1.0)
    assert deficit.nll_min()["muhat"] < 0
    assert deficit.nll_min(allowNegativeSignals=False)["muhat"] == 0.0
    assert deficit.CLs(0.7) == pytest.approx(0.05, abs=1e-8)


def test_no_signal_is_no_limit():
    computer = JaxlikComputer(CountingFamily(0.0, 3.0, 2.0, 1.0), "SR", "1bin")
    assert computer.getUpperLimitOnMu() is None
    assert computer.getCLsRootFunc() == (None, None, None)
    assert computer.CLs(1.0) is None
    assert computer.nll_min()["muhat"] == 0.0
    assert computer.nll(5.0) == computer.nll(0.0)


def test_what_smodels_does_afterwards_is_its_own():
    from smodels.statistics import statsTools

    before = statsTools.getCompRetrieverModule
    with use_jaxlik():
        assert statsTools.getCompRetrieverModule is not before
        with use_jaxlik(compat=True):
            assert statsTools.getCompRetrieverModule().compat
        assert not statsTools.getCompRetrieverModule().compat
    assert statsTools.getCompRetrieverModule is before
    with pytest.raises(RuntimeError, match="inside"), use_jaxlik():
        raise RuntimeError("inside")
    assert statsTools.getCompRetrieverModule is before
    switch = use_jaxlik()
    assert statsTools.getCompRetrieverModule is not before
    switch.restore()
    switch.restore()
    assert statsTools.getCompRetrieverModule is before


def test_likelihoods_without_signal_are_made_once(database, topologies):
    with use_jaxlik():
        first, second = (predict(database, topologies) for _ in range(2))
        families = [
            p["CMS-LINEAR"].statsComputer.getMostSensitiveModel().family for p in (first, second)
        ]
    assert families[0].shared is families[1].shared


def test_wrong_questions_and_failed_fits(monkeypatch, caplog, both):
    computer = both[1]["CMS-LINEAR"].statsComputer.getMostSensitiveModel()
    with pytest.raises(ConfigError, match="evaluationType"):
        computer.nll(1.0, "later")
    with pytest.raises(ConfigError, match="Asimov data of mu = 1"):
        computer.nll(1.0, asimov=1.0)
    with pytest.raises(ConfigError, match="return_type"):
        computer.CLs(1.0, return_type="pvalue")

    def broken(self, mu, wanted=None):
        raise ConvergenceError("not today")

    monkeypatch.setattr(BankCurves, "at", broken)
    logger = logging.getLogger("smodels")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.ERROR):
        assert computer.nll(1.0) is None
    assert "not today" in caplog.text or not logger.isEnabledFor(logging.ERROR)


FOLDERS = ("CMS-SUS-16-039-agg", "CMS-SUS-16-048-ma5", "CMS-SUS-16-050-agg")


def modernised(text):
    """A globalInfo.txt of database 3.0.0 with the tags of SModelS 3.2, and the matrix."""
    order = re.search(r"^datasetOrder:\s*(.*)$", text, re.M).group(1)
    names = list(ast.literal_eval(f"({order},)"))
    matrix = re.search(r"^covariance:\s*(\[\[.*?\]\s*\])", text, re.M | re.S).group(1)
    kept = re.sub(r"^covariance:\s*\[\[.*?\]\s*\]\s*$", "", text, flags=re.M | re.S)
    kept = re.sub(r"^datasetOrder:.*$", "", kept, flags=re.M)
    mappings = {name: name for name in names}
    lines = (
        f"regionMappings: {mappings!r}",
        f"regionSets: {{'all': {names!r}}}",
        "statModels: {'all': [('sl', 'covariance.txt')]}",
    )
    return kept.rstrip() + "\n" + "\n".join(lines) + "\n", matrix


@pytest.fixture(scope="module")
def published(reference, tmp_path_factory):
    """Three results with covariances, in the format of SModelS 3.2."""
    from smodels.experiment.databaseObj import Database

    root = tmp_path_factory.mktemp("published")
    with tarfile.open(reference / "data" / "smodels-database-3.0.0.tar.xz") as archive:
        for member in archive:
            parts = member.name.split("/")
            if parts[-1] == "version" or set(parts) & set(FOLDERS):
                archive.extract(member, root, filter="data")
    (top,) = [path.parent for path in root.rglob("version")]
    for folder in FOLDERS:
        (path,) = top.rglob(f"{folder}/globalInfo.txt")
        text, matrix = modernised(path.read_text())
        path.write_text(text)
        (path.parent / "covariance.txt").write_text(matrix)
    return Database(str(top), force_load="txt")


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize("name", ["TChiWZWH_450_150", "proto_01", "T1tttt_1600_400"])
def test_published_results(published, reference, name):
    """With `compat`: 1e-3 of SModelS; without, -ln L is lower where regions are empty."""
    from jaxlik.database.smodels_oracle import decompose_file

    path = reference / "golden" / "smodels" / "points" / f"{name}.slha"
    topologies = decompose_file(path)
    own, compatible = own_and_ours(published, topologies, compat=True)
    with use_jaxlik():
        exact = predict(published, topologies)
        for prediction in exact.values():
            assert prediction.statsComputer is not None
    joint = [key for key, prediction in own.items() if prediction.dataType() == "combined"]
    assert joint
    for key in joint:
        for data in (kinds()["observed"], kinds()["apriori"]):
            wanted = own[key].getRValue(data)
            assert compatible[key].getRValue(data) == pytest.approx(wanted, rel=5e-3), key
            for mu in (0.0, 1.0):
                there = own[key].nll(mu, data)
                assert compatible[key].nll(mu, data) <= there + 1e-6
                assert compatible[key].nll(mu, data) == pytest.approx(there, abs=1e-3)
                assert exact[key].nll(mu, data) <= there + 1e-6
