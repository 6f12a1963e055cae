"""Limits of HistFactory models inside compiled programs: derivatives, batches, failures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shared_shapes import pack_shared

from jaxlik.database.counting_workspace import counting_workspace
from jaxlik.database.workspace import flatten_workspace
from jaxlik.database.workspace_patch import with_synthetic_signal
from jaxlik.errors import Status
from jaxlik.inference.workspace_limits import workspace_limits
from jaxlik.inference.workspace_profile import profiled_twice_nll
from jaxlik.statmodels.packing import pack_workspace, stack_workspaces

SMALL = (
    "2018-14-eff/Comb_bkgonly",
    "2018-22-multibin-eff/simplified_MB-SSd_noCR_bkgonly",
    "2018-31-eff/simplifiedA",
    "2018-32-eff/bkgonly_simplified",
    "2019-09-eff/SR_WH_0j_fake_bkgonly",
)
FULL = "2018-31-eff/BkgOnlyB"


def with_signal_scaled(model, cells, factor):
    """The model with the nominal events of some cells multiplied."""
    changed = model.nominal.at[cells].multiply(factor, unique_indices=True)
    return eqx.tree_at(lambda m: m.nominal, model, changed)


@eqx.filter_jit
def limits_along(model, poi, cells, direction, step):
    """The six limits at a place along a direction of signals, and their slopes there."""

    def limits(step):
        found = workspace_limits(with_signal_scaled(model, cells, 1 + step * direction), poi)
        return jnp.append(found.expected, found.observed), found.status

    values, slopes, status = jax.jvp(limits, (step,), (jnp.ones(()),), has_aux=True)
    return values, slopes, status


def check_slopes(record, seed=0):
    """Slopes of all limits in the signal yields against differences of fourth order."""
    model, poi = pack_shared(record), jnp.asarray(record.poi)
    cells = jnp.asarray(np.flatnonzero((record.factors == record.poi).any(axis=1)))
    direction = jnp.asarray(np.random.default_rng(seed).normal(size=len(cells)))
    run = lambda step: limits_along(model, poi, cells, direction, jnp.asarray(step))  # noqa: E731
    values, slopes, status = run(0.0)
    assert bool(status == Status.success), record.name
    step = 2e-5  # short: second derivatives jump where a nuisance passes zero (code 0)
    near, far = (run(k * step)[0] - run(-k * step)[0] for k in (1, 2))
    differences = (8 * near - far) / (12 * step)
    np.testing.assert_allclose(
        slopes / values, differences / values, rtol=0, atol=1e-6, err_msg=record.name
    )


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize("name", ["2018-14-eff/Comb_bkgonly"])
def test_limits_have_the_slopes_of_finite_differences(name, workspace_of):
    _, document = workspace_of(name)
    check_slopes(flatten_workspace(with_synthetic_signal(document), name=name))


@pytest.mark.reference
@pytest.mark.slow
def test_limits_of_published_workspaces_have_the_slopes_of_finite_differences(every_workspace):
    """Every third one, of all shapes and sizes: all 26 take minutes."""
    assert len(every_workspace) == 26
    for seed, (name, document) in enumerate(list(every_workspace.items())[::3]):
        check_slopes(flatten_workspace(with_synthetic_signal(document), name=name), seed)


@pytest.mark.slow
@pytest.mark.reference
def test_one_program_limits_different_workspaces_side_by_side(workspace_of):
    golden, records = [], []
    for name in SMALL:
        reference, document = workspace_of(name)
        golden.append(reference["signal"]["upper_limit_95"])
        records.append(flatten_workspace(with_synthetic_signal(document), name=name))
    models, pois = stack_workspaces(records)
    traces = 0

    @jax.jit
    def observed_sum(nominal, pois):
        nonlocal traces
        traces += 1
        changed = eqx.tree_at(lambda m: m.nominal, models, nominal)
        found = jax.vmap(workspace_limits)(changed, pois)
        return jnp.sum(found.observed), found

    (_, found), slopes = jax.value_and_grad(observed_sum, has_aux=True)(models.nominal, pois)
    np.testing.assert_allclose(found.observed, [g["obs"] for g in golden], rtol=1e-8)
    np.testing.assert_allclose(found.expected, [g["exp"] for g in golden], rtol=1e-8)
    assert np.all(np.asarray(found.status._value) == 0)
    assert np.all(found.evaluations <= 19)
    # A limit is inversely proportional to the signal: Euler's theorem, one model at a time.
    for record, nominal, slope, limit in zip(
        records, models.nominal, slopes, found.observed, strict=True
    ):
        cells = np.flatnonzero((record.factors == record.poi).any(axis=1))
        assert float(jnp.sum((nominal * slope)[cells])) == pytest.approx(-float(limit), rel=1e-8)
    before = traces
    jax.value_and_grad(observed_sum, has_aux=True)(1.01 * models.nominal, pois)
    assert traces == before


def region(observed, background, error, signal):
    """One bin with an additive background uncertainty."""
    record = flatten_workspace(counting_workspace(observed, background, error, signal))
    return pack_workspace(record), record.poi


@pytest.mark.parametrize(
    ("observed", "mu"),
    [
        (9.0, 1.5),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((4.0, 0.7), (0.0, 0.4))),
    ],
)
def test_profiles_have_exact_second_derivatives(observed, mu):
    model, poi = region(observed, 4.0, 1.5, 5.0)

    def twice_nll(arguments):
        signal = model.nominal.at[0].set(arguments[1])
        changed = eqx.tree_at(lambda m: m.nominal, model, signal)
        counts = model.data._replace(observed=model.data.observed.at[0].add(arguments[2]))
        return profiled_twice_nll(changed, poi, arguments[0], counts)

    place = jnp.asarray([mu, 5.0, 0.0])
    slope = jax.jit(jax.grad(twice_nll))
    step = 1e-4
    rows = []
    for k in range(2 if observed == 0 else 3):
        ahead = jnp.zeros(3).at[k].set(step)
        rows.append((slope(place + ahead) - slope(place - ahead)) / (2 * step))
    hessian = jax.jit(jax.hessian(twice_nll))(place)
    np.testing.assert_allclose(hessian[: len(rows)], rows, rtol=1e-5, atol=1e-7)


@pytest.mark.reference
@pytest.mark.slow
def test_full_profiles_have_exact_second_derivatives(workspace_of):
    _, document = workspace_of(FULL)
    record = flatten_workspace(with_synthetic_signal(document))
    model = pack_workspace(record)
    slope = jax.jit(jax.grad(lambda mu: profiled_twice_nll(model, record.poi, mu)))
    curvature = jax.jit(jax.hessian(lambda mu: profiled_twice_nll(model, record.poi, mu)))
    for mu in (0.5, 3.0):
        difference = (slope(mu + 1e-3) - slope(mu - 1e-3)) / 2e-3
        assert float(curvature(mu)) == pytest.approx(float(difference), rel=1e-5)


@pytest.mark.slow
def test_limits_have_slopes_in_data_backgrounds_and_level():
    model, poi = region(6.0, 4.0, 1.0, 5.0)

    @jax.jit
    def limits(arguments):
        nominal = model.nominal.at[:2].set(arguments[:2])
        counts = model.data._replace(observed=model.data.observed.at[0].set(arguments[2]))
        changed = eqx.tree_at(lambda m: m.nominal, model, nominal)
        found = workspace_limits(changed, poi, counts, level=arguments[3])
        return jnp.append(found.expected, found.observed)

    place = jnp.asarray([5.0, 4.0, 6.0, 0.95])
    slopes = jax.jit(jax.jacrev(limits))(place)
    for k, step in enumerate((1e-3, 1e-3, 1e-3, 1e-4)):
        ahead = jnp.zeros(4).at[k].set(step)
        near, far = (limits(place + j * ahead) - limits(place - j * ahead) for j in (1, 2))
        np.testing.assert_allclose(slopes[:, k], (8 * near - far) / (12 * step), rtol=1e-6)


def test_without_a_signal_the_status_says_so():
    model, poi = region(3.0, 4.0, 0.5, 0.0)
    found = eqx.filter_jit(workspace_limits)(model, poi)
    assert bool(found.status == Status.no_bracket)
    assert np.isinf(found.observed)
    assert np.isinf(found.expected).all()


def test_limits_do_not_depend_on_the_unit_of_mu():
    limits = []
    for size in (1e-4, 1.0, 1e4):
        model, poi = region(6.0, 4.0, 0.5, size)
        found = eqx.filter_jit(workspace_limits)(model, poi)
        assert bool(found.status == Status.success)
        limits.append(size * np.append(found.expected, found.observed))
    np.testing.assert_allclose(limits, [limits[1]] * 3, rtol=1e-8)
