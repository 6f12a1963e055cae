"""Small random workspaces with every modifier: against pyhf, and damaged ones."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_workspaces import (
    DAMAGES,
    SHAPE,
    assert_finite_or_refused,
    damaged,
    random_workspace,
)

from jaxlik.database.workspace import flatten_workspace
from jaxlik.errors import WorkspaceError
from jaxlik.statmodels.packing import pack_workspace

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")


@jax.jit
def evaluate(model, parameters):
    return (
        model.log_density(parameters),
        model.expand(parameters),
        jax.grad(model.log_density)(parameters),
    )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_random_workspaces_agree_with_pyhf(seed):
    document = random_workspace(seed)
    workspace = pyhf.Workspace(document)
    peer = workspace.model()
    record = flatten_workspace(document)
    model = pack_workspace(record, SHAPE)
    order = []
    for name in peer.config.par_order:
        span = peer.config.par_slice(name)
        size = span.stop - span.start
        scalar = name in record.parameters
        order += [record.parameters.index(name if scalar else f"{name}[{i}]") for i in range(size)]
    assert sorted(order) == list(range(len(record.parameters)))
    np.testing.assert_allclose(record.init[order], peer.config.suggested_init())
    np.testing.assert_array_equal(record.fixed[order], peer.config.suggested_fixed())
    np.testing.assert_allclose(
        np.stack([record.lower, record.upper], 1)[order], peer.config.suggested_bounds()
    )
    rng = np.random.default_rng(seed)
    parameters = np.array(model.init)
    moved = rng.uniform(-1.5, 1.5, len(order))
    positive = record.lower[order] >= 0
    parameters[order] = np.where(positive, 1 + 0.2 * moved, moved)
    density, expansion, gradient = evaluate(model, jnp.asarray(parameters))
    wanted = float(peer.logpdf(parameters[order], workspace.data(peer))[0])
    if np.isfinite(wanted):
        assert float(density) == pytest.approx(wanted, rel=1e-10)
        np.testing.assert_allclose(expansion.gradient, -gradient, rtol=1e-9, atol=1e-9)
        assert np.isfinite(np.asarray(expansion.hessian)).all()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 20), choice=st.integers(0, 10**6), value=DAMAGES)
def test_damaged_workspaces_flatten_or_raise_the_typed_error(seed, choice, value):
    document = damaged(random_workspace(seed), choice, value)
    assert_finite_or_refused(lambda: flatten_workspace(document))


def test_truncated_json_is_named():
    text = json.dumps(random_workspace(1))
    with pytest.raises(WorkspaceError, match="not JSON"):
        flatten_workspace(text[: len(text) // 2])
