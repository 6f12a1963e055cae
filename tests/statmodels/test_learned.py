"""Learned likelihoods: the formula, exact zero, derivatives, data sets, limits, files."""

import json
import zipfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

from jaxlik.database.archive import write_archive
from jaxlik.database.learned_file import ARRAYS, LAYERS, MANIFEST, open_learned, write_learned
from jaxlik.errors import DatabaseError, Status
from jaxlik.inference.limits import find_upper_limit, upper_limit
from jaxlik.inference.mle import fit_mu
from jaxlik.inference.profile import likelihood_pair, profile, profiled_twice_nll_fn
from jaxlik.inference.test_statistics import q_mu_tilde, t_mu
from jaxlik.statmodels.learned import BENDS, learned_likelihood

REGIONS, WIDTH, MEMBERS = 3, 5, 2
SIGNAL = jnp.array([2.0, 0.5, 4.0])
ONE = jnp.asarray(1.0)


def arrays(*, random=1.0):
    """Networks of random weights around two convex functions of each region."""
    rng = np.random.default_rng(8)
    shapes = {
        "first": (WIDTH, REGIONS + 1),
        "first_bias": (WIDTH,),
        "second": (WIDTH, WIDTH),
        "second_bias": (WIDTH,),
        "head": (2, REGIONS, WIDTH),
        "head_bias": (2, REGIONS),
    }
    found = {
        f"member.{name}": (random * rng.normal(size=(MEMBERS, *shape))).astype(np.float32)
        for name, shape in shapes.items()
    }
    own = np.zeros((MEMBERS, len(BENDS), 2, REGIONS), np.float32)
    own[:, 0], own[:, 1], own[:, 2, 0] = 6.0, -6.0, -0.8
    found["member.own"] = own
    rest = {
        "scale": np.array([1.5, 0.5, 3.0]),
        "radius": np.array(5.0),
        "counts": np.array([[4.0, 1.0, 8.0], [3.2, 0.9, 8.8]]),
        "nominal": np.array([3.0, 1.1, 9.0]),
        "twice_nll_background": np.array([2.5, 0.0]),
        "band": np.array([0.02, 0.01]),
    }
    return found | rest


def manifest():
    return {
        "workspace": {"name": "w.json", "sha256": "0" * 64},
        "regions": ["A", "B", "C"],
        "recipe": {},
        "validation": {"signals": 3},
        "versions": {},
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_learned(tmp_path_factory.mktemp("learned") / "l.npz", arrays(), manifest())


@pytest.fixture(scope="module")
def model(file):
    return learned_likelihood(file)


@pytest.fixture(scope="module")
def smooth(tmp_path_factory):
    """Without the random part: one minimum in mu."""
    path = tmp_path_factory.mktemp("learned") / "s.npz"
    return learned_likelihood(write_learned(path, arrays(random=0.0), manifest()))


def by_hand(mu, signal, data_set):
    """The formula of the module, in NumPy."""
    found = {name: np.asarray(value, float) for name, value in arrays().items()}
    u = mu * np.asarray(signal) / found["scale"]
    x = np.append(np.arcsinh(u), np.sqrt(1 + u @ u) - 1)

    def silu(z):
        return z / (1 + np.exp(-z))

    total = 0.0
    for m in range(MEMBERS):
        w = {name: found[f"member.{name}"][m] for name in LAYERS}
        h = silu(w["first"] @ x + w["first_bias"])
        h = silu(w["second"] @ h + w["second_bias"])
        total += u @ (w["head"][data_set] @ h + w["head_bias"][data_set])
        total += sum(w["own"][j, data_set] @ np.arcsinh(b * u) / b for j, b in enumerate(BENDS))
    return total / MEMBERS


@pytest.mark.parametrize("mu", [0.3, 1.0, 4.0])
def test_it_is_the_formula(model, mu):
    for k, one in enumerate((model, model.background_asimov())):
        change = by_hand(mu, SIGNAL, k)
        assert float(one.change(jnp.asarray(mu), SIGNAL)) == pytest.approx(change, rel=1e-12)
        whole = change + (2.5 if k == 0 else 0.0)
        assert float(one.profiled_twice_nll(jnp.asarray(mu), SIGNAL)) == pytest.approx(whole)


def test_no_signal_changes_nothing_at_all(model):
    nothing = jax.jit(jax.vmap(lambda s: model.member_changes(ONE, s)))(jnp.zeros((7, 3)))
    assert (np.asarray(nothing) == 0.0).all()
    assert (np.asarray(model.member_changes(jnp.asarray(0.0), SIGNAL)) == 0.0).all()
    assert float(model.twice_nll(jnp.asarray(0.0), SIGNAL, jnp.zeros(0))) == 2.5


def test_values_are_double_and_derivatives_exact(model):
    assert model.change(ONE, SIGNAL).dtype == jnp.float64
    fn = jax.jit(lambda m, s: model.change(m, s))
    check_grads(fn, (ONE, SIGNAL), order=2, eps=1e-4, rtol=1e-6)
    slope = jax.grad(model.change, 1)(ONE, SIGNAL)
    for region in range(REGIONS):
        step = 1e-5 * np.eye(REGIONS)[region]
        ends = [by_hand(1.0, SIGNAL + e, 0) for e in (step, -step)]
        assert float(slope[region]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-7)


def test_batches_are_single_signals_and_one_program(model):
    run = jax.jit(
        eqx.debug.assert_max_traces(jax.vmap(lambda s: model.change(ONE, s)), max_traces=1)
    )
    for seed in range(2):
        signals = jnp.asarray(np.random.default_rng(seed).random((6, REGIONS)))
        wanted = [by_hand(1.0, s, 0) for s in signals]
        np.testing.assert_allclose(run(signals), wanted, rtol=1e-11)


def test_asimov_data_are_those_of_the_fitted_background(model):
    other = model.background_asimov()
    np.testing.assert_array_equal(other.observed, arrays()["counts"][1])
    again = other.background_asimov()
    assert float(again.change(ONE, SIGNAL)) == float(other.change(ONE, SIGNAL))
    np.testing.assert_array_equal(model.observed, arrays()["counts"][0])
    np.testing.assert_array_equal(model.nominal, arrays()["nominal"])
    fit = profile(model, ONE, SIGNAL)
    assert bool(fit.status == Status.success)
    assert fit.nuisances.shape == (0,)


def test_other_data_are_refused(model):
    with pytest.raises(DatabaseError, match="knows its own data only"):
        model.with_observed(jnp.ones(3))
    with pytest.raises(DatabaseError, match="published background"):
        likelihood_pair(model, SIGNAL, expected=True)


def test_signals_outside_of_the_training_are_told(model):
    scale = np.asarray(arrays()["scale"])
    for scaled, distance in (
        ([3.0, 4.0, 0.0], 0.0),
        ([6.0, 8.0, 0.0], 1.0),
        ([-0.5, 0.1, 0.0], 0.1),
    ):
        signal = jnp.asarray(np.array(scaled) * scale)
        assert float(model.domain_distance(ONE, signal)) == pytest.approx(distance, abs=1e-12)


def test_bands_grow_with_large_changes(model):
    value = abs(by_hand(3.0, SIGNAL, 0))
    width = float(model.uncertainty(jnp.asarray(3.0), SIGNAL))
    assert width == pytest.approx(0.02 * (1 + value / 10))


def test_limits_are_where_cls_is_five_per_cent(smooth):
    found = jax.jit(lambda s: find_upper_limit(*likelihood_pair(smooth, s)))(SIGNAL)
    assert bool(found.status == Status.success)
    data_fn = profiled_twice_nll_fn(smooth, SIGNAL)
    asimov_fn = profiled_twice_nll_fn(smooth.background_asimov(), SIGNAL)
    best = jax.jit(lambda: fit_mu(data_fn))()
    assert float(best.mu_hat) > 0
    grid = np.linspace(0, 2, 4001)
    values = np.asarray(jax.vmap(data_fn)(jnp.asarray(grid)))
    assert float(best.mu_hat) == pytest.approx(grid[np.argmin(values)], abs=1e-3)
    asimov = found.best_asimov
    assert float(asimov.mu_hat) == pytest.approx(0.0, abs=1e-9)
    root = np.sqrt(float(q_mu_tilde(found.mu, data_fn, best)))
    root_asimov = np.sqrt(float(t_mu(found.mu, asimov_fn, asimov)))
    assert root <= root_asimov
    cls = stats.norm.sf(root) / stats.norm.cdf(root_asimov - root)
    assert cls == pytest.approx(0.05, rel=1e-8)


def test_limits_have_slopes_in_the_signal(smooth):
    value, slope = jax.jit(
        jax.value_and_grad(lambda s: upper_limit(*likelihood_pair(smooth, s), throw=False))
    )(SIGNAL)
    # A limit on mu falls as the signal grows: homogeneous of degree -1.
    assert float(jnp.sum(slope * SIGNAL)) == pytest.approx(-float(value), rel=1e-8)


def test_files_give_back_what_was_written(file, model):
    read = open_learned(file.path)
    assert read.manifest == file.manifest
    assert read.validation == {"signals": 3}
    for name in ARRAYS:
        np.testing.assert_array_equal(read.arrays[name], arrays()[name])
        assert read.arrays[name].dtype == arrays()[name].dtype
    again = learned_likelihood(read)
    assert float(again.change(ONE, SIGNAL)) == float(model.change(ONE, SIGNAL))
    assert again.region_ids == ("A", "B", "C")


def test_the_workspace_must_be_the_same(file):
    with pytest.raises(DatabaseError, match=r"learned from w\.json \(000000000000\), given is v"):
        file.check_workspace(b"{}", "v.json")


def test_wrong_files_are_refused(file, tmp_path):
    with pytest.raises(DatabaseError, match="no such file"):
        open_learned(tmp_path / "nothing.npz")
    path = tmp_path / "text.npz"
    path.write_text("text")
    with pytest.raises(DatabaseError, match="not a file of a learned likelihood"):
        open_learned(path)
    write_archive(path, {}, {MANIFEST: {"schema": "jaxlik/surrogate/1"}})
    with pytest.raises(DatabaseError, match="schema is 'jaxlik/surrogate/1'"):
        open_learned(path)
    write_archive(path, {}, {MANIFEST: []})
    with pytest.raises(DatabaseError, match="not a file of a learned likelihood"):
        open_learned(path)
    with zipfile.ZipFile(file.path) as archive:
        full = json.loads(archive.read(MANIFEST))
    missing = {name: value for name, value in arrays().items() if name != "scale"}
    write_archive(path, missing, {MANIFEST: full})
    with pytest.raises(DatabaseError, match=r"not a file of a learned likelihood.*scale"):
        open_learned(path)
    write_archive(path, arrays() | {"scale": np.ones(3)}, {MANIFEST: full})
    with pytest.raises(DatabaseError, match="array 'scale' is damaged"):
        open_learned(path)
    with pytest.raises(DatabaseError, match="cannot be written"):
        write_learned(path / "below.npz", arrays(), manifest())
