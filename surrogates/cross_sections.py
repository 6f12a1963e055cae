"""Learn ln(sigma) of processes with several masses from tables of points.

A polynomial, fitted by least squares in double precision, carries the fall over many
orders of magnitude; a committee of small networks learns what it leaves, some per cent.
So single precision and a few thousand steps of Adam reach the rounding of the tables.
"""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.spatial import ConvexHull
from tqdm import tqdm

from jaxlik.database.cross_section_file import write_cross_sections
from jaxlik.errors import ConfigError, DatabaseError
from jaxlik.physics.learned_cross_sections import EDGE, LearnedCrossSection, Networks, features
from jaxlik.physics.spline_fit import (
    NUM_CELLS_2D,
    basis,
    evaluate_spline,
    fit_grid,
    fit_spline,
)
from jaxlik.typing import Array, Float, Int
from surrogates.cross_section_tables import RECIPE, Table
from surrogates.maps import CALIBRATE, SHARES, STOP, TEST, TRAIN
from surrogates.recipe import Recipe

MAX_DEGREE = 6
"""Of the polynomial."""

ROWS_PER_TERM = 15
"""Rows to fit per term of the polynomial at least."""

HULL_INPUTS = 4
"""Inputs up to which the domain is the convex hull of the table; else its ranges."""

LEVEL = 0.9
"""Nominal coverage of the bands."""


@dataclass(frozen=True)
class Report:
    """How well one process is learned; errors are relative, on rows never used.

    Attributes:
        source: Of the table.
        rows: Of the table.
        held_out: Rows never used in the fit.
        degree: Of the polynomial.
        median: Median error.
        q95: 95 % quantile of the error.
        worst: Largest error.
        fitted_q95: 95 % quantile on fitted rows.
        spline_q95: Of the cubic spline through the fitted rows, ``nan`` without one.
        spline_worst: Likewise.
        rounding_q95: What the printed digits allow: 95 % quantile of their rounding.
        band: Half width of the 90 % band in ln(sigma).
        covered: Share of the held-out rows in the band.
    """

    source: str
    rows: int
    held_out: int
    degree: int
    median: float
    q95: float
    worst: float
    fitted_q95: float
    spline_q95: float
    spline_worst: float
    rounding_q95: float
    band: float
    covered: float


class State(NamedTuple):
    """Training of a committee at one step; axes start with the member."""

    networks: Networks
    optimiser: optax.OptState
    best: Networks
    best_loss: Float[Array, " member"]
    key: Array


class Data(NamedTuple):
    """Rows with what they should give, standardised, in single precision."""

    inputs: Float[Array, "row feature"]
    target: Float[Array, " row"]


def learn(
    table: Table, recipe: Recipe = RECIPE, members: int = 4, *, quiet: bool = True
) -> tuple[LearnedCrossSection, Report]:
    """Fit one process and measure the errors on rows held out.

    Args:
        table: At least `cross_section_tables.MIN_ROWS` rows.
        recipe: How the networks are fitted.
        members: Networks that are averaged.
        quiet: No progress bar.

    Raises:
        ConfigError: the recipe or the number of members cannot be.
    """
    recipe.check()
    if members < 1:
        raise ConfigError(f"--members is {members}, wanted 1 or more")
    is_mass = np.array(table.is_mass)
    bent = np.where(is_mass, np.log(np.where(is_mass, table.inputs, 1.0)), table.inputs)
    low, high = bent.min(axis=0), bent.max(axis=0)
    place = 2 * (bent - low) / (high - low) - 1
    facets, border = hull(place)
    use = deal(table, border)
    log = np.log(table.sigma)
    exponents, coefficients = fit_polynomial(place, log, use)
    rest = log - terms(place, exponents) @ coefficients
    scale = max(float(rest[use == TRAIN].std()), 1e-12)
    seen = jax.vmap(features, (0, None, None, None))(*map(jnp.asarray, (place, is_mass, low, high)))
    data = Data(jnp.asarray(seen, jnp.float32), jnp.asarray(rest / scale, jnp.float32))
    networks = train(data, use, recipe, members, table, quiet=quiet)
    section = LearnedCrossSection(
        columns=table.columns,
        degree=int(exponents.max()),
        is_mass=jnp.asarray(is_mass),
        low=jnp.asarray(low),
        high=jnp.asarray(high),
        exponents=jnp.asarray(exponents, jnp.int32),
        coefficients=jnp.asarray(coefficients),
        networks=networks,
        residual=jnp.asarray(scale),
        band=jnp.asarray(math.nan),
        facets=jnp.asarray(facets),
    )
    return measured(section, table, use)


def hull(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Facets of the hull of points, ``facet input+1``, and the rows that lie on it.

    Args:
        place: ``row input``, each input from -1 to 1.
    """
    count = place.shape[1]
    if 2 <= count <= HULL_INPUTS and np.linalg.matrix_rank(place - place[0]) == count:
        equations = ConvexHull(place).equations
        _, first = np.unique(np.round(equations, 9), axis=0, return_index=True)
        facets = equations[first]
    else:
        unit, one = np.eye(count), np.ones(count)
        facets = np.concatenate([np.c_[unit, -one], np.c_[-unit, -one]])
    outside = place @ facets[:, :-1].T + facets[:, -1]
    return facets, np.flatnonzero(outside.max(axis=1) > -EDGE)


def deal(table: Table, border: np.ndarray) -> np.ndarray:
    """Use of each row, the same in every run; rows on the border are fitted."""
    use = np.full(len(table.sigma), TRAIN)
    free = np.setdiff1d(np.arange(len(use)), border)
    if len(free) < sum(math.ceil(share * len(use)) for share in SHARES.values()):
        # Scattered points of many inputs are mostly border: keep the ends of every input.
        ends = np.r_[table.inputs.argmin(axis=0), table.inputs.argmax(axis=0)]
        free = np.setdiff1d(np.arange(len(use)), ends)
    free = np.random.default_rng(table.seed).permutation(free)
    start = 0
    for kind, share in SHARES.items():
        count = math.ceil(share * len(use))
        use[free[start : start + count]] = kind
        start += count
    return use


def terms(place: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Values of the terms of a polynomial, ``row term``."""
    return np.prod(place[:, None, :] ** exponents[None], axis=2)


def fit_polynomial(
    place: np.ndarray, log: np.ndarray, use: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Exponents and coefficients of the polynomial that suits the rows for stopping best."""
    fitted, asked = use == TRAIN, use == STOP
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for degree in range(1, MAX_DEGREE + 1):
        every = itertools.product(range(degree + 1), repeat=place.shape[1])
        exponents = np.array([powers for powers in every if sum(powers) <= degree])
        if degree > 1 and len(exponents) * ROWS_PER_TERM > fitted.sum():
            break
        found, *_ = np.linalg.lstsq(terms(place[fitted], exponents), log[fitted], rcond=None)
        error = float(np.mean((terms(place[asked], exponents) @ found - log[asked]) ** 2))
        if best is None or error < best[0]:
            best = (error, exponents, found)
    assert best is not None
    return best[1], best[2]


def start(key: Array, num_features: int, width: int) -> Networks:
    """Random networks, one per key; they begin close to zero."""

    def one(key: Array) -> Networks:
        keys = jax.random.split(key, 4)

        def layer(key: Array, *shape: int) -> Array:
            return jax.random.normal(key, shape, jnp.float32) / jnp.sqrt(float(shape[-1]))

        return Networks(
            2 * layer(keys[0], width, num_features),
            jax.random.normal(keys[1], (width,), jnp.float32),
            layer(keys[2], width, width),
            jnp.zeros(width, jnp.float32),
            0.1 * layer(keys[3], width),
            jnp.zeros((), jnp.float32),
        )

    return jax.vmap(one)(key)


def train(
    data: Data, use: np.ndarray, recipe: Recipe, members: int, table: Table, *, quiet: bool
) -> Networks:
    """The networks of a committee, each as it was best on the rows for stopping."""
    fitted = jax.tree.map(lambda a: a[np.flatnonzero(use == TRAIN)], data)
    asked = jax.tree.map(lambda a: a[np.flatnonzero(use == STOP)], data)
    key, first = jax.random.split(jax.random.fold_in(jax.random.key(recipe.seed), table.seed))
    networks = start(jax.random.split(first, members), data.inputs.shape[1], recipe.width)
    loss = jnp.full(members, jnp.inf, jnp.float32)
    state = State(networks, _optimiser(recipe).init(networks), networks, loss, key)
    looks = recipe.steps // recipe.every
    stale = 0
    bar = tqdm(total=looks, desc=table.name, unit="look", disable=quiet)
    for _ in range(looks):
        before = np.asarray(state.best_loss)
        state = advance(state, fitted, asked, recipe)
        after = np.asarray(state.best_loss)
        bar.update()
        bar.set_postfix_str(f"loss {after.mean():.2e}")
        stale = 0 if (after < before).any() else stale + 1
        if stale >= recipe.patience:
            break
    bar.close()
    return state.best


def _optimiser(recipe: Recipe) -> optax.GradientTransformation:
    schedule = optax.cosine_decay_schedule(recipe.rate, recipe.steps, 0.01)
    return optax.adamw(schedule, weight_decay=recipe.decay)


def _losses(networks: Networks, data: Data) -> Float[Array, " member"]:
    found = jax.vmap(networks)(data.inputs)
    return jnp.mean((found - data.target[:, None]) ** 2, axis=0)


@partial(jax.jit, static_argnames="recipe")
def advance(state: State, fitted: Data, asked: Data, recipe: Recipe) -> State:
    """`Recipe.every` steps, then a look at the rows for stopping."""
    optimiser = _optimiser(recipe)
    rows = len(fitted.target)

    def pick(key: Array) -> Data:
        if rows <= recipe.batch:
            return fitted
        chosen: Int[Array, " row"] = jax.random.randint(key, (recipe.batch,), 0, rows)
        return jax.tree.map(lambda a: a[chosen], fitted)

    def step(carry, key):
        networks, opt = carry
        batch = pick(key)
        slopes = jax.grad(lambda n: jnp.sum(_losses(n, batch)))(networks)
        updates, opt = optimiser.update(slopes, opt, networks)
        # Optax does not say that it keeps the type.
        return (cast(Networks, optax.apply_updates(networks, updates)), opt), None

    key, use = jax.random.split(state.key)
    carry = (state.networks, state.optimiser)
    (networks, opt), _ = jax.lax.scan(step, carry, jax.random.split(use, recipe.every))
    loss = _losses(networks, asked)
    better = loss < state.best_loss

    def keep(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    best = jax.tree.map(keep, networks, state.best)
    return State(networks, opt, best, jnp.minimum(loss, state.best_loss), key)


def measured(
    section: LearnedCrossSection, table: Table, use: np.ndarray
) -> tuple[LearnedCrossSection, Report]:
    """Give a fit its band, and tell its errors."""
    found = np.asarray(jax.jit(jax.vmap(section.log_sigma))(jnp.asarray(table.inputs)))
    off = np.abs(found - np.log(table.sigma))
    scores = np.sort(off[use == CALIBRATE])
    band = float(scores[math.ceil((len(scores) + 1) * LEVEL) - 1])
    test = use == TEST
    error = np.abs(np.expm1(found - np.log(table.sigma)))
    spline = np.abs(spline_predictions(table, use) / table.sigma[test] - 1)
    uniform = np.linspace(0, 1, 201)
    report = Report(
        source=table.source,
        rows=len(use),
        held_out=int(test.sum()),
        degree=section.degree,
        median=float(np.median(error[test])),
        q95=float(np.quantile(error[test], 0.95)),
        worst=float(error[test].max()),
        fitted_q95=float(np.quantile(error[use == TRAIN], 0.95)),
        spline_q95=float(np.quantile(spline, 0.95)),
        spline_worst=float(spline.max()),
        rounding_q95=float(np.quantile(np.outer(table.rounding, uniform), 0.95)),
        band=band,
        covered=float((off[test] <= band).mean()),
    )
    return dataclasses.replace(section, band=jnp.asarray(band)), report


def spline_predictions(table: Table, use: np.ndarray) -> np.ndarray:
    """Cubic spline of `jaxlik.physics` through the fitted rows, at the held-out rows.

    Returns:
        fb; ``nan`` unless the inputs are one or two masses.
    """
    test = use == TEST
    given = (use == TRAIN) | (use == STOP)
    if not all(table.is_mass) or len(table.columns) > 2:
        return np.full(test.sum(), np.nan)
    if len(table.columns) == 1:
        order = np.flatnonzero(given)[np.argsort(table.inputs[given, 0])]
        return evaluate_spline(
            fit_spline(table.inputs[order, 0], table.sigma[order]), table.inputs[test, 0]
        )
    spline = fit_grid(table.inputs[given], table.sigma[given])
    position = (np.log(table.inputs[test]) - spline["low"]) / spline["step"]
    position = np.clip(position, 0, NUM_CELLS_2D)
    first, second = (basis(column, NUM_CELLS_2D) for column in position.T)
    return np.exp(np.einsum("ni,ij,nj->n", first, np.asarray(spline["coefficients"]), second))


def export(
    tables: Sequence[Table], recipe: Recipe, members: int, target: Path, *, quiet: bool = False
) -> dict[str, Report]:
    """Learn all tables, write one file, and return the errors of each process.

    Raises:
        ConfigError: the recipe cannot be.
        DatabaseError: the file cannot be written.
    """
    sections, reports, said = {}, {}, {}
    for table in tables:
        section, report = learn(table, recipe, members, quiet=quiet)
        sections[table.name], reports[table.name] = section, report
        content = np.c_[table.inputs, table.sigma]
        said[table.name] = {
            **{k: v for k, v in asdict(report).items() if v == v},
            "table_sha256": hashlib.sha256(np.ascontiguousarray(content).data).hexdigest(),
        }
    try:
        write_cross_sections(target, sections, said, {"recipe": asdict(recipe), "members": members})
    except OSError as error:
        raise DatabaseError(f"--target {target} cannot be written: {error}") from None
    return reports
