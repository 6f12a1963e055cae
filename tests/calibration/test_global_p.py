"""p-values from pseudo-experiments, the published ones, and Bayes factors of fixed models."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from jaxlik.calibration.evidence import log_bayes_factor, log_ratios, make_hypotheses
from jaxlik.calibration.global_p import (
    clopper_pearson,
    global_p,
    split_uniformity,
    summary,
    trials_factor,
)
from jaxlik.calibration.pseudo_data import Recipe
from jaxlik.calibration.published import published_p, published_summaries, read_published
from jaxlik.calibration.universe import make_multiverse
from jaxlik.errors import ConfigError, DatabaseError
from jaxlik.fit.__main__ import main
from jaxlik.fit.assemble import build_engine
from jaxlik.fit.calibration_report import calibration_document, calibration_report, closure


def test_counting():
    found = global_p(2.0, [0.0, 1.0, 2.0, 3.0, -math.inf])
    assert (found.above, found.number, found.p) == (2, 5, 0.4)
    assert found.interval[0] < 0.4 < found.interval[1]
    none = global_p(9.0, [0.0, 1.0, 2.0, 3.0])
    assert none.is_bound
    assert none.p == 0
    assert none.significance == pytest.approx(stats.norm.isf(none.interval[1]))
    with pytest.raises(ConfigError, match="at least one"):
        global_p(1.0, [])


def test_intervals_are_binomial():
    low, high = clopper_pearson(11, 50)
    assert stats.binom.sf(10, 50, low) == pytest.approx(0.16, rel=1e-9)
    assert stats.binom.cdf(11, 50, high) == pytest.approx(0.16, rel=1e-9)
    assert clopper_pearson(0, 10)[0] == 0
    assert clopper_pearson(10, 10)[1] == 1


def test_failed_searches_count_as_below_everything():
    values = list(np.linspace(0, 5, 40))
    whole, half = global_p(2.5, values), global_p(2.5, [*values, *[-math.inf] * 40])
    assert half.p_kde == pytest.approx(whole.p_kde / 2, rel=1e-12)
    assert half.p == whole.p / 2
    assert summary([*values, -math.inf]).number == 41
    assert math.isnan(global_p(1.0, [1.0, 1.0]).p_kde)
    assert math.isnan(summary([-math.inf]).mean)


def test_trials_factor():
    local = stats.norm.sf(3.0)
    assert trials_factor(3.0, 1 - (1 - local) ** 100) == pytest.approx(100, rel=1e-9)
    assert math.isnan(trials_factor(3.0, 0.0))


@pytest.mark.statistical
def test_halves_agree_when_they_should():
    """KS of two halves of 600 equal draws: 1 false alarm in 1000; a shift of 1 sigma is seen."""
    values = np.random.default_rng(0).normal(size=600)
    p, ks = split_uniformity(values)
    assert len(p) == 300
    assert ks > 1e-3
    assert split_uniformity(np.concatenate([values[:300], values[300:] + 1]))[1] < 1e-6


@pytest.mark.reference
def test_the_published_p_value(reference, tmp_path, capsys):
    """arXiv:2012.12246: 0.19 by density; families and their K (spec of the published runs)."""
    archive = reference / "data" / "protomodels-2012.12246.tar.xz"
    runs = read_published(archive)
    found = published_p(runs)
    assert found.observed == pytest.approx(6.763, abs=1e-3)
    assert found.p_kde == pytest.approx(0.1917, abs=1e-4)
    assert (found.above, found.number) == (11, 50)
    wanted = {
        "fake": (50, 4.60, 0.28, 10.88),
        "real": (10, 6.76, 6.58, 6.90),
        "narrowfudged": (10, 9.44, 5.83, 12.28),
        "signal": (20, 9.70, 4.71, 24.2),
        "scaled": (10, 9.89, 6.46, 12.1),
        "narrow": (10, 7.46, 4.42, 11.4),
        "cryo": (10, 7.93, 7.69, 8.15),
        "frozen": (10, 8.38, 8.14, 8.60),
        "double": (10, 21.6, 13.7, 28.6),
        "iced": (10, 21.4, 21.3, 21.6),
    }
    for name, one in published_summaries(runs).items():
        assert (one.number, one.mean, one.low, one.high) == pytest.approx(wanted[name], abs=0.051)
    target = tmp_path / "published"
    given = ["calibrate", "--published", str(archive), "--output", str(target), "--quiet"]
    assert main(given) == 0
    assert "p = 0.1917 by kernel density, 0.22 by counting (11 of 50)" in capsys.readouterr().out
    document = json.loads((target / "summary.json").read_text())
    assert document["p_global"]["p_kde"] == pytest.approx(found.p_kde)
    assert (target / "kvalues.png").stat().st_size > 10_000


@pytest.mark.parametrize("text", ["[]", "{}", '{"runs": {"fake": {"1": {}}}}', "no json"])
def test_damaged_archives(text, tmp_path):
    (tmp_path / "K_values.json").write_text(text)
    with pytest.raises(DatabaseError, match=r"K_values|read"):
        read_published(tmp_path)
    with pytest.raises(DatabaseError, match="cannot be read"):
        read_published(tmp_path / "nothing")


@pytest.fixture(scope="module")
def hypotheses(thinned):
    from walkers.leads import find_leads, lead_models, sample_masses
    from walkers.target import EngineTarget

    engine, _ = build_engine(thinned)
    target = EngineTarget(engine)
    leads = find_leads(engine.space, engine.yields)
    masses = sample_masses(leads, engine.yields, 1, 0)
    points = lead_models(engine.space, leads, masses, target.reference_fn, 8)
    return engine, make_hypotheses(engine, points, expected=1.0)


@pytest.mark.slow
def test_ratios_of_stored_predictions_are_those_of_models(hypotheses):
    import equinox as eqx

    engine, stored = hypotheses
    assert stored.number > 5
    found = log_ratios(engine, stored)
    compare = eqx.filter_jit(lambda engine, point: engine.compare(point))
    for row in (0, stored.number // 2, stored.number - 1):
        import jax

        point = jax.tree.map(lambda leaf, row=row: leaf[row], stored.points)
        assert found[row] == pytest.approx(float(compare(engine, point).log_ratio), abs=1e-9)
    assert log_bayes_factor(np.array([0.0, math.nan, math.log(3.0)])) == pytest.approx(
        math.log(5 / 3)
    )


@pytest.mark.slow
@pytest.mark.statistical
def test_bayes_factors_average_to_one(hypotheses, thinned):
    """Mean of 100 databases within 5 standard errors and 0.1 for profiling; P(B > 20) < 1/20."""
    engine, stored = hypotheses
    m = make_multiverse(thinned, engine)
    recipe = Recipe(seed=3)
    factors = np.exp(
        [
            log_bayes_factor(log_ratios(m.engine_of(m.data(i, recipe), recipe), stored))
            for i in range(100)
        ]
    )
    error = factors.std() / math.sqrt(len(factors))
    assert abs(factors.mean() - 1) < 5 * error + 0.1
    assert (factors > 20).mean() < 1 / 20 + 0.05


def result(index, k, masses, log_b=0.1):
    z = None if k is None else math.sqrt(max(k, 0.0) + 3)
    return {"index": index, "K": k, "Z": z, "r_max": 1.0, "masses": masses, "model": "{}",
            "largest_z": 3.0, "log_bayes_factor": log_b}  # fmt: skip


def test_documents_and_reports():
    real = [result(-1, 5.0, {"1000022": 100.0, "1000006": 800.0})]
    fake = [result(i, k, {"1000022": 1.0}) for i, k in enumerate([1.0, 2.0, 6.0, None, 3.0, 4.0])]
    document = calibration_document({"mode": "default"}, {"version": "x"}, real, fake, None)
    json.dumps(document, allow_nan=False)
    assert document["p_global"]["above"] == 1
    assert document["p_global"]["p"] == pytest.approx(1 / 6)
    text = calibration_report(document, 100)
    assert "1 of 6" in text
    assert "Bayes factor" in text
    injected = calibration_document({"mode": "default"}, {"version": "x"}, [], fake, [1000022])
    assert injected["closure"]["exact"] == 6
    assert "6/6" in calibration_report(injected, 100)


def test_closure_counts_particles():
    found = closure(
        [
            result(0, 1.0, {"1000022": 1.0, "1000006": 2.0}),
            result(1, 1.0, {"1000022": 1.0, "1000006": 2.0, "1000024": 3.0}),
            result(2, 1.0, {"1000022": 1.0}),
        ],
        [1000022, 1000006],
    )
    assert found["found"] == {"1000006": 2, "1000022": 3}
    assert (found["all_found"], found["exact"]) == (2, 1)


def test_searches_are_compared_with_the_injected_model():
    ks = [(3.0, 2.0), (1.0, 2.5), (None, 0.5), (4.0, 4.0), (9.0, None)]
    found = [result(n, k, {"1000022": 1.0}) | {"K_injected": t} for n, (k, t) in enumerate(ks)]
    document = calibration_document({"mode": "default"}, {"version": "x"}, [], found, [1000022])
    # Only searches of data on which the injected model has a K count, and equality suffices.
    assert document["closure"]["reached"] == 2
    spread = document["closure"]["K_injected"]
    assert (spread["number"], spread["low"], spread["high"]) == (4, 0.5, 4.0)
    assert spread["mean"] == pytest.approx(2.25)
    assert "reached by 2 of 4 searches" in calibration_report(document, 100)
    assert "K_injected" not in closure([result(0, 1.0, {"1000022": 1.0})], [1000022])


def test_light_squarks_are_one_kind():
    found = closure([result(0, 1.0, {"1000022": 1.0, "1000004": 2.0})], [1000022, 1000001])
    assert found["found"] == {"1000001": 1, "1000022": 1}
    assert found["exact"] == 1
