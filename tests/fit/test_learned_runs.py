"""Runs with learned yields: bands against direct shifts, exact scores, what is printed."""

import json

import equinox as eqx
import jax
import numpy as np
import pytest

from jaxlik.database.compile import open_embedded
from jaxlik.database.surrogate_file import open_surrogate, shipped_surrogate
from jaxlik.errors import CheckpointError, ConfigError, DatabaseError
from jaxlik.fit.assemble import build_engine
from jaxlik.fit.bands import _slopes, yield_bands
from jaxlik.fit.config import EngineConfig, FitConfig, check_config
from jaxlik.fit.engines import choose_networks, make_engine, networks_digest
from jaxlik.fit.exact import score_exactly
from jaxlik.fit.finish import Found
from jaxlik.fit.inspection import inspect
from jaxlik.fit.report import models_table, run_report
from jaxlik.fit.store import check_ingredients, create_run
from jaxlik.physics.model import point_from_dict

N1, N2, SQUARK = 1000022, 1000023, 1000001


@pytest.fixture(scope="module")
def learned():
    """Snapshot, engine and labels of the embedded default."""
    snapshot = open_embedded()
    return snapshot, *build_engine(snapshot, surrogate=open_surrogate(shipped_surrogate()))


@pytest.fixture(scope="module")
def point(learned):
    return point_from_dict(
        learned[1].space,
        {
            "masses": {N1: 60.0, N2: 480.0},
            "branching_ratios": {N2: {(N1, 25): 1.0}},
            "signal_strengths": {(N2, N2): 0.6},
        },
    )


@pytest.mark.slow
def test_bands_are_slopes_in_the_shifts_of_maps(learned, point):
    _, engine, _ = learned
    slopes, *_ = _slopes(engine, point)
    slopes = np.asarray(slopes[0])
    assert (slopes != 0).sum() > 5
    score = eqx.filter_jit(
        lambda shift: eqx.tree_at(lambda e: e.yields.shift, engine, shift).evaluate(point).score
    )
    for head in np.argsort(-np.abs(slopes))[:3]:
        step = 1e-3
        ends = [float(score(engine.yields.shift.at[head].set(sign * step))) for sign in (1.0, -1.0)]
        assert slopes[head] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-3, abs=1e-6)
    found = yield_bands(engine, point)
    assert found is not None
    assert found.score == pytest.approx(float(np.sqrt((slopes**2).sum())))
    assert 0.0 <= found.r_max < 1.0
    assert found.fading >= 0


def test_exact_yields_have_no_bands(assembled, winner):
    assert yield_bands(assembled[1], winner) is None
    assert networks_digest(assembled[1]) is None


def test_runs_go_on_only_with_their_networks(learned, tmp_path):
    own = networks_digest(learned[1])
    assert own is not None
    run = create_run(FitConfig(output=tmp_path / "run"), {"database": {"sha256": "a" * 64}})
    plain = {"sha256": "a" * 64}
    check_ingredients(run, plain)
    with pytest.raises(CheckpointError, match=f"now it is {own}"):
        check_ingredients(run, plain | {"networks": own})
    other = create_run(
        FitConfig(output=tmp_path / "other"), {"database": {"sha256": "a" * 64, "networks": own}}
    )
    check_ingredients(other, plain | {"networks": own})
    with pytest.raises(CheckpointError, match=r"now it is \(none, exact"):
        check_ingredients(other, plain)


@pytest.mark.slow
def test_models_carry_their_bands(learned, point):
    snapshot, engine, labels = learned
    model = Found(inspect(engine, labels, point), 7, 3)

    def never():
        raise AssertionError("the embedded snapshot holds no efficiencies")

    scored = score_exactly(engine, labels, [model], snapshot, never)
    assert scored.engine is engine
    (document,) = scored.add_to([{"K": model.score, "particles": {}}])
    entry = document["networks"]
    assert entry["exact"] is False
    assert entry["K"] == model.score
    assert entry["K_band"] > 0
    text = models_table([{"K": 1.0, "Z": 1.0, "particles": {}, **document}], 100)
    assert "90 % band" in text
    assert f"± {entry['K_band']:.2f}" in text
    json.dumps(document)


@pytest.mark.slow
def test_final_models_are_scored_with_the_maps(learned, assembled, point):
    """The thinned snapshot holds maps: its exact engine has the last word."""
    snapshot, exact, labels = assembled
    _, engine, own = learned
    found = [Found(inspect(engine, own, point), 7, 3)]
    scored = score_exactly(engine, labels, found, snapshot, lambda: exact)
    assert scored.engine is exact
    assert scored.learned[0]["exact"] is True
    assert scored.learned[0]["K"] == found[0].score
    assert scored.found[0].score == inspect(exact, labels, point).score
    assert scored.found[0].score != found[0].score
    row = {"K": scored.found[0].score, "Z": 2.0, "particles": {}}
    text = models_table(scored.add_to([row]), 100)
    assert "K (exact)" in text
    assert "K (networks)" in text


def test_exact_searches_say_nothing_of_networks(assembled, winner):
    snapshot, engine, labels = assembled
    model = Found(inspect(engine, labels, winner), 1, 1)
    scored = score_exactly(engine, labels, [model], snapshot, lambda: engine)
    assert scored.learned == []
    assert scored.add_to([{"K": 1.0}]) == [{"K": 1.0}]


def test_yields_are_chosen_by_what_the_database_holds(thinned, tmp_path):
    embedded = open_embedded()
    assert choose_networks(EngineConfig(), thinned) is None
    assert choose_networks(EngineConfig(), embedded) is not None
    assert choose_networks(EngineConfig(yields="networks"), thinned) is not None
    assert choose_networks(EngineConfig(yields="exact"), embedded) is None
    with pytest.raises(ConfigError, match="takes no --networks"):
        choose_networks(EngineConfig(yields="exact", networks=tmp_path / "x.npz"), thinned)
    with pytest.raises(DatabaseError, match="no such file"):
        choose_networks(EngineConfig(networks=tmp_path / "x.npz"), thinned)
    with pytest.raises(ConfigError, match="yields is 'magic'"):
        check_config(FitConfig(engine=EngineConfig(yields="magic")))  # type: ignore[arg-type]
    config = FitConfig(engine=EngineConfig(yields="exact"))
    with pytest.raises(DatabaseError, match="only as hulls"):
        make_engine(config, embedded, None)


def test_reports_state_bands():
    model = {
        "K": 3.0,
        "Z": 2.0,
        "log_prior": -0.5,
        "r_max": 1.1,
        "particles": {},
        "branching_ratios": {},
        "networks": {
            "K": 2.8,
            "Z": 1.9,
            "r_max": 1.2,
            "K_band": 0.4,
            "r_band": 0.03,
            "level": 0.9,
            "fading": 2,
            "exact": True,
        },
    }
    document = {
        "best": [model],
        "database": {"version": "x"},
        "mode": "default",
        "seed": 0,
        "walkers": 1,
        "steps": 1,
        "seconds": 1.0,
        "steps_per_second": 1.0,
    }
    text = run_report(document)
    assert "the networks that found it say K = 2.80 ± 0.40, r_max = 1.20" in text
    assert "r_max ± 3.0 % (90 % bands)" in text
    assert "2 topologies lie in the rim" in text


@pytest.mark.slow
def test_gradients_pass_through_networks(learned, point):
    _, engine, _ = learned

    def value(masses):
        moved = eqx.tree_at(lambda p: p.masses, point, masses)
        return engine.evaluate(moved).z_squared

    slopes = np.asarray(eqx.filter_jit(jax.grad(value))(point.masses))
    active = np.asarray(point.active)
    assert np.isfinite(slopes).all()
    assert (slopes[active] != 0).all()
