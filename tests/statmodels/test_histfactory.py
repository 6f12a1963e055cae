"""HistFactory likelihoods against pyhf on the workspaces of database 3.0.0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlik.database.workspace import flatten_workspace
from jaxlik.statmodels.packing import Shape, pack_workspace, shape_of

pytestmark = pytest.mark.reference

NAMES = (
    "2018-04-eff/SRcombined",
    "2018-05-ewk-eff/ewk_signal_bkgonly",
    "2018-05-ewk-eff/simplified",
    "2018-14-eff/Comb_bkgonly",
    "2018-14-eff/SRee_bkgonly",
    "2018-16-eff/EWKinos_bkgonly_SR2lOnly",
    "2018-22-multibin-eff/simplified_MB-C_noCR_bkgonly",
    "2018-22-multibin-eff/simplified_MB-SSd_noCR_bkgonly",
    "2018-31-eff/BkgOnlyA",
    "2018-31-eff/BkgOnlyB",
    "2018-31-eff/simplifiedA",
    "2018-31-eff/simplifiedB",
    "2018-32-eff/bkgonly_simplified",
    "2019-09-eff/SR_WH_0j_fake_bkgonly",
    "2019-09-eff/SR_WH_DFOS_fake_bkgonly",
    "2019-09-eff/bkg_offshell",
    "2019-09-eff/bkg_onshell_simplified",
)


@jax.jit
def evaluate(model, parameters):
    return model.log_density(parameters), model.expected(parameters), model.expand(parameters)


@pytest.mark.parametrize("name", NAMES)
def test_density_rates_and_gradients_are_those_of_pyhf(name, workspace_of):
    golden, document = workspace_of(name)
    record = flatten_workspace(document)
    assert len(record.parameters) == len(golden["init"])
    model = pack_workspace(record)
    order = parameter_order(golden, record)
    np.testing.assert_array_equal(record.init[order], golden["init"])
    np.testing.assert_array_equal(record.fixed[order], golden["fixed"])
    np.testing.assert_array_equal(
        np.stack([record.lower, record.upper], 1)[order], golden["bounds"]
    )
    bins = bin_order(golden, record)
    first = {
        "x": golden["init"],
        "logpdf": golden["init_logpdf"],
        "grad": golden["init_grad"],
        "expected_actualdata": golden["init_expected_actualdata"],
    }
    for point in (first, *golden["points"]):
        parameters = np.array(model.init)
        parameters[order] = point["x"]
        density, expected, expansion = evaluate(model, jnp.asarray(parameters))
        assert float(density) == pytest.approx(point["logpdf"], rel=1e-10)
        np.testing.assert_allclose(
            np.asarray(expected)[bins], point["expected_actualdata"], rtol=1e-10
        )
        free = ~np.asarray(golden["fixed"])
        wanted = np.array(point["grad"])
        np.testing.assert_allclose(
            -np.asarray(expansion.gradient)[order][free],
            wanted[free],
            atol=1e-8 * np.abs(wanted).max(),
        )


@pytest.mark.parametrize(
    "name", ["2018-31-eff/BkgOnlyB", "2018-22-multibin-eff/simplified_MB-C_noCR_bkgonly"]
)
def test_derivatives_by_hand_are_those_of_jax(name, workspace_of):
    golden, document = workspace_of(name)
    record = flatten_workspace(document)
    model = pack_workspace(record)
    parameters = np.array(model.init)
    parameters[parameter_order(golden, record)] = golden["points"][2]["x"]
    parameters = jnp.asarray(parameters)

    def half(x):
        return 0.5 * model.twice_nll(x)

    expansion = jax.jit(lambda m, x: m.expand(x))(model, parameters)
    gradient, hessian = jax.jit(lambda x: (jax.grad(half)(x), jax.hessian(half)(x)))(parameters)
    assert float(expansion.value) == pytest.approx(float(half(parameters)), rel=1e-13)
    size = float(jnp.max(jnp.abs(gradient)))
    np.testing.assert_allclose(expansion.gradient, gradient, atol=1e-12 * size)
    scale = float(jnp.max(jnp.abs(hessian)))
    np.testing.assert_allclose(expansion.hessian, hessian, atol=1e-12 * scale)


def test_padding_changes_nothing(workspace_of):
    _, document = workspace_of("2018-31-eff/BkgOnlyB")
    record = flatten_workspace(document)
    shape = shape_of(record)
    small = pack_workspace(record)
    large = pack_workspace(record, Shape(*(2 * size for size in shape)))
    moved = np.zeros(large.num_parameters)
    count = len(record.parameters)
    moved[:count] = record.init + 0.1 * np.arange(count) / count
    one = evaluate(small, jnp.asarray(moved[: small.num_parameters]))
    other = evaluate(large, jnp.asarray(moved))
    assert float(one[0]) == pytest.approx(float(other[0]), rel=1e-14)
    np.testing.assert_allclose(
        one[2].hessian[:count, :count], other[2].hessian[:count, :count], rtol=1e-10, atol=1e-10
    )


def parameter_order(golden, record):
    """Position here of every parameter of the golden file."""
    names = []
    for name, start, stop, _ in golden["par_sets"]:
        scalar = name in record.parameters
        names += [name] if scalar else [f"{name}[{i}]" for i in range(stop - start)]
    return np.array([record.parameters.index(name) for name in names])


def bin_order(golden, record):
    """Bins here in the order of the golden file's channels."""
    spans = dict(zip(record.channels, record.channel_bins, strict=True))
    return np.concatenate([np.arange(*spans[channel]) for channel in golden["channel_order"]])
