"""Learned cross sections on the device: closed forms, gradients, edges, files."""

import json
import zipfile
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxlik.database.cross_section_file import (
    MANIFEST,
    open_cross_sections,
    read_manifest,
    write_cross_sections,
)
from jaxlik.errors import DatabaseError
from jaxlik.physics.learned_cross_sections import LearnedCrossSection, Networks

LOW, HIGH = np.log([200.0, 400.0]), np.log([2000.0, 3000.0])
BOX = np.array(
    [[1.0, 0, 0, -1], [-1, 0, 0, -1], [0, 1, 0, -1], [0, -1, 0, -1], [0, 0, 1, -1], [0, 0, -1, -1]]
)


def section(residual=0.05, seed=0):
    """Two masses and a mixing from 0 to 1; ln sigma is linear in each but for the network."""
    width, members = 8, 3
    keys = iter(jax.random.split(jax.random.key(seed), 6))
    shapes = (
        (members, width, 6),
        (members, width),
        (members, width, width),
        (members, width),
        (members, width),
        (members,),
    )
    layers = [0.5 * jax.random.normal(next(keys), shape, jnp.float32) for shape in shapes]
    return LearnedCrossSection(
        columns=("m_a", "m_b", "mixing"),
        degree=2,
        is_mass=jnp.array([True, True, False]),
        low=jnp.array([*LOW, 0.0]),
        high=jnp.array([*HIGH, 1.0]),
        exponents=jnp.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 2]], jnp.int32),
        coefficients=jnp.array([3.0, -2.0, -3.0, 0.2, 0.4]),
        networks=Networks(*layers),
        residual=jnp.asarray(residual),
        band=jnp.asarray(0.01),
        facets=jnp.asarray(BOX),
    )


def in_double(learned):
    double = jax.tree.map(lambda leaf: leaf.astype(float), learned.networks)
    return replace(learned, networks=double)


POINT = jnp.array([700.0, 900.0, 0.3])


def test_without_its_network_it_is_the_polynomial():
    a, b = 2 * (np.log([700.0, 900.0]) - LOW) / (HIGH - LOW) - 1
    c = 2 * 0.3 - 1
    expected = np.exp(3 - 2 * a - 3 * b + 0.2 * b * c + 0.4 * c**2)
    found = section(residual=0.0)(POINT)
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_networks_add_the_mean_of_the_members():
    learned = in_double(section())
    plain = section(residual=0.0)
    a, b = 2 * (np.log([700.0, 900.0]) - LOW) / (HIGH - LOW) - 1
    ends = np.exp([LOW, HIGH])
    straight = 2 * (np.array([700.0, 900.0]) - ends[0]) / (ends[1] - ends[0]) - 1
    seen = np.array([a, b, 2 * 0.3 - 1, *straight, 0.0])
    net = jax.tree.map(np.asarray, learned.networks)
    out = []
    for i in range(3):
        hidden = np.tanh(net.first[i] @ seen + net.first_bias[i])
        hidden = np.tanh(net.second[i] @ hidden + net.second_bias[i])
        out.append(net.last[i] @ hidden + net.last_bias[i])
    expected = plain.log_sigma(POINT) + 0.05 * np.mean(out)
    np.testing.assert_allclose(learned.log_sigma(POINT), expected, rtol=1e-12)
    # Single precision in what is a correction of 5 %.
    np.testing.assert_allclose(section().log_sigma(POINT), expected, rtol=1e-6)


def test_gradients_inside_and_beyond_the_table():
    learned = in_double(section())
    value = jax.jit(lambda x: learned.log_sigma(jnp.asarray(x)))
    slope, rough = jax.jit(jax.grad(learned.log_sigma)), jax.jit(jax.grad(section().log_sigma))
    for point in (POINT, jnp.array([150.0, 900.0, 0.3]), jnp.array([700.0, 4000.0, 1.2])):
        check_grads(value, (point,), 1, eps=1e-5, rtol=1e-6)
        # The network in single precision: its gradient is the true one to 1e-5.
        np.testing.assert_allclose(rough(point), slope(point), rtol=1e-5)


def test_beyond_its_ends_a_table_keeps_its_slope():
    learned = in_double(section())

    def along(log_mass):
        return learned.log_sigma(jnp.array([jnp.exp(log_mass), 900.0, 0.3]))

    for end, sign in ((LOW[0], -1), (HIGH[0], 1)):
        slope = jax.grad(along)(end - sign * 1e-9)
        np.testing.assert_allclose(
            along(end + 0.3 * sign), along(end) + 0.3 * sign * slope, rtol=1e-6
        )


def test_prediction_flags_points_outside():
    predict = jax.jit(jax.vmap(section().predict))
    points = jnp.array(
        [[700.0, 900.0, 0.3], [200.0, 400.0, 0.0], [199.0, 900.0, 0.3], [700.0, 900.0, 1.01]]
    )
    found = predict(points)
    np.testing.assert_array_equal(found.inside, [True, True, False, False])
    np.testing.assert_allclose(jnp.log(found.high / found.low), 0.02, rtol=1e-10)
    assert ((found.low < found.sigma) & (found.sigma < found.high)).all()


def test_one_trace_for_all_points():
    learned = section()

    @jax.jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def evaluate(point):
        return learned(point)

    batch = jnp.stack([POINT, POINT * 1.1, POINT * 2.0])
    rows = jnp.stack([evaluate(point) for point in batch])
    np.testing.assert_allclose(jax.vmap(learned)(batch), rows, rtol=1e-6)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "learned.npz"
    sections = {"one": section(), "two": section(0.01, 1)}
    reports = {"one": {"source": "a"}, "two": {"source": "b"}}
    write_cross_sections(path, sections, reports, {"members": 3})
    return path, sections


def test_files_give_the_same_numbers_back(written):
    path, sections = written
    found = open_cross_sections(path)
    assert list(found) == ["one", "two"]
    for name, learned in sections.items():
        assert found[name].columns == learned.columns
        assert found[name](POINT) == learned(POINT)
    manifest = read_manifest(path)
    assert manifest["members"] == 3
    assert manifest["processes"][1]["source"] == "b"


def test_damaged_and_foreign_files_are_named(written, tmp_path):
    path, _ = written
    with pytest.raises(DatabaseError, match=r"none.npz: no such file"):
        open_cross_sections(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("nothing")
    with pytest.raises(DatabaseError, match=r"text.npz: not a file of learned cross sections"):
        open_cross_sections(tmp_path / "text.npz")
    for change, message in (
        (lambda m: m.update(schema="other/1"), "schema is 'other/1'"),
        (lambda m: m["arrays"]["1.band"].update(sha256="0"), "array '1.band' is damaged"),
        (lambda m: m["arrays"].pop("0.low"), r"lacks array '0.low'"),
    ):
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(members[MANIFEST])
        change(manifest)
        members[MANIFEST] = json.dumps(manifest).encode()
        with zipfile.ZipFile(tmp_path / "changed.npz", "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        with pytest.raises(DatabaseError, match=message):
            open_cross_sections(tmp_path / "changed.npz")
