"""Reference cross sections at 8 and 13 TeV of every production mode, as JAX arrays.

The numbers live in `jaxlik/data/cross_sections.json` with their sources; the module
`reference_tables` makes that file. A model's cross section is its signal strength
times the reference:

- ln(sigma) is a cubic B-spline of ln(mass), twice continuously differentiable;
  beyond both ends of a table its logarithmic slope is kept.
- A pair of different particles uses the mean of both masses (except squark-gluino,
  which is tabulated in both). That is a convention: the signal strength absorbs it.
- One squark state of one flavour carries a tenth of the published light-squark sum.
- Squark-gluino production is halved over the two chiralities and shared among the
  flavours and charges by their leading-order fractions.
"""

import json
from functools import lru_cache
from importlib import resources
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import DatabaseError
from jaxlik.physics.model import ModelSpace
from jaxlik.physics.particles import LBP
from jaxlik.physics.pool import (
    CHARGINOS,
    GLUINO,
    SBOTTOMS,
    SLEPTONS,
    SNEUTRINOS,
    SQUARKS,
    STOPS,
)
from jaxlik.typing import Array, Float, Int

ENERGIES = (8, 13)
"""Centre-of-mass energies in TeV, in the order of the energy axis."""

NEUTRALINO_PAIRS = ((LBP, 1000023), (1000023, 1000023), (1000023, 1000025), (1000025, 1000025))
"""Pairs that protomodels gives the wino chargino-pair cross section."""

CHIRALITIES = 2
"""States per flavour summed in the squark-gluino tables; the pool keeps one."""

SCHEMA = "jaxlik/cross_sections/1"


class CrossSections(eqx.Module):
    """Splines of ln(sigma/fb) in ln(mass/GeV) and how production modes use them.

    Modes without a table have the table number -1 and a cross section of zero. The
    grids of squark-gluino production have the axes squark mass and gluino mass.
    """

    low: Float[Array, "table energy"]
    step: Float[Array, "table energy"]
    coefficients: Float[Array, "table energy node"]
    production_table: Int[Array, " production"]
    production_pair: Int[Array, "production 2"]
    grid_low: Float[Array, "energy 2"]
    grid_step: Float[Array, "energy 2"]
    grid_coefficients: Float[Array, "energy node2 node2"]
    share_intercept: Float[Array, " flavour"]
    share_slope: Float[Array, " flavour"]
    associated: Int[Array, " associated"]
    """Positions of the squark-gluino modes on the production axis."""
    associated_pair: Int[Array, "associated 2"]
    """Positions of squark and gluino on the particle axis."""
    associated_flavour: Int[Array, " associated"]
    """Position of the signed quark flavour among the shares."""

    def __call__(self, masses: Float[Array, " particle"]) -> Float[Array, "production energy"]:
        """Reference cross sections, whether or not the particles exist.

        Args:
            masses: GeV, positive.

        Returns:
            fb, for 8 and 13 TeV.
        """
        mean = jnp.mean(masses[self.production_pair], axis=-1)
        table = jnp.maximum(self.production_table, 0)
        position = (jnp.log(mean)[:, None] - self.low[table]) / self.step[table]
        logs = jax.vmap(jax.vmap(_spline))(self.coefficients[table], position)
        values = jnp.where(self.production_table[:, None] >= 0, jnp.exp(logs), 0.0)
        return values.at[self.associated].set(self._squark_gluino(masses))

    def _squark_gluino(
        self, masses: Float[Array, " particle"]
    ) -> Float[Array, "associated energy"]:
        """Cross sections in fb of one squark state and charge with a gluino."""
        pairs = masses[self.associated_pair]
        return jax.vmap(self._associated)(pairs, self.associated_flavour)

    def _associated(
        self, pair: Float[Array, " 2"], flavour: Int[Array, ""]
    ) -> Float[Array, " energy"]:
        """Cross sections in fb for one pair of squark and gluino mass and one flavour."""
        position = (jnp.log(pair)[None, :] - self.grid_low) / self.grid_step
        logs = jax.vmap(_spline2)(self.grid_coefficients, position)
        sqrts = 1e3 * jnp.asarray(ENERGIES, dtype=pair.dtype)
        scale = jnp.log(jnp.sum(pair) / sqrts)
        logits = self.share_intercept[None, :] + scale[:, None] * self.share_slope[None, :]
        shares = jax.nn.softmax(logits, axis=-1)
        return jnp.exp(logs) * shares[:, flavour] / CHIRALITIES


def _weights(t: Float[Array, ""]) -> Float[Array, " 4"]:
    """Values of the four cubic B-splines that overlap at fraction t of a cell."""
    return jnp.stack([(1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t * (1 + t - t**2), t**3]) / 6


def _slopes(t: Float[Array, ""]) -> Float[Array, " 4"]:
    """Derivatives of `_weights` with respect to t."""
    return jnp.stack([-((1 - t) ** 2), t * (3 * t - 4), 1 + 2 * t - 3 * t**2, t**2]) / 2


def _cell(
    position: Float[Array, ""], cells: int
) -> tuple[Int[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Cell number, fraction of the cell, and distance beyond the ends of a spline."""
    inside = jnp.clip(position, 0.0, float(cells))
    cell = jnp.clip(jnp.floor(inside).astype(jnp.int32), 0, cells - 1)
    return cell, inside - cell, position - inside


def _spline(coefficients: Float[Array, " node"], position: Float[Array, ""]) -> Float[Array, ""]:
    """Uniform cubic B-spline, continued with its slope beyond both ends."""
    cell, t, beyond = _cell(position, coefficients.shape[0] - 3)
    local = coefficients[cell + jnp.arange(4)]
    return jnp.dot(_weights(t), local) + beyond * jnp.dot(_slopes(t), local)


def _spline2(
    coefficients: Float[Array, "node2 node2"], position: Float[Array, " 2"]
) -> Float[Array, ""]:
    """Tensor product of two cubic B-splines, continued linearly beyond its borders."""
    cells = coefficients.shape[0] - 3
    i, s, beyond_i = _cell(position[0], cells)
    j, t, beyond_j = _cell(position[1], cells)
    local = coefficients[(i + jnp.arange(4))[:, None], (j + jnp.arange(4))[None, :]]
    first, second = _weights(s), _weights(t)
    value = first @ local @ second
    return (
        value + beyond_i * (_slopes(s) @ local @ second) + beyond_j * (first @ local @ _slopes(t))
    )


def reference_table(first: int, second: int) -> str | None:
    """Name of the one-dimensional table of a production mode, `None` without one.

    Args:
        first: Signed PDG number.
        second: Signed PDG number.
    """
    a, b = sorted((first, second), key=abs)
    kinds = (abs(a), abs(b))
    opposite = a == -b
    if kinds == (GLUINO, GLUINO):
        return "gluino"
    for group, table in (
        (SQUARKS, "squark"),
        (SBOTTOMS + STOPS, "third_generation"),
        (SLEPTONS, "slepton"),
    ):
        if opposite and kinds[0] in group:
            return table
    if kinds[0] in CHARGINOS and kinds[1] in CHARGINOS and a * b < 0:
        return "wino_pair"
    if kinds in NEUTRALINO_PAIRS:
        return "wino_pair"
    chargino = next((pid for pid in (a, b) if abs(pid) in CHARGINOS), None)
    if chargino is not None and {LBP, 1000023, 1000025} & set(kinds):
        return "wino_plus" if chargino > 0 else "wino_minus"
    slepton = next((pid for pid in (a, b) if abs(pid) in SLEPTONS), None)
    if slepton is not None and SNEUTRINOS[SLEPTONS.index(abs(slepton))] in kinds:
        # The PDG number of a slepton is that of the negative charge.
        return "slepton_sneutrino_minus" if slepton > 0 else "slepton_sneutrino_plus"
    return None


def associated_flavour(first: int, second: int) -> int | None:
    """Signed quark flavour of a squark-gluino mode; `None` for every other mode."""
    squarks = [pid for pid in (first, second) if abs(pid) in SQUARKS + SBOTTOMS]
    if len(squarks) != 1 or GLUINO not in (first, second):
        return None
    (squark,) = squarks
    return (1 if squark > 0 else -1) * (abs(squark) % 1000000)


@lru_cache(maxsize=1)
def reference_document() -> dict[str, Any]:
    """The data file with numbers, sources and notes; treat it as read-only.

    Raises:
        DatabaseError: the file is absent or has another schema.
    """
    path = resources.files("jaxlik") / "data" / "cross_sections.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatabaseError(f"{path} is absent; reinstall jaxlik") from None
    if document.get("schema") != SCHEMA:
        raise DatabaseError(
            f"{path} has schema {document.get('schema')!r}, wanted {SCHEMA!r}; make it with "
            "`python -m jaxlik.physics.reference_tables`"
        )
    return document


def reference_cross_sections(space: ModelSpace) -> CrossSections:
    """Reference cross sections of every production mode of a space (host)."""
    document = reference_document()
    names = sorted(document["tables"])
    tables = [[document["tables"][name][str(e)] for e in ENERGIES] for name in names]
    grids = [document["squark_gluino"][str(e)] for e in ENERGIES]
    shares = document["squark_gluino"]["shares"]
    numbers, associated = [], []
    for position, pair in enumerate(space.productions):
        table = reference_table(*pair)
        numbers.append(-1 if table is None else names.index(table))
        flavour = associated_flavour(*pair)
        if flavour is not None:
            squark = next(pid for pid in pair if pid != GLUINO)
            indices = (space.particle_index(squark), space.particle_index(GLUINO))
            associated.append((position, *indices, shares["flavours"].index(flavour)))
    rows = np.array(associated, dtype=np.int32).reshape(-1, 4)

    def stacked(entries: list[list[dict[str, Any]]], key: str) -> Array:
        return jnp.asarray([[entry[key] for entry in row] for row in entries], dtype=float)

    return CrossSections(
        low=stacked(tables, "low"),
        step=stacked(tables, "step"),
        coefficients=stacked(tables, "coefficients"),
        production_table=jnp.asarray(numbers, dtype=jnp.int32),
        production_pair=space.production_pair,
        grid_low=stacked([grids], "low")[0],
        grid_step=stacked([grids], "step")[0],
        grid_coefficients=stacked([grids], "coefficients")[0],
        share_intercept=jnp.asarray(shares["intercept"], dtype=float),
        share_slope=jnp.asarray(shares["slope"], dtype=float),
        associated=jnp.asarray(rows[:, 0]),
        associated_pair=jnp.asarray(rows[:, 1:3]),
        associated_flavour=jnp.asarray(rows[:, 3]),
    )


def sources(space: ModelSpace) -> dict[tuple[int, int], str]:
    """Origin of the reference cross section of every production mode, for reports."""
    document = reference_document()
    found: dict[tuple[int, int], str] = {}
    for pair in space.productions:
        table = reference_table(*pair)
        if table is not None:
            found[pair] = "; ".join(
                f"{energy} TeV: {entry['source']}"
                + (f" ({entry['note']})" if entry["note"] else "")
                for energy, entry in document["tables"][table].items()
            )
        elif associated_flavour(*pair) is not None:
            found[pair] = document["squark_gluino"]["source"]
        else:
            found[pair] = "no reference; zero"
    return found
