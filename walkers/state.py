"""Where all walkers are, what they found, and how that is stored.

A state holds arrays only. Together with the configuration and the target it determines
everything that follows, so that a resumed search repeats an uninterrupted one to the bit.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.errors import CheckpointError
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.typing import Array, Bool, Float, Int
from walkers.checkpoint import read_arrays, write_arrays
from walkers.hiscores import HiScores, empty_hiscores

SCHEMA = "jaxlik/search-state/1"
"""Name of the file format; another number means another layout."""


class WalkerState(NamedTuple):
    """All walkers, stacked along the first axis.

    Attributes:
        point: Models where the walkers stand, in the gauge mu = 1.
        score: K; `-inf` for a walker that sees nothing yet.
        z_squared: 2 ln(L(mu_hat)/L(0)).
        mu_hat: Signal strength at which K is reached; 1 but for rounding, less where no
            gauge exists, 0 where there is no excess.
        r_max: Largest r-value the critic counts.
        log_prior: ln pi.
        pending: Proposals that would be accepted, waiting for an evaluation in the
            gauge mu = 1.
        rounds: Evaluations a pending proposal had; 0 where none is pending.
        draw: Uniform number a pending proposal has to beat.
        kind: Move behind the pending proposal.
    """

    point: ModelPoint
    score: Float[Array, " walker"]
    z_squared: Float[Array, " walker"]
    mu_hat: Float[Array, " walker"]
    r_max: Float[Array, " walker"]
    log_prior: Float[Array, " walker"]
    pending: ModelPoint
    rounds: Int[Array, " walker"]
    draw: Float[Array, " walker"]
    kind: Int[Array, " walker"]


class MoveInfo(NamedTuple):
    """What happened in one step.

    Attributes:
        kind: Move of each walker.
        proposed: A new proposal was made (not a pending one carried on).
        accepted: The walker moved.
        invalid: The proposal was no valid model.
        overflow: The tables were too small for the proposal; it was rejected.
        demand: Largest sizes that overflowing proposals wanted.
    """

    kind: Int[Array, " walker"]
    proposed: Bool[Array, " walker"]
    accepted: Bool[Array, " walker"]
    invalid: Bool[Array, " walker"]
    overflow: Bool[Array, " walker"]
    demand: Int[Array, " bucket"]


class Trials(NamedTuple):
    """Counts of each kind of move since the start."""

    proposed: Int[Array, " move"]
    accepted: Int[Array, " move"]
    invalid: Int[Array, " move"]
    overflow: Int[Array, " move"]


class History(NamedTuple):
    """One entry per step.

    Attributes:
        best: Best K found so far.
        mean: Mean K of the walkers that have one.
        particles: Mean number of particles.
    """

    best: Float[Array, " step"]
    mean: Float[Array, " step"]
    particles: Float[Array, " step"]


class SearchState(NamedTuple):
    """Everything a search needs to go on.

    Attributes:
        walkers: Where the walkers are.
        hiscores: Best distinct models, best first.
        key: Data of the random key of the search; step and walker are folded in.
        step: Steps done.
        history: One entry per step.
        trials: Counts per move, in the order of `walkers.run.KINDS`.
        sizes: Sizes of the target's tables.
        demand: Largest sizes wanted since the tables were last enlarged.
        missed: Proposals that overflowed since then.
    """

    walkers: WalkerState
    hiscores: HiScores
    key: Array
    step: Int[Array, ""]
    history: History
    trials: Trials
    sizes: Int[Array, " bucket"]
    demand: Int[Array, " bucket"]
    missed: Int[Array, ""]


def lonely_point(space: ModelSpace, mass: Float[Array, ""]) -> ModelPoint:
    """The model with nothing but an LBP of this mass in GeV."""
    active = jnp.arange(space.num_particles) == space.lbp
    # A weakly typed mass would compile everything behind it once more.
    mass = jnp.asarray(mass, dtype=float)
    return ModelPoint(
        masses=jnp.where(active, mass, mass + 500.0),
        active=active,
        branching_ratios=jnp.zeros(space.num_channels),
        signal_strengths=jnp.ones(space.num_productions),
    )


def new_walkers(space: ModelSpace, points: ModelPoint) -> WalkerState:
    """Walkers at given models, not yet evaluated.

    Args:
        space: Layout of the models.
        points: One model per walker, stacked.
    """
    count = points.masses.shape[0]
    del space
    zeros = jnp.zeros(count)
    none = jnp.zeros(count, dtype=jnp.int32)
    return WalkerState(
        point=points,
        score=jnp.full(count, -jnp.inf, dtype=float),
        z_squared=zeros,
        mu_hat=zeros,
        r_max=zeros,
        log_prior=zeros,
        pending=points,
        rounds=none,
        draw=zeros,
        kind=none,
    )


def new_state(
    space: ModelSpace,
    points: ModelPoint,
    *,
    seed: int,
    keep: int,
    num_moves: int,
    sizes: tuple[int, ...],
) -> SearchState:
    """The state before the first step.

    Args:
        space: Layout of the models.
        points: One model per walker, stacked.
        seed: Seed of all random numbers.
        keep: Length of the list of best models.
        num_moves: Length of the axis `move`.
        sizes: Sizes of the target's tables.
    """
    zeros = jnp.zeros(num_moves, dtype=jnp.int32)
    return SearchState(
        walkers=new_walkers(space, points),
        hiscores=empty_hiscores(space, keep),
        key=jax.random.key_data(jax.random.key(seed)),
        step=jnp.zeros((), dtype=jnp.int32),
        history=History(*(jnp.zeros(0) for _ in History._fields)),
        trials=Trials(*(zeros for _ in Trials._fields)),
        sizes=jnp.asarray(sizes, dtype=jnp.int32),
        demand=jnp.zeros(len(sizes), dtype=jnp.int32),
        missed=jnp.zeros((), dtype=jnp.int32),
    )


def save_state(path: str | Path, state: SearchState) -> None:
    """Write a checkpoint; an existing file is replaced only by a complete one.

    Args:
        path: File to write (NumPy archive, no pickle).
        state: What to keep.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in _named_leaves(state).items()}
    write_arrays(Path(path), SCHEMA, arrays)


def load_state(path: str | Path, like: SearchState) -> SearchState:
    """Read a checkpoint.

    Args:
        path: File written by `save_state`.
        like: A state of the same search, such as `walkers.run.initial_state` makes.

    Raises:
        CheckpointError: no such file, damaged, another format, or another search.
    """
    path = Path(path)
    stored = read_arrays(path, SCHEMA)
    wanted = _named_leaves(like)
    if set(stored) != set(wanted):
        strange = sorted(set(stored) ^ set(wanted))
        raise CheckpointError(
            f"checkpoint {path} lacks or has in excess {strange}; it was written by another "
            "version: start a new run"
        )
    for name, leaf in wanted.items():
        found, expected = stored[name], np.asarray(leaf)
        free = name.startswith("history.")
        if found.dtype != expected.dtype or (not free and found.shape != expected.shape):
            raise CheckpointError(
                f"checkpoint {path} holds {name} as {found.dtype}{list(found.shape)}, this search "
                f"wants {expected.dtype}{list(expected.shape)}; resume with the walkers, keep and "
                "database of the interrupted run"
            )
    leaves = [jnp.asarray(stored[name]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named_leaves(state: SearchState) -> dict[str, Any]:
    """Leaves by dotted name, in the order of the tree."""
    found = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in found}
