"""Objectives against closed forms, pyhf, finite differences; checks, and one trace per program."""

import json
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from objective_cases import COUNTS, SIGNAL, correlated, counting, workspace
from random_workspaces import random_workspace
from scipy import stats

from jaxlik.database.hs3 import to_hs3
from jaxlik.database.workspace import flatten_workspace
from jaxlik.database.workspace_signal import flatten_with_signal, region_per_bin
from jaxlik.errors import ConfigError, ModelPointError, WorkspaceError
from jaxlik.fit.assemble import build_engine
from jaxlik.inference.workspace_model import workspace_likelihood
from jaxlik.interop.objective import (
    joint_objective,
    model_point,
    objective_of_engine,
    objective_of_function,
    objective_of_model,
    objective_of_workspace,
    profiled_objective,
)
from jaxlik.interop.objective_nll import BATCH, HESSIAN, VALUE, VALUE_AND_GRADIENT
from jaxlik.interop.scipy_minimize import minimize
from jaxlik.physics.model import point_from_dict
from jaxlik.statmodels.truncated_gaussian import TruncatedGaussian

pyhf_warning = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")


def finite_differences(value_fn, x, step=1e-5):
    return np.array(
        [(value_fn(x + d) - value_fn(x - d)) / (2 * step) for d in step * np.eye(len(x))]
    )


def counting_nll(x):
    """-ln L in deviance form, from SciPy."""
    rate = x[0] * SIGNAL + np.array(COUNTS["background"])
    rate = rate + np.array(COUNTS["background_error"]) * x[1:]
    observed = np.array(COUNTS["observed"])
    logpmf = stats.poisson.logpmf
    main = -np.sum(logpmf(observed, rate) - logpmf(observed, observed))
    return main + 0.5 * np.sum(x[1:] ** 2)


@pytest.mark.parametrize("x", [[0.0, 0.0, 0.0], [1.3, -0.7, 1.1], [2.0, 1.0, -2.0]])
def test_counting_objective_is_the_closed_form(x):
    objective = objective_of_model(counting(), SIGNAL)
    x = np.array(x)
    assert objective.names == ("mu", "nuisance[0]", "nuisance[1]")
    assert objective.value(x) == pytest.approx(counting_nll(x), rel=1e-12)
    value, gradient = objective.value_and_gradient(x)
    assert isinstance(value, float)
    assert type(gradient) is np.ndarray
    assert gradient.dtype == np.float64
    assert value == pytest.approx(counting_nll(x), rel=1e-12)
    np.testing.assert_allclose(gradient, finite_differences(counting_nll, x), rtol=1e-7, atol=1e-7)
    np.testing.assert_array_equal(objective.gradient(x), gradient)
    hessian = finite_differences(objective.gradient, x)
    np.testing.assert_allclose(objective.hessian(x), hessian, rtol=1e-7, atol=1e-7)


def test_batch_is_value_point_by_point():
    objective = objective_of_model(*correlated())
    xs = np.random.default_rng(0).normal(size=(5, 4)) * 0.5
    values = [objective.value(x) for x in xs]
    np.testing.assert_allclose(objective.batch(xs), values, rtol=1e-13)


def test_impossible_points_are_infinite_with_finite_gradients():
    objective = objective_of_model(counting(), SIGNAL, mu_bounds=(-np.inf, np.inf))
    value, gradient = objective.value_and_gradient([-9.0, 0.0, 0.0])
    assert value == np.inf
    assert np.isfinite(gradient).all()


@pyhf_warning
@pytest.mark.parametrize("seed", [3, 17])
def test_workspace_objective_is_minus_the_logpdf_of_pyhf(seed):
    document = random_workspace(seed)
    peer_workspace = pyhf.Workspace(document)
    peer = peer_workspace.model()
    objective = objective_of_workspace(document)
    order = [objective.names.index(name) for name in peer.config.par_names]
    assert sorted(order) == list(range(len(objective.names)))
    np.testing.assert_allclose(objective.initial[order], peer.config.suggested_init())
    np.testing.assert_array_equal(objective.fixed[order], peer.config.suggested_fixed())
    data = peer_workspace.data(peer)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        x = objective.initial + 0.1 * rng.uniform(-1, 1, len(order))
        x = np.where(objective.fixed, objective.initial, x)
        expected = -float(peer.logpdf(x[order], data)[0])
        assert objective.value(x) + objective.constant == pytest.approx(expected, rel=1e-11)


def test_workspace_derivatives_by_hand_are_those_of_jax():
    objective = objective_of_workspace(workspace())
    rng = np.random.default_rng(1)
    x = objective.initial + 0.1 * rng.uniform(-1, 1, objective.num_parameters)
    value, gradient = objective.value_and_gradient(x)
    fixed = objective.fixed
    assert value == pytest.approx(objective.value(x), rel=1e-13)
    automatic = jax.jit(jax.grad(objective.nll.nll))(jnp.asarray(x))
    np.testing.assert_allclose(gradient, np.where(fixed, 0, automatic), rtol=1e-10, atol=1e-10)
    numeric = finite_differences(objective.gradient, x)
    hessian = objective.hessian(x)
    moves = np.ix_(~fixed, ~fixed)
    np.testing.assert_allclose(hessian[moves], numeric[moves], rtol=1e-6, atol=1e-5)
    assert not hessian[fixed].any()
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-14)


def test_sources_of_a_workspace_are_equal(tmp_path):
    document = workspace()
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(document))
    patched = json.loads(json.dumps(document))
    patched["observations"][0]["data"] = [55.0, 31.0]
    patch = [{"op": "replace", "path": "/observations/0/data", "value": [55.0, 31.0]}]
    objective = objective_of_workspace(document)
    x = objective.initial + 0.05
    value = objective.value(x)
    for source in (path, str(path), path.read_text(), flatten_workspace(document)):
        assert objective_of_workspace(source).value(x) == value
    hs3 = objective_of_workspace(to_hs3(document))
    assert sorted(hs3.names) == sorted(objective.names)
    assert hs3.value(hs3.vector(objective.named(x))) == pytest.approx(value, rel=1e-12)
    with_patch = objective_of_workspace(document, patches=[patch])
    assert with_patch.value(x) == objective_of_workspace(patched).value(x) != value
    with pytest.raises(WorkspaceError, match="cannot be read"):
        objective_of_workspace(tmp_path / "nowhere.json")
    with pytest.raises(WorkspaceError, match="not JSON"):
        objective_of_workspace('{"channels": ')


def test_fixed_parameters_stay():
    objective = objective_of_workspace(workspace(), fixed={"scale": 0.3})
    held = {name for name, fixed in zip(objective.names, objective.fixed, strict=True) if fixed}
    assert held == {"lumi", "scale"}
    reduced = objective.reduced
    assert set(reduced.names) == set(objective.names) - held
    x = reduced.initial + 0.05
    full = objective.expanded(x)
    assert objective.named(full)["scale"] == 0.3
    assert reduced.value(x) == objective.value(full)
    np.testing.assert_array_equal(reduced.gradient(x), objective.gradient(full)[objective.free])
    block = np.ix_(objective.free, objective.free)
    np.testing.assert_array_equal(reduced.hessian(x), objective.hessian(full)[block])
    assert objective.gradient(full)[objective.fixed].tolist() == [0.0, 0.0]
    assert reduced.constant == objective.constant
    moved = objective_of_workspace(workspace()).with_fixed({"scale": 0.3})
    assert moved.value(full) == objective.value(full)


def test_profile_is_the_minimum_over_nuisances():
    model, signal = correlated()
    objective = objective_of_model(model, signal).with_fixed({"mu": 0.8})
    profiled = profiled_objective(model, signal)
    best = minimize(objective, "trust-constr", options={"gtol": 1e-10, "xtol": 1e-14})
    assert profiled.names == ("mu",)
    assert profiled.value([0.8]) == pytest.approx(best.fun, rel=1e-8)
    slope = finite_differences(profiled.value, np.array([0.8]), 1e-4)
    np.testing.assert_allclose(profiled.gradient([0.8]), slope, rtol=1e-6)
    single = profiled_objective(counting(), SIGNAL)
    bend = finite_differences(single.gradient, np.array([0.8]), 1e-4)
    np.testing.assert_allclose(single.hessian([0.8]), bend, rtol=1e-6)


def test_joint_objective_is_the_sum():
    first, second = (counting(), SIGNAL), correlated()
    joint = joint_objective(*zip(first, second, strict=True), names=["a", "b"])
    assert joint.names[:3] == ("mu", "a:nuisance[0]", "a:nuisance[1]")
    x = np.random.default_rng(2).normal(size=6) * 0.3
    alone = objective_of_model(*first).value(x[:3])
    alone += objective_of_model(*second).value(np.concatenate([x[:1], x[3:]]))
    assert joint.value(x) == pytest.approx(alone, rel=1e-12)
    both = profiled_objective(*zip(first, second, strict=True))
    single = sum(profiled_objective(*one).value([0.7]) for one in (first, second))
    assert both.value([0.7]) == pytest.approx(single, rel=1e-12)


@pytest.fixture(scope="module")
def workspace_model():
    record, where = flatten_with_signal(region_per_bin(json.dumps(_background()), name="small"))
    return workspace_likelihood(record, where), np.array([6.0, 4.0])


def _background():
    document = workspace()
    del document["channels"][0]["samples"][0]
    return document


def test_workspace_among_the_models(workspace_model):
    model, signal = workspace_model
    objective = objective_of_model(model, signal)
    named = objective_of_workspace(workspace())
    # Same likelihood, other names: the signal has its own mu and the luminosity here too.
    assert objective.num_parameters == named.num_parameters
    assert objective.names[0] == "mu"
    assert objective.value(objective.initial) == pytest.approx(named.value(named.initial))
    moved = objective.with_initial({"mu": 2.0}).initial
    assert objective.value(moved) == pytest.approx(named.value(named.vector({"mu": 2.0})))
    joint = joint_objective([model, counting()], [signal, SIGNAL], names=["w", "c"])
    x = joint.initial
    other = objective_of_model(counting(), SIGNAL)
    both = objective.value(objective.initial) + other.value(other.initial)
    assert joint.value(x) == pytest.approx(both, rel=1e-12)
    assert len(joint.free) == len(objective.free) + 2


def test_functions_of_jaxlik_and_jax_are_objectives():
    def nll(x, models):
        total = sum(0.5 * m.twice_nll(x[0], s, x[1:]) for m, s in models)
        return total + 0.5 * (x[0] - 1) ** 2

    model = counting()
    objective = objective_of_function(
        nll, {"mu": 1.0, "a": 0.0, "b": 0.0}, ((model, jnp.asarray(SIGNAL)),)
    )
    x = np.array([1.4, 0.2, -0.3])
    assert objective.value(x) == pytest.approx(counting_nll(x) + 0.08, rel=1e-12)


def test_new_points_data_and_signals_compile_nothing():
    def sizes():
        return [p._cache_size() for p in (VALUE, VALUE_AND_GRADIENT, HESSIAN, BATCH)]

    def use(objective, shift):
        x = objective.initial + shift
        objective.value(x)
        objective.value_and_gradient(x)
        objective.hessian(x)
        objective.batch(np.stack([x, x]))

    document = workspace()
    use(objective_of_model(counting(), SIGNAL), 0.0)
    use(objective_of_workspace(document), 0.0)
    before = sizes()
    use(objective_of_model(counting(), SIGNAL), 0.1)
    use(objective_of_model(counting(observed=[15.0, 3.0]), SIGNAL * 2, mu=0.4), 0.1)
    document["observations"][0]["data"] = [40.0, 31.0]
    document["channels"][0]["samples"][1]["data"] = [44.0, 23.0]
    use(objective_of_workspace(document), 0.01)
    assert sizes() == before


def test_points_are_checked():
    objective = objective_of_model(counting(), SIGNAL)
    with pytest.raises(ConfigError, match=r"shape \(2,\), wanted \(3,\): mu, nuisance"):
        objective.value([1.0, 2.0])
    with pytest.raises(ConfigError, match=r"parameter nuisance\[0\] is nan"):
        objective.gradient([1.0, np.nan, 0.0])
    with pytest.raises(ConfigError, match=r"shape \(3,\), wanted \(points, 3\)"):
        objective.batch([1.0, 0.0, 0.0])
    with pytest.raises(ConfigError, match="parameters \\['nu'\\] are not of this likelihood"):
        objective.with_fixed({"nu": 1.0})
    with pytest.raises(ConfigError, match="bounds of mu are 2 and 1"):
        objective.with_bounds({"mu": (2.0, 1.0)})
    with pytest.raises(ConfigError, match="signal has shape"):
        objective_of_model(counting(), [1.0])
    with pytest.raises(ConfigError, match="2 models, 1 signals"):
        joint_objective([counting(), counting()], [SIGNAL])
    with pytest.raises(ConfigError, match="mu starts at -1"):
        objective_of_model(counting(), SIGNAL, mu=-1.0)


def test_objectives_can_be_pickled():
    objective = objective_of_workspace(workspace())
    objective.value(objective.initial)
    again = pickle.loads(pickle.dumps(objective))
    assert again.names == objective.names
    assert again.value(again.initial) == objective.value(objective.initial)


def test_models_without_nuisances():
    model = TruncatedGaussian(jnp.array([3.0, 1.0]), jnp.array([2.0, 0.5]))
    objective = objective_of_model(model, [2.0, 1.5])
    assert objective.names == ("mu",)
    expected = 0.5 * (((1.2 * 2 - 3) / 2) ** 2 + ((1.2 * 1.5 - 1) / 0.5) ** 2)
    assert objective.value([1.2]) == pytest.approx(expected, rel=1e-13)
    curvature = (2 / 2) ** 2 + (1.5 / 0.5) ** 2
    assert objective.covariance([1.2])[0, 0] == pytest.approx(1 / curvature, rel=1e-12)


@pytest.mark.reference
def test_full_workspace_has_the_values_and_slopes_of_pyhf(workspace_of):
    golden, document = workspace_of("2018-31-eff/BkgOnlyB")
    objective = objective_of_workspace(document)
    order = []
    for name, first, last, _ in golden["par_sets"]:
        alone = name in objective.names
        names = [name] if alone else [f"{name}[{i}]" for i in range(last - first)]
        order += [objective.names.index(one) for one in names]
    x = np.empty(len(order))
    moves = ~objective.fixed[order]
    for point in golden["points"]:
        x[order] = point["x"]
        value, gradient = objective.value_and_gradient(x)
        assert value + objective.constant == pytest.approx(-point["logpdf"], rel=1e-10)
        wanted = -np.array(point["grad"])[moves]
        np.testing.assert_allclose(gradient[order][moves], wanted, rtol=1e-8, atol=1e-8)


N1, N2 = 1000022, 1000023
MODEL = {
    "masses": {N1: 47.3, N2: 448.1},
    "branching_ratios": {N2: {(N1, 25): 0.6, (N1, 23): 0.4}},
    "signal_strengths": {(N2, N2): 0.21},
}


@pytest.fixture(scope="module")
def engine(thinned):
    return build_engine(thinned)[0]


@pytest.fixture(scope="module")
def model_objective(engine):
    return objective_of_engine(engine, point_from_dict(engine.space, MODEL))


@pytest.mark.slow
def test_model_objective_is_likelihood_and_prior(engine, model_objective):
    x = model_objective.initial
    assert f"mass:{N2}" in model_objective.names
    assert f"branching:{N2}:{N1}:25" in model_objective.names
    point = model_point(model_objective, x)
    np.testing.assert_allclose(point.masses[point.active], sorted(MODEL["masses"].values()))
    compare = eqx.filter_jit(lambda engine, point: engine.compare(point).log_ratio)
    moved = model_objective.vector(
        {f"mass:{N2}": x[model_objective.names.index(f"mass:{N2}")] + 0.1}
    )
    for place in (x, moved):
        log_ratio = float(compare(engine, model_point(model_objective, place)))
        expected = -log_ratio + 0.5 * np.sum(place**2)
        value, gradient = model_objective.value_and_gradient(place)
        assert value == pytest.approx(expected, rel=1e-10)
    numeric = finite_differences(model_objective.value, moved, 1e-5)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_forbidden_models_are_infinite_with_finite_gradients(model_objective):
    x = model_objective.initial
    heavy = x[model_objective.names.index(f"mass:{N2}")]
    forbidden = {
        "the decay to a Higgs boson is closed": {f"mass:{N2}": heavy - 2.0},
        "the critic excludes it": {f"strength:{N2}:{N2}": 7.0},
    }
    for reason, change in forbidden.items():
        value, gradient = model_objective.value_and_gradient(model_objective.vector(change))
        assert value == np.inf, reason
        assert np.isfinite(gradient).all(), reason


def test_model_points_are_checked(engine):
    other = {**MODEL, "masses": {N1: 47.3, N2: 100.0}}
    point = point_from_dict(engine.space, {**MODEL, "masses": {N1: 47.3, N2: 448.1}})
    with pytest.raises(ModelPointError, match="a channel with a branching ratio is closed"):
        objective_of_engine(
            engine, eqx.tree_at(lambda p: p.masses, point, _masses(engine, other, point))
        )
    with pytest.raises(ConfigError, match="target is 'best'"):
        objective_of_engine(engine, point, target="best")
    with pytest.raises(ConfigError, match="wanted one of `objective_of_engine`"):
        model_point(objective_of_model(counting(), SIGNAL), [1.0, 0.0, 0.0])


def _masses(engine, document, point):
    masses = np.array(point.masses)
    for pid, mass in document["masses"].items():
        masses[engine.space.particle_index(pid)] = mass
    return jnp.asarray(masses)


def test_only_what_matters_is_free(engine):
    point = point_from_dict(engine.space, MODEL)
    names = {target: [] for target in ("posterior", "likelihood")}
    for target in names:
        objective = objective_of_engine(engine, point, target=target)
        names[target] = list(objective.reduced.names)
    logits = [n for n in names["posterior"] if n.startswith("branching")]
    # With a prior both logits of the two channels move, without one only their difference.
    assert len(logits) == 2
    assert [n for n in names["likelihood"] if n.startswith("branching")] == logits[1:]


@pytest.mark.slow
def test_scores_are_minus_half_of_k(engine):
    point = point_from_dict(engine.space, MODEL)
    objective = objective_of_engine(engine, point, target="score")
    value, gradient = objective.value_and_gradient(objective.initial)
    score = eqx.filter_jit(lambda engine, point: engine.evaluate(point).score)
    expected = float(score(engine, model_point(objective, objective.initial)))
    assert value == pytest.approx(-0.5 * expected, rel=1e-10)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
