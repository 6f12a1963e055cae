"""Signals as data: against workspaces with the signal written into them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxlik.database.records import HistFactoryRecord, SignalCells
from jaxlik.database.workspace import flatten_workspace
from jaxlik.statmodels.histfactory_signal import background_data, pack_signal, with_signal
from jaxlik.statmodels.packing import Shape, pack_workspace

BACKGROUND = {"SRa": [4.0, 6.0], "CR": [50.0], "SRb": [9.0]}
REGIONS = ("a0", "a1", "b")


def document(signal: dict[str, list[float]], delta: float) -> dict:
    """Three channels, two with signal, as SModelS patches them."""
    channels = []
    for name, data in BACKGROUND.items():
        pull = {"hi_data": [1.2 * n for n in data], "lo_data": [0.9 * n for n in data]}
        modifiers = [{"name": "pull", "type": "histosys", "data": pull}]
        samples = [{"name": "b", "data": data, "modifiers": modifiers}]
        if name in signal:
            modifiers = [
                {"name": "mu_SIG", "type": "normfactor", "data": None},
                {"name": "lumi", "type": "lumi", "data": None},
            ]
            if delta:
                high, low = ([s * f for s in signal[name]] for f in (1 + delta, 1 - delta))
                shifts = {"hi_data": high, "lo_data": low}
                modifiers.append({"name": "size", "type": "histosys", "data": shifts})
            samples.insert(0, {"name": "bsm", "data": signal[name], "modifiers": modifiers})
        channels.append({"name": name, "samples": samples})
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.017], "bounds": [[0.9, 1.1]]}
    return {
        "channels": channels,
        "observations": [{"name": n, "data": [5.0] * len(d)} for n, d in BACKGROUND.items()],
        "measurements": [{"name": "m", "config": {"poi": "mu_SIG", "parameters": [lumi]}}],
    }


def flattened(signal, delta) -> tuple[HistFactoryRecord, SignalCells]:
    a0, a1, b = signal
    record = flatten_workspace(document({"SRa": [a0, a1], "SRb": [b]}, delta))
    cells = np.array([0, 1, 5], np.int32)
    pull = record.parameters.index("size") if delta else -1
    return record, SignalCells(REGIONS, cells, np.arange(3, dtype=np.int32), delta, pull)


def packed(delta, shape=None):
    record, where = flattened([1.0, 1.0, 1.0], delta)
    model = pack_workspace(record, shape)
    return model, pack_signal(where, model)


@pytest.mark.parametrize("delta", [0.0, 0.22])
@pytest.mark.parametrize("shape", [None, Shape(12, 24, 16, 8, 4, 4, 3, 4)], ids=["own", "padded"])
def test_a_signal_is_what_the_workspace_with_it_says(delta, shape):
    signal = np.array([0.3, 2.0, 0.0])
    model, where = packed(delta, shape)
    found = with_signal(model, where, jnp.asarray(signal))
    wanted = pack_workspace(flattened(signal.tolist(), delta)[0], shape)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-14, atol=1e-15), found, wanted
    )


def test_background_data_hold_no_signal():
    model, where = packed(0.22)
    data = background_data(model, where)
    np.testing.assert_array_equal(data.observed[:4], [4.0, 6.0, 50.0, 9.0])
    assert (data.observed[4:] == 1).all()
    np.testing.assert_array_equal(data.centre, model.data.centre)


def test_another_signal_or_workspace_of_the_bucket_compiles_nothing():
    @jax.jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def value(model, where, signal, parameters):
        return with_signal(model, where, signal).twice_nll(parameters)

    shape = Shape(8, 16, 8, 4, 4, 4, 2, 4)
    found = []
    for delta in (0.0, 0.22):
        model, where = packed(delta, shape)
        for size in (0.0, 1.0, 30.0):
            found.append(float(value(model, where, jnp.full(3, size), model.init)))
    assert len(set(found[:3])) == 3
    assert found[:3] == found[3:]


def test_signals_have_gradients_and_a_batch_axis():
    model, where = packed(0.22)
    parameters = model.init + jnp.where(model.fixed, 0.0, 0.05)

    def value(signal):
        return with_signal(model, where, jnp.asarray(signal)).twice_nll(parameters)

    signals = jnp.array([[0.5, 1.0, 2.0], [3.0, 0.2, 1.0]])
    check_grads(jax.jit(value), (signals[0],), order=1)
    np.testing.assert_allclose(jax.vmap(value)(signals), [value(s) for s in signals], rtol=1e-12)


def test_a_region_seen_by_several_cells_fills_them_all():
    record, where = flattened([1.0, 1.0, 1.0], 0.0)
    where = dataclasses.replace(where, region_ids=("a", "b"), region=np.array([0, 1, 0], np.int32))
    model = pack_workspace(record)
    found = with_signal(model, pack_signal(where, model), jnp.array([7.0, 2.0]))
    np.testing.assert_array_equal(found.nominal[where.cells], [7.0, 2.0, 7.0])
