"""HS3 documents: against pyhs3, round trips, documents as ROOT writes them, refusals."""

import copy
import json
import logging
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
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

from jaxlik.database.hs3 import from_hs3, is_hs3, to_hs3
from jaxlik.database.workspace import flatten_workspace
from jaxlik.errors import WorkspaceError
from jaxlik.statmodels.packing import pack_workspace

log_density = jax.jit(lambda model, parameters: model.log_density(parameters))


def modifier(name, kind, data=None):
    return {"name": name, "type": kind, "data": data}


def workspace(*channels, parameters=()):
    """A pyhf workspace of (name, observed, samples) channels."""
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "bounds": [[0.5, 1.5]]}
    return {
        "channels": [
            {
                "name": name,
                "samples": [
                    {"name": f"s{i}", "data": data, "modifiers": list(modifiers)}
                    for i, (data, *modifiers) in enumerate(samples)
                ],
            }
            for name, _, samples in channels
        ],
        "observations": [{"name": name, "data": observed} for name, observed, _ in channels],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": [lumi, *parameters]}}],
        "version": "1.0.0",
    }


MU, LUMI = modifier("mu", "normfactor"), modifier("lumi", "lumi")
TILT = modifier("tilt", "histosys", {"hi_data": [6.0, 6.5], "lo_data": [4.5, 7.5]})
SIZE = modifier("size", "normsys", {"hi": 1.2, "lo": 0.9})
SHAPE_ERRORS = modifier("shape", "shapesys", [0.4, 0.3])
FREE = modifier("free", "shapefactor")

ONE_CHANNEL = workspace(
    (
        "SR",
        [9.0, 12.0],
        [
            ([5.0, 7.0], TILT, SIZE, modifier("stat", "staterror", [0.5, 0.4]), LUMI),
            ([2.0, 3.0], MU, LUMI, SHAPE_ERRORS, modifier("stat", "staterror", [0.3, 0.2])),
            ([1.0, 0.5], FREE),
        ],
    )
)

TWO_CHANNELS = workspace(
    ("SR", [9.0, 12.0], [([5.0, 7.0], TILT, SIZE, LUMI), ([2.0, 3.0], MU, LUMI, SHAPE_ERRORS)]),
    ("CR", [60.0, 50.0], [([50.0, 40.0], SIZE, LUMI, FREE, modifier("size", "histosys", {"hi_data": [55.0, 43.0], "lo_data": [47.0, 38.0]}))]),
)  # fmt: skip


def by_name(record, key):
    return dict(zip(record.parameters, getattr(record, key), strict=True))


def assert_same(ours, theirs):
    """The same parameters, wherever they stand, and the same data."""
    assert sorted(ours.parameters) == sorted(theirs.parameters)
    for key in ("init", "lower", "upper", "fixed", "centre", "width", "kinds"):
        first, second = by_name(ours, key), by_name(theirs, key)
        for name, value in first.items():
            if key == "kinds":
                assert value == second[name]
            else:
                np.testing.assert_allclose(value, second[name], rtol=1e-13, err_msg=name)
    assert ours.channels == theirs.channels
    assert ours.samples == theirs.samples
    np.testing.assert_array_equal(ours.observed, theirs.observed)
    names = (r.parameters[r.poi] if r.poi >= 0 else None for r in (ours, theirs))
    assert len(set(names)) == 1


def assert_same_density(ours, theirs, rng, shape=None, points=3):
    """ln L of two records at random points, to 1e-12."""
    models = [pack_workspace(record, shape) for record in (ours, theirs)]
    order = [ours.parameters.index(name) for name in theirs.parameters]
    for _ in range(points):
        drawn = rng.uniform(-1.5, 1.5, len(order))
        drawn = np.where(ours.lower >= 0, 1 + 0.2 * drawn, drawn)
        values = []
        for model, numbers in zip(models, (drawn, drawn[order]), strict=True):
            parameters = np.array(model.init)
            parameters[: len(numbers)] = numbers
            values.append(float(log_density(model, jnp.asarray(parameters))))
        assert values[0] == pytest.approx(values[1], rel=1e-12)


def reread(document, **options):
    """Through HS3 as text, and back."""
    return from_hs3(json.loads(json.dumps(to_hs3(document), allow_nan=False)), **options)


# --- pyhs3 -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pyhs3():
    existing = [
        x for x in logging.root.manager.loggerDict.values() if isinstance(x, logging.Logger)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyhs3
    # Its logging configuration disables all loggers that exist.
    for logger in existing:
        logger.disabled = False
    return pyhs3


def single_channel_terms(pyhs3, written):
    """Factors of the likelihood of a one-channel document, and its parameters.

    pyhs3 0.4.2 evaluates shared staterrors by channel only, not by `Model.log_prob`.
    """
    import pytensor.tensor as pt
    from pyhs3.context import Context

    (likelihood,) = pyhs3.Workspace(**written).likelihoods
    (channel,), (data,) = likelihood.distributions, likelihood.data
    entries = written["parameter_points"][0]["parameters"]
    parameters = {entry["name"]: pt.dscalar(entry["name"]) for entry in entries}
    observed = {f"{channel.name}_observed": pt.constant(np.array(data.contents))}
    distributions = [channel, *(likelihood.aux_distributions or ())]
    terms = [
        pt.log(d.expression(Context({**parameters, **observed, **d.constants})))
        for d in distributions
    ]
    return list(parameters.values()), pt.add(*terms)


def model_terms(pyhs3, written):
    """Likelihood of a document, and its parameters."""
    from pytensor.graph.traversal import explicit_graph_inputs

    parsed = pyhs3.Workspace(**written)
    density = parsed.model(parsed.analyses["m"], progress=False, mode="FAST_COMPILE").log_prob
    return list(explicit_graph_inputs([density])), density


@pytest.mark.parametrize(
    ("document", "terms"),
    [(ONE_CHANNEL, single_channel_terms), (TWO_CHANNELS, model_terms)],
    ids=["every modifier", "shared parameters"],
)
def test_what_is_written_means_the_same_in_pyhs3(document, terms, pyhs3):
    import pytensor

    inputs, density = terms(pyhs3, to_hs3(document))
    peer = pytensor.function(inputs, density, mode="FAST_COMPILE")
    names = [re.sub(r"gamma_(.+)_bin_(\d+)", r"\1[\2]", entry.name) for entry in inputs]
    record = flatten_workspace(document)
    assert sorted(names) == sorted(record.parameters)
    order = [record.parameters.index(name) for name in names]
    model = pack_workspace(record)
    rng = np.random.default_rng(1)
    differences = []
    for spread in (0.0, 0.1, 0.5, 1.2):
        # Pulls on both sides of +-1; factors positive.
        moved = spread * rng.uniform(-1, 1, len(order))
        parameters = np.array(model.init)
        parameters[order] = np.where(record.lower[order] >= 0, np.exp(0.3 * moved), 1.5 * moved)
        ours = float(log_density(model, jnp.asarray(parameters)))
        differences.append(ours - float(np.squeeze(peer(*parameters[order]))))
    # Constants are apart by single precision, in which pyhs3 holds log(2 pi).
    np.testing.assert_allclose(differences, differences[0], atol=1e-8)
    assert abs(differences[0]) < 1e-5


# --- round trips -------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_random_workspaces_come_back(seed):
    document = random_workspace(seed)
    before, after = flatten_workspace(document), flatten_workspace(reread(document))
    assert_same(before, after)
    assert_same_density(before, after, np.random.default_rng(seed), SHAPE)


def test_modifiers_that_do_nothing_keep_their_kind():
    empty = ([0.0], MU, modifier("shape", "shapesys", [0.0]), modifier("stat", "staterror", [0.0]))
    document = workspace(("SR", [9.0], [empty, ([5.0],)]))
    before, after = flatten_workspace(document), flatten_workspace(reread(document))
    assert_same(before, after)
    assert_same_density(before, after, np.random.default_rng(5))


@pytest.mark.reference
def test_a_workspace_of_the_database_comes_back(workspace_of, pyhs3):
    _, document = workspace_of("2018-31-eff/BkgOnlyA")
    before, after = flatten_workspace(document), flatten_workspace(reread(document))
    assert_same(before, after)
    assert_same_density(before, after, np.random.default_rng(2))
    assert len(pyhs3.Workspace(**to_hs3(document)).likelihoods) == 1


@pytest.mark.slow
@pytest.mark.reference
def test_every_workspace_of_the_database_comes_back(every_workspace):
    for document in every_workspace.values():
        assert_same(flatten_workspace(document), flatten_workspace(reread(document)))


def test_auxiliary_data_fixed_flags_and_sets_come_back():
    settings_of = [
        {"name": "size", "auxdata": [0.3], "sigmas": [0.8], "inits": [0.1], "fixed": True},
        {"name": "stat", "auxdata": [1.1, 0.9], "sigmas": [0.2, 0.3], "fixed": [True, False]},
        {"name": "free", "inits": [1.0, 2.0], "bounds": [[0.1, 3.0], [0.2, 4.0]]},
        {"name": "mu", "bounds": [[-2.0, 5.0]]},
    ]
    document = workspace(("SR", [9.0, 12.0], [([5.0, 0.0], MU, SIZE, FREE, modifier("shape", "shapesys", [0.4, 0.0]), modifier("stat", "staterror", [0.5, 0.0]))]), parameters=settings_of)  # fmt: skip
    before, after = flatten_workspace(document), flatten_workspace(reread(document))
    assert_same(before, after)
    assert_same_density(before, after, np.random.default_rng(3))


def test_measurements_become_analyses():
    document = copy.deepcopy(ONE_CHANNEL)
    other = copy.deepcopy(document["measurements"][0])
    document["measurements"].append(other | {"name": "other"})
    document["measurements"][1]["config"]["poi"] = "size"
    for which in ("other", 1):
        written = to_hs3(document, measurement=which)
        assert [entry["name"] for entry in written["analyses"]] == ["other"]
        record = flatten_workspace(from_hs3(written, analysis="other"))
        assert record.parameters[record.poi] == "size"
    with pytest.raises(WorkspaceError, match="/analyses is \\['other'\\], wanted one named 'm'"):
        from_hs3(written, analysis="m")


def test_documents_are_told_apart():
    assert is_hs3(to_hs3(ONE_CHANNEL))
    assert not is_hs3(ONE_CHANNEL)
    assert not is_hs3([])


# --- documents as ROOT writes them --------------------------------------------------------------


def root_document():
    """Two bins, one channel, in the spelling of ROOT 6.30 to 6.40."""
    axes = [{"name": "obs_x_SR", "min": 0.0, "max": 2.0, "nbins": 2}]
    lumi = {"name": "Lumi", "parameter": "Lumi", "type": "normfactor"}
    lumi |= {"constraint_name": "lumiConstraint"}
    gammas = ["gamma_shape_bin_0", "gamma_shape_bin_1"]
    background = [
        lumi,
        {
            "name": "size",
            "parameter": "alpha_size",
            "type": "normsys",
            "interpolation": 4,
            "constraint_name": "alpha_sizeConstraint",
            "data": {"hi": 1.2, "lo": 0.9},
        },
        {
            "name": "tilt",
            "parameter": "alpha_tilt",
            "type": "histosys",
            "constraint_type": "Gauss",
            "data": {"hi": {"contents": [55.0, 48.0]}, "lo": {"contents": [46.0, 56.0]}},
        },
        {
            "name": "shape",
            "parameters": gammas,
            "type": "shapesys",
            "constraint": "Poisson",
            "data": {"vals": [0.06, 0.0]},
        },
        {
            "name": "staterror",
            "type": "staterror",
            "parameters": ["gamma_stat_SR_bin_0", "gamma_stat_SR_bin_1"],
            "constraint": "Gauss",
        },
    ]
    mu = {"name": "mu", "parameter": "mu", "type": "normfactor"}
    constants = {"Lumi": 1.0, "nominalLumi": 1.0, "nom_alpha_size": 0.25, "nom_alpha_tilt": 0.0}
    free = {"alpha_size": 0.0, "alpha_tilt": 0.1, "mu": 1.0, "gamma_shape_bin_0": 1.0}
    free |= {"gamma_stat_SR_bin_0": 1.0, "gamma_stat_SR_bin_1": 1.0}
    points = [{"name": n, "value": v, "const": True} for n, v in constants.items()]
    points += [{"name": n, "value": v} for n, v in free.items()]
    points.append({"name": "gamma_shape_bin_1", "value": 1.0, "const": True})
    stat = [(f"gamma_stat_SR_bin_{i}", 0.0, 1.5) for i in range(2)]
    nuisances = [("alpha_size", -5.0, 5.0), ("alpha_tilt", -4.0, 4.0), (gammas[0], 0.0, 1.3), *stat]
    return {
        "metadata": {
            "hs3_version": "0.2",
            "packages": [{"name": "ROOT", "version": "6.32.06"}],
        },
        "distributions": [
            {
                "name": "model_SR",
                "type": "histfactory_dist",
                "axes": axes,
                "samples": [
                    {
                        "name": "background",
                        "data": {"contents": [50.0, 52.0], "errors": [2.5, 2.6]},
                        "modifiers": background,
                    },
                    {
                        "name": "signal",
                        "data": {"contents": [12.0, 11.0]},
                        "modifiers": [lumi, mu],
                    },
                ],
            },
            {"name": "lumiConstraint", "type": "gaussian_dist", "x": "Lumi", "mean": "nominalLumi", "sigma": 0.1},
            {"name": "alpha_sizeConstraint", "type": "gaussian_dist", "x": "alpha_size", "mean": "nom_alpha_size", "sigma": 1.0},
        ],
        "data": [
            {"name": "asimov_SR", "type": "binned", "axes": axes, "contents": [62.0, 63.0]},
            {"name": "obs_SR", "type": "binned", "axes": axes, "contents": [51.0, 48.0]},
        ],
        "likelihoods": [
            {"name": "asimov", "distributions": ["model_SR"], "data": ["asimov_SR"]},
            {"name": "obs", "distributions": ["model_SR"], "data": ["obs_SR"]},
        ],
        "domains": [
            {
                "name": "default_domain",
                "type": "product_domain",
                "axes": [{"name": "Lumi", "min": 0.0, "max": 10.0}, {"name": "mu", "min": 0.0, "max": 7.0}],
            },
            {
                "name": "nuisance_parameters",
                "type": "product_domain",
                "axes": [{"name": n, "min": low, "max": high} for n, low, high in nuisances],
            },
            {
                "name": "parameters_of_interest",
                "type": "product_domain",
                "axes": [{"name": "mu", "min": -1.0, "max": 10.0}],
            },
        ],
        "parameter_points": [{"name": "default_values", "parameters": points}],
        "analyses": [
            {
                "name": name,
                "likelihood": name,
                "domains": ["nuisance_parameters", "parameters_of_interest"],
                "parameters_of_interest": ["mu"],
            }
            for name in ("asimov", "obs")
        ],
    }  # fmt: skip


def root_in_pyhf():
    """The same, written by hand."""
    shifts = {"hi_data": [55.0, 48.0], "lo_data": [46.0, 56.0]}
    lumi = modifier("Lumi", "lumi")
    document = workspace(
        (
            "model_SR",
            [51.0, 48.0],
            [
                (
                    [50.0, 52.0],
                    lumi,
                    modifier("alpha_size", "normsys", {"hi": 1.2, "lo": 0.9}),
                    modifier("alpha_tilt", "histosys", shifts),
                    modifier("shape", "shapesys", [3.0, 0.0]),
                    modifier("stat_SR", "staterror", [2.5, 2.6]),
                ),
                ([12.0, 11.0], lumi, MU),
            ],
        )
    )
    for sample, name in zip(
        document["channels"][0]["samples"], ("background", "signal"), strict=True
    ):
        sample["name"] = name
    document["measurements"][0]["config"]["parameters"] = [
        {"name": "Lumi", "auxdata": [1.0], "sigmas": [0.1], "fixed": True},
        {"name": "alpha_size", "auxdata": [0.25]},
        {"name": "alpha_tilt", "inits": [0.1], "bounds": [[-4.0, 4.0]]},
        {"name": "shape", "bounds": [[0.0, 1.3], [1e-10, 10.0]]},
        {"name": "stat_SR", "bounds": [[0.0, 1.5]] * 2},
        {"name": "mu", "bounds": [[-1.0, 10.0]]},
    ]
    return document


def later_root():
    """The spelling of later versions: constraints are named, of bins one by one."""
    document = root_document()
    document["metadata"]["packages"][0]["version"] = "6.44.00"
    channel = document["distributions"][0]
    channel["default_interpolation"] = {"type": "add", "in": "poly6", "out": "poly1"}
    channel["staterror"] = {"constraint_type": "Gauss"}
    lumi, size, tilt, shape, stat = channel["samples"][0]["modifiers"]
    size["constraint"] = size.pop("constraint_name")
    size["interpolation"] = {"type": "mult", "in": "poly6", "out": "exp"}
    lumi["constraint"] = lumi.pop("constraint_name")
    del stat["constraint"], tilt["constraint_type"], shape["constraint"]
    shape["constraints"] = ["gamma_shape_bin_0_constraint", None]
    document["distributions"].append(
        {
            "name": "gamma_shape_bin_0_constraint",
            "type": "poisson_dist",
            "x": "nom_gamma_shape_bin_0",
            "mean": "gamma_shape_bin_0_poisMean",
            "integer": False,
        }
    )
    factors = ["gamma_shape_bin_0", "gamma_shape_bin_0_tau"]
    document["functions"] = [
        {"name": "gamma_shape_bin_0_poisMean", "type": "product", "factors": factors}
    ]
    document["parameter_points"][0]["parameters"] += [
        {"name": name, "value": (50.0 / 3.0) ** 2, "const": True}
        for name in ("nom_gamma_shape_bin_0", "gamma_shape_bin_0_tau")
    ]
    return document


def as_pyhs3():
    """The spelling of pyhs3: uncertainties in events, edges, an auxiliary distribution."""
    document = root_document()
    document["metadata"]["packages"] = [{"name": "pyhs3", "version": "0.4.2"}]
    channel = document["distributions"][0]
    for axes in [channel["axes"], document["data"][1]["axes"]]:
        axes[:] = [{"name": "obs_x_SR", "edges": [0.0, 1.0, 2.0]}]
    lumi, size, tilt, shape, _ = channel["samples"][0]["modifiers"]
    del lumi["constraint_name"], size["interpolation"]
    size["data"]["interpolation"], tilt["data"]["interpolation"] = "code4", "code4p"
    tilt["constraint"] = tilt.pop("constraint_type")
    shape["data"]["vals"] = [3.0, 0.0]
    document["likelihoods"][1]["aux_distributions"] = ["lumiConstraint"]
    return document


@pytest.mark.parametrize("document", [root_document, later_root, as_pyhs3])
def test_documents_of_other_programs_are_read(document):
    ours, by_hand = from_hs3(document(), analysis="obs"), root_in_pyhf()
    first, second = flatten_workspace(ours), flatten_workspace(by_hand)
    assert_same(first, second)
    assert_same_density(first, second, np.random.default_rng(4))
    asimov = flatten_workspace(from_hs3(document()))
    np.testing.assert_array_equal(asimov.observed, [62.0, 63.0])


def test_statistical_errors_of_one_sample_may_be_poisson():
    document = root_document()
    document["distributions"][0]["samples"][0]["modifiers"][4]["constraint"] = "Poisson"
    record = flatten_workspace(from_hs3(document))
    assert by_name(record, "kinds")["stat_SR[0]"] == "poisson"
    assert by_name(record, "width")["stat_SR[0]"] == pytest.approx(400.0)


def test_shape_errors_may_be_gaussian():
    document = root_document()
    document["distributions"][0]["samples"][0]["modifiers"][3]["constraint"] = "Gauss"
    record = flatten_workspace(from_hs3(document))
    assert by_name(record, "kinds")["shape[0]"] == "normal"
    assert by_name(record, "width")["shape[0]"] == pytest.approx(0.06)


def test_parameters_of_bins_may_be_left_to_the_convention():
    document = root_document()
    for entry in document["distributions"][0]["samples"][0]["modifiers"][3:]:
        del entry["parameters"]
    first, second = flatten_workspace(from_hs3(document)), flatten_workspace(root_in_pyhf())
    assert_same(first, flatten_workspace(from_hs3(root_document())))
    assert first.parameters == second.parameters


# --- refusals ----------------------------------------------------------------------------------

CHANNEL = ("distributions", 0)
MODIFIERS = (*CHANNEL, "samples", 0, "modifiers")
REMOVED = object()


def changed(*path, to):
    document = root_document()
    node = document
    for key in path[:-1]:
        node = node[key]
    if to is REMOVED:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return document


def shared_poisson():
    document = changed(*MODIFIERS, 4, "constraint", to="Poisson")
    samples = document["distributions"][0]["samples"]
    samples[1]["modifiers"].append(samples[0]["modifiers"][4])
    samples[1]["data"]["errors"] = [1.0, 1.0]
    return document


def twice_constrained():
    document = root_document()
    document["distributions"].append(
        {"name": "again", "type": "gaussian_dist", "x": "alpha_tilt", "mean": 0.0, "sigma": 1.0}
    )
    document["likelihoods"][0]["aux_distributions"] = ["again"]
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "found \\[\\], wanted an HS3 document"),
        (changed(*CHANNEL, "type", to="product_dist"), "/distributions/0/type is 'product_dist', wanted histfactory_dist"),
        (changed(*MODIFIERS, 0, "type", to="custom"), "modifiers/0/type is 'custom', wanted one of"),
        (changed(*MODIFIERS, 1, "interpolation", to=1), "modifiers/1/interpolation is 1, wanted code4"),
        (changed(*MODIFIERS, 2, "interpolation", to="code0"), "is 'code0', wanted code4p"),
        (changed(*CHANNEL, "default_interpolation", to={"type": "add", "in": "poly2", "out": "poly1"}), "/default_interpolation is"),
        (changed(*CHANNEL, "barlow_beeston_method", to="full"), "is 'full', wanted lite"),
        (changed(*MODIFIERS, 2, "constraint_type", to="Lognormal"), "is 'Lognormal', wanted Gauss"),
        (changed(*MODIFIERS, 0, "constraint_name", to="missing"), "constraint_name is 'missing', wanted a name in /distributions"),
        (changed("distributions", 1, "type", to="lognormal_dist"), "/distributions/1/type is 'lognormal_dist', wanted gaussian_dist"),
        (changed("distributions", 1, "x", to="mu"), "'Lumi' for one of x and mean"),
        (changed("distributions", 1, "mean", to="mu"), "/distributions/1/mean is 'mu', wanted a number"),
        (changed("distributions", 1, "sigma", to=0.0), "/distributions/1/sigma is 0.0, wanted a positive"),
        (changed(*MODIFIERS, 3, "constraint", to="Const"), "is 'Const', wanted Gauss or Poisson"),
        (changed(*MODIFIERS, 3, "constraint", to=REMOVED), "modifiers/3/constraint is None"),
        (changed(*MODIFIERS, 3, "data", "vals", to=[3.0, 7.0]), "data/vals is 7.0, wanted relative"),
        (changed(*MODIFIERS, 3, "parameters", to=["mu", "x"]), "names that nothing else has"),
        (changed(*MODIFIERS, 2, "parameter", to="mu"), "'mu', wanted a parameter that no"),
        (changed("metadata", "packages", to=[]), "/metadata/packages is \\[\\], wanted either ROOT"),
        (changed("metadata", "packages", 0, "version", to="6.28.04"), "is '6.28.04', wanted 6.30 or later"),
        (changed(*CHANNEL, "samples", 0, "data", "errors", to=REMOVED), "samples/0/data/errors is None"),
        (changed(*CHANNEL, "staterror", to={"relThreshold": 0.05}), "relThreshold is 0.05, wanted none"),
        (changed(*CHANNEL, "staterror", to={"constraint_type": "Poisson"}), "is 'Poisson', wanted normal|is 'Gauss', wanted poisson"),
        (shared_poisson(), "a gamma that several samples share"),
        (twice_constrained(), "no second constraint of 'alpha_tilt'"),
        (changed("data", 0, "type", to="unbinned"), "/data/0/type is 'unbinned', wanted binned"),
        (changed("data", 0, "contents", to=[1.0]), "bins', wanted 1 as in /data/0/contents"),
        (changed("data", 0, "axes", to=[{"name": "x", "edges": [0, 1, 3]}]), "wanted those of /distributions/0/axes"),
        (changed("data", 0, "uncertainty", to={}), "uncertainty is {}, wanted none"),
        (changed("domains", 0, "type", to="ball"), "/domains/0/type is 'ball'"),
        (changed("domains", 1, "axes", 0, to={"name": "alpha_size", "min": 0.0}), "bounds must be finite"),
        (changed("domains", 1, "axes", 0, "max", to=-9.0), "wanted min below max"),
        (changed("analyses", 0, "init", to="snapshot"), "/analyses/0/init is 'snapshot', wanted a name in"),
        (changed("analyses", 0, "likelihood", to="x"), "/analyses/0/likelihood is 'x'"),
        (changed("analyses", to=[]), "/likelihoods is \\['asimov', 'obs'\\], wanted exactly one"),
        (changed("likelihoods", 0, "data", to=[]), "/likelihoods/0/data is '0 names', wanted 1"),
    ],
)  # fmt: skip
def test_what_a_workspace_cannot_hold_is_refused(document, message):
    with pytest.raises(WorkspaceError, match=message):
        from_hs3(document)


def test_several_parameters_of_interest_leave_the_choice_open():
    document = changed("analyses", 0, "parameters_of_interest", to=["mu", "alpha_size"])
    assert flatten_workspace(from_hs3(document)).poi == -1


def test_two_staterrors_in_a_channel_are_not_written():
    document = copy.deepcopy(ONE_CHANNEL)
    document["channels"][0]["samples"][1]["modifiers"][-1] = modifier("b", "staterror", [0.1, 0.1])
    with pytest.raises(WorkspaceError, match="/channels/0/samples/1/modifiers/3/name is 'b'"):
        to_hs3(document)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    source=st.sampled_from((root_document, later_root, as_pyhs3)),
    choice=st.integers(0, 10**6),
    value=DAMAGES,
)
def test_damaged_documents_are_read_or_raise_the_typed_error(source, choice, value):
    document = damaged(source(), choice, value)
    assert_finite_or_refused(lambda: flatten_workspace(from_hs3(document)))
