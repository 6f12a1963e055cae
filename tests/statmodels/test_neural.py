"""Learned likelihoods against onnxruntime, finite differences, and exact counting."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from network_files import (
    MU0,
    OUTPUTS,
    layers,
    learned_poisson,
    metadata,
    onnx_bytes,
    poisson_changes,
    random_layers,
    run,
)
from onnx import helper
from scipy import optimize, stats

from jaxlik.database.onnx_reader import OPERATORS, neural_record
from jaxlik.database.records import LEARNED_OUTPUTS, NetworkRecord
from jaxlik.errors import DatabaseError, Status
from jaxlik.inference.asymptotics import hypothesis_test
from jaxlik.inference.limits import find_upper_limit
from jaxlik.inference.mle import fit_mu
from jaxlik.inference.profile import likelihood_pair, profile
from jaxlik.statmodels.build import build
from jaxlik.statmodels.network import KERNELS, evaluate
from jaxlik.statmodels.poisson import PoissonCounting

BACKGROUND = np.array([6.0, 2.5, 37.0])  # the control region as observed
SIGNAL = jnp.array([3.0, 1.5, 0.4])
RNG = np.random.default_rng(1)
MATRIX = RNG.normal(0, 0.5, (8, 8))
ROW = RNG.uniform(0.2, 1.5, 8)
SQUARE = RNG.uniform(0.5, 1.5, (8, 8))


def record_of(content):
    return neural_record(NetworkRecord("ATLAS-SUSY-0000-02", "net.onnx", content))


@pytest.fixture(scope="module")
def learned():
    """The model that learned counting, and onnxruntime's answer to yields."""
    content, changes_fn = learned_poisson()
    return build(record_of(content)), changes_fn


def changes_of(content):
    record = record_of(content)
    weights = {key: jnp.asarray(value) for key, value in record.weights.items()}
    return lambda yields: evaluate(record.operations, weights, jnp.asarray(yields))


def assert_close(content, yields):
    """JAX and onnxruntime agree; the file and onnxruntime are of single precision."""
    expected = np.concatenate([run(content, row)[:, :4] for row in yields])
    actual = jax.vmap(changes_of(content))(jnp.asarray(yields))
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def ints(*values):
    return np.array(values, np.int64)


def node(kind, *names, **attributes):
    """A node from the hidden layer `h` and these constants to `y`."""
    return [helper.make_node(kind, ["h", *names], ["y"], **attributes)]


# Between two layers of eight: nodes from h (8 columns, of both signs) or p (positive) to y.
CASES = {
    "Add": (node("Add", "c"), {"c": ROW}),
    "Sub scalar": (node("Sub", "c"), {"c": np.array(0.3)}),
    "Mul": (node("Mul", "c"), {"c": ROW[None]}),
    "Div": (node("Div", "c"), {"c": ROW}),
    "Pow": ([helper.make_node("Pow", ["p", "c"], ["y"])], {"c": np.array(1.5)}),
    "Pow integer": (node("Pow", "c"), {"c": ints(2)}),
    "Min": (node("Min", "c"), {"c": ROW - 0.7}),
    "Max": ([helper.make_node("Max", ["h", "p", "c"], ["y"])], {"c": ROW}),
    "MatMul": (node("MatMul", "c"), {"c": MATRIX}),
    "Gemm": (node("Gemm", "c", "d", alpha=0.5, beta=2.0), {"c": MATRIX, "d": ROW}),
    "Gemm without bias": (node("Gemm", "c", transB=1), {"c": MATRIX}),
    "Gemm transposed": (
        [
            helper.make_node("Gemm", ["h", "c"], ["t"], transA=1, transB=1),
            helper.make_node("MatMul", ["h", "t"], ["y"]),
        ],
        {"c": np.ones((8, 1))},
    ),
    **{
        kind: (node(kind), {})
        for kind in "Neg Abs Erf Sinh Asinh Relu Sigmoid Tanh Softplus Identity Exp".split()
    },
    "Log": ([helper.make_node("Log", ["p"], ["y"])], {}),
    "Sqrt": ([helper.make_node("Sqrt", ["p"], ["y"])], {}),
    "LeakyRelu": (node("LeakyRelu", alpha=0.2), {}),
    "Elu": (node("Elu", alpha=1.3), {}),
    "Selu": (node("Selu"), {}),
    "Selu changed": (node("Selu", alpha=1.2, gamma=0.9), {}),
    "Gelu": (node("Gelu"), {}),
    "Gelu tanh": (node("Gelu", approximate="tanh"), {}),
    "Clip": (node("Clip", "c", "d"), {"c": np.array(-0.3), "d": np.array(0.4)}),
    "Clip above": (node("Clip", "", "d"), {"d": np.array(0.1)}),
    "BatchNormalization": (
        node("BatchNormalization", "c", "d", "e", "f", epsilon=1e-3),
        {"c": ROW, "d": ROW - 1, "e": MATRIX[0], "f": ROW},
    ),
    "Concat": (
        [
            *(helper.make_node("Slice", ["h", a, b, "one"], [c]) for a, b, c in ("zdl", "deu")),
            helper.make_node("Concat", ["u", "l"], ["y"], axis=-1),
        ],
        {"z": ints(0), "d": ints(3), "e": ints(8), "one": ints(1)},
    ),
    "Slice backwards": (
        node("Slice", "s", "e", "a", "t"),
        {"s": ints(-1), "e": ints(-(2**62)), "a": ints(1), "t": ints(-1)},
    ),
    "Gather": (node("Gather", "i", axis=1), {"i": ints(7, 0, 1, 2, -2, 3, 3, 0)}),
    "Gather one": (
        [
            helper.make_node("Gather", ["h", "i"], ["g"], axis=1),
            helper.make_node("Unsqueeze", ["g", "a"], ["u"]),
            helper.make_node("Add", ["u", "h"], ["y"]),
        ],
        {"i": np.array(5), "a": ints(1)},
    ),
    "Flatten": (
        [
            helper.make_node("Reshape", ["h", "s"], ["r"]),
            helper.make_node("Flatten", ["r"], ["y"]),
        ],
        {"s": ints(0, 2, -1)},
    ),
    "Reshape": (
        [
            helper.make_node("Constant", [], ["s"], value_ints=[-1, 2, 2, 2]),
            helper.make_node("Reshape", ["h", "s"], ["r"]),
            helper.make_node("Constant", [], ["t"], value_ints=[-1, 8]),
            helper.make_node("Reshape", ["r", "t"], ["y"]),
        ],
        {},
    ),
    "Squeeze": (
        [
            helper.make_node("Unsqueeze", ["h", "a"], ["u"]),
            helper.make_node("Mul", ["u", "c"], ["v"]),
            helper.make_node("Squeeze", ["v", "a"], ["y"]),
        ],
        {"a": ints(2), "c": ROW[:, None]},
    ),
    "ReduceSum": (
        [
            helper.make_node("ReduceSum", ["h", "a"], ["s"]),
            helper.make_node("Sub", ["h", "s"], ["y"]),
        ],
        {"a": ints(1)},
    ),
    "ReduceMean": (
        [
            helper.make_node("ReduceMean", ["h", "a"], ["m"], keepdims=0),
            helper.make_node("Unsqueeze", ["m", "a"], ["u"]),
            helper.make_node("Sub", ["h", "u"], ["y"]),
        ],
        {"a": ints(-1)},
    ),
    "ReduceSum of nothing": (node("ReduceSum", noop_with_empty_axes=1), {}),
    "Cast and Dropout": (
        [
            helper.make_node("Cast", ["h"], ["d"], to=11),
            helper.make_node("Cast", ["d"], ["f"], to=1),
            helper.make_node("Dropout", ["f"], ["y"]),
        ],
        {},
    ),
    "Constant": (
        [
            helper.make_node("Constant", [], ["c"], value_float=0.7),
            helper.make_node("Identity", ["c"], ["d"]),
            helper.make_node("Mul", ["h", "d"], ["y"]),
        ],
        {},
    ),
}


def case_file(name):
    """First layer to h, p = exp(h), the case, last layer from y."""
    nodes, weights = CASES[name]
    ends, constants = random_layers(3, (3, 8, 8))
    first, activation, last = ends
    first.output[0] = activation.input[0] = "h"
    activation.op_type, activation.output[0] = "Exp", "p"
    last.input[0] = "y"
    return onnx_bytes([first, activation, *nodes, last], {**constants, **weights})


@pytest.mark.parametrize("name", CASES)
def test_operators_match_onnxruntime(name):
    assert_close(case_file(name), RNG.uniform(0, 2, (5, 3)))


def test_every_operator_is_computed_and_compared():
    assert set(KERNELS) == {*OPERATORS, "SignedLog", "SignedExp"}
    used = {step.op_type for nodes, _ in CASES.values() for step in nodes}
    assert used >= set(OPERATORS)


@pytest.mark.parametrize("activation", ["Tanh", "Gelu", "Softplus", "Selu"])
@pytest.mark.parametrize("depth", [1, 4])
def test_random_networks_match_onnxruntime(activation, depth):
    content = onnx_bytes(*random_layers(depth, (3, *(24,) * depth, 8), activation))
    assert_close(content, RNG.uniform(0, 3, (20, 3)))


def test_transformations_surround_the_network():
    mean, std = RNG.normal(size=4), RNG.uniform(0.5, 1.5, 4)
    fields = metadata(
        preprocessing={
            "features_pipeline": ["log_w_negatives", "standardization"],
            "nLLs_pipeline": {
                "per_output": {
                    "nLL_exp": ["log_w_negatives", "standardization"],
                    "nLLA_exp": ["standardization"],
                    "nLL_obs": ["log"],
                    "nLLA_obs": ["asinh", "standardization"],
                },
                "asinh_scale": 3.0,
            },
        },
        standardization={
            "features_mean": mean[:3].tolist(),
            "features_std": std[:3].tolist(),
            "nLLs_mean": [mean.tolist()],
            "nLLs_std": [std.tolist()],
        },
    )
    content = onnx_bytes(*random_layers(2), fields)
    yields = np.array([[4.0, 0.0, 11.0], [-0.3, 2.0, 0.5]])
    logs = np.sign(yields) * np.log1p(np.abs(yields))
    raw = run(content, (logs - mean[:3]) / std[:3])[:, :4]
    scaled = raw * std + mean
    expected = np.stack(
        [
            np.sign(scaled[:, 0]) * np.expm1(np.abs(scaled[:, 0])),
            np.exp(raw[:, 1]),
            scaled[:, 2],
            3 * np.sinh(scaled[:, 3]),
        ],
        axis=1,
    )
    actual = jax.vmap(changes_of(content))(jnp.asarray(yields))
    np.testing.assert_allclose(actual, expected, rtol=3e-6)


@pytest.mark.slow
def test_derivatives_match_finite_differences(learned):
    model, _ = learned

    def fn(mu, signal):
        return model.profiled_twice_nll(jnp.asarray(mu), jnp.asarray(signal))

    check_grads(fn, (jnp.asarray(0.8), SIGNAL), order=2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["Relu", "Elu", "Sigmoid", "LeakyRelu"])
def test_slope_of_random_networks_matches_finite_differences(activation):
    changes_fn = changes_of(onnx_bytes(*random_layers(7, activation=activation)))
    check_grads(changes_fn, (jnp.array([0.4, 1.7, 0.9]),), order=1, rtol=1e-6, atol=1e-6)


def test_slope_is_finite_where_nothing_is_expected():
    fields = metadata(
        preprocessing={
            "features_pipeline": ["log_w_negatives"],
            "nLLs_pipeline": ["log_w_negatives"],
        }
    )
    nodes, weights = layers([np.eye(8, 3)], [np.zeros(8)])
    slope = jax.jacobian(changes_of(onnx_bytes(nodes, weights, fields)))(jnp.zeros(3))
    np.testing.assert_allclose(slope, np.eye(4, 3), rtol=1e-12)


def test_one_trace_serves_all_signals_and_they_vectorise(learned):
    model, changes_fn = learned

    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def fn(model, mu, signals):
        return jax.vmap(model.profiled_twice_nll, in_axes=(None, 0))(mu, signals)

    for mu in (0.5, 2.0):
        signals = RNG.uniform(0, 3, (6, 3))
        actual = fn(model, jnp.asarray(mu), jnp.asarray(signals))
        expected = 2 * (MU0["nLL_obs"] + changes_fn(BACKGROUND + mu * signals)[:, 1])
        np.testing.assert_allclose(actual, expected, rtol=1e-7)


def nll_pair(changes_fn, expected):
    """-2 ln L of data and Asimov data by onnxruntime."""
    which = (0, 2) if expected else (1, 3)

    def one(index):
        def twice_nll(mu):
            changes = changes_fn(BACKGROUND + mu * np.asarray(SIGNAL))
            return 2 * (MU0[OUTPUTS[index]] + changes[0, index])

        return twice_nll

    return [one(index) for index in which]


def cls_of(mu, fns, minima):
    """CLs of formulas, from functions and their (position, value) at the best mu."""
    q = fns[0](mu) - minima[0][1] if minima[0][0] <= mu else 0.0
    q_asimov = fns[1](mu) - minima[1][1]
    root, root_asimov = np.sqrt(max(q, 0.0)), np.sqrt(q_asimov)
    if q <= q_asimov:
        return stats.norm.sf(root) / stats.norm.cdf(root_asimov - root)
    above, below = (q + q_asimov) / (2 * root_asimov), (q - q_asimov) / (2 * root_asimov)
    return stats.norm.sf(above) / stats.norm.sf(below)


@pytest.mark.parametrize("expected", [False, True], ids=["observed", "a-priori"])
def test_fit_cls_and_limit_match_onnxruntime_and_scipy(learned, expected):
    model, changes_fn = learned
    fns = nll_pair(changes_fn, expected)
    minima = []
    for fn in fns:
        found = optimize.minimize_scalar(fn, bounds=(0, 5), options={"xatol": 1e-5})
        best = min((fn(0.0), 0.0), (found.fun, found.x))
        minima.append((best[1], best[0]))
    observed_fn, asimov_fn = likelihood_pair(model, SIGNAL, expected=expected)
    best, best_asimov = fit_mu(observed_fn), fit_mu(asimov_fn)
    # onnxruntime knows -2 ln L to 1e-6 and so its minimum to some 1e-3.
    np.testing.assert_allclose(best.mu_hat, minima[0][0], atol=5e-3)
    np.testing.assert_allclose(best.twice_nll, minima[0][1], rtol=1e-7)
    tested = hypothesis_test(jnp.asarray(1.5), observed_fn, asimov_fn, best, best_asimov)
    np.testing.assert_allclose(tested.cls, cls_of(1.5, fns, minima), rtol=1e-4)
    limit = find_upper_limit(observed_fn, asimov_fn)
    assert limit.status == Status.success
    wanted = optimize.brentq(lambda mu: cls_of(mu, fns, minima) - 0.05, 1.0, 6.0, xtol=1e-6)
    np.testing.assert_allclose(limit.mu, wanted, rtol=1e-4)


def test_a_learned_counting_experiment_gives_its_limit(learned):
    model, _ = learned
    exact = PoissonCounting(np.array([9.0, 2.0, 37.0]), BACKGROUND, np.zeros(3))
    limits = [find_upper_limit(*likelihood_pair(m, SIGNAL)).mu for m in (model, exact)]
    # The network is an approximation, good to some 1e-3 of the changes.
    np.testing.assert_allclose(limits[0], limits[1], rtol=2e-3)
    assert model.domain_distance(limits[0], SIGNAL) == 0.0
    assert np.abs(model.mismatch()).max() < 1e-3
    yields = BACKGROUND + RNG.uniform(0, 1, (100, 3)) * np.array([15.0, 9.0, 3.0])
    actual = jax.vmap(lambda y: evaluate(model.operations, model.weights, y))(jnp.asarray(yields))
    np.testing.assert_allclose(actual, poisson_changes(yields), atol=2e-2)


@pytest.mark.slow
def test_limit_is_differentiable_in_the_signal(learned):
    model, _ = learned

    @jax.jit
    def limit(signal):
        return find_upper_limit(*likelihood_pair(model, signal)).mu

    # Twice the signal, half the limit.
    slope = jax.grad(limit)(SIGNAL)
    np.testing.assert_allclose(jnp.sum(slope * SIGNAL), -limit(SIGNAL), rtol=1e-6)


def test_asimov_data_are_networks_of_their_own(learned):
    model, _ = learned
    zero, nothing = jnp.asarray(0.0), jnp.zeros(3)
    assert model.output == "nLL_obs"
    for fitted, then, expected in [
        (True, None, "nLLA_obs"),
        (True, True, "nLLA_obs"),
        (False, None, "nLL_exp"),
        (False, True, "nLLA_exp"),
        (False, False, "nLL_exp"),
    ]:
        other = model.background_asimov(fitted=fitted)
        other = other if then is None else other.background_asimov(fitted=then)
        assert other.output == expected
        fit = profile(other, zero, nothing)
        assert fit.status == Status.success
        assert abs(fit.twice_nll - 2 * MU0[expected]) < 1e-3
    np.testing.assert_array_equal(model.observed, [9.0, 2.0, 37.0])
    expected_data = model.background_asimov(fitted=False).observed
    np.testing.assert_array_equal(expected_data, BACKGROUND)
    assert jnp.isnan(model.background_asimov().observed).all()
    with pytest.raises(DatabaseError, match="knows its own data only"):
        model.with_observed(nothing)


def test_distance_from_the_training_is_counted_in_its_width(learned):
    model, _ = learned
    low, high = model.domain
    signal = jnp.array([0.0, 2 * (high[1] - low[1]), 0.0])
    wanted = 2 - (high[1] - BACKGROUND[1]) / (high[1] - low[1])
    np.testing.assert_allclose(model.domain_distance(jnp.asarray(1.0), signal), wanted, rtol=1e-12)
    unknown = build(record_of(onnx_bytes(*random_layers(1))))
    assert unknown.domain_distance(jnp.asarray(9.0), signal) == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nll_background": np.array([211.0, 213.5, 4.0, 210.9])}, "network's nLLA_exp is 2.*3%"),
        ({"nll_background": np.zeros(4)}, "check the types of control regions"),
        ({"observed": np.ones(2)}, r"observed events has shape \(2,\)"),
        ({"background": np.array([1.0, -1.0, 2.0])}, "background of region 1 is -1"),
    ],
)
def test_contradictions_are_named(changes, message):
    shift = np.full(8, -2.0)
    nodes, weights = layers([np.zeros((8, 3))], [shift])
    record = record_of(onnx_bytes(nodes, weights))
    with pytest.raises(DatabaseError, match=message):
        build(dataclasses.replace(record, **changes))


@pytest.mark.parametrize(
    ("nodes", "weights", "message"),
    [
        (*random_layers(1, (3, 8, 2)), r"answers with shape \(2,\) to 3 yields"),
        (*random_layers(1, (4, 8)), "does not run on 3 yields"),
    ],
)
def test_networks_of_another_shape_are_refused(nodes, weights, message):
    with pytest.raises(DatabaseError, match=message):
        build(record_of(onnx_bytes(nodes, weights)))


def test_outputs_are_named_in_the_order_of_the_files():
    assert LEARNED_OUTPUTS == OUTPUTS
