"""Chains over models: warm-up, blocks of draws, checkpoints, and a way back.

A chain is a function of seed, number and configuration. Warm-up learns from whole blocks
and is then frozen; blocks are one compiled program, whatever the content of the models. A
run resumed from a checkpoint gives the draws of an uninterrupted one to the bit.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.engine import Engine
from jaxlik.errors import CheckpointError
from jaxlik.fit.config import SampleConfig
from jaxlik.physics.bijections import layout
from jaxlik.physics.kinematics import canonical_pairs
from jaxlik.physics.model import ModelPoint, ModelSpace
from jaxlik.physics.whitened import Widths
from jaxlik.typing import Array, Bool, Float, Int
from walkers.checkpoint import read_arrays, write_arrays
from walkers.grow import Simple
from walkers.posterior.births import LeadBirth, LeadRebirth, lead_table
from walkers.posterior.contents import BirthDeath, Eligible, Exchange, Fittings, Replace
from walkers.posterior.groups import run_groups
from walkers.posterior.kernel import Draws, Kernel, SweepInfo
from walkers.posterior.model import ModelTarget
from walkers.posterior.moves import AbstractMove, Auxiliary, ContentMove, Rebirth
from walkers.posterior.prior_draw import CountPrior, PriorDraw
from walkers.posterior.prior_walk import PriorTarget, PriorWalk
from walkers.posterior.proposals import standard_normal, unfitted_mixture
from walkers.posterior.split import split_merge
from walkers.posterior.start import prior_draws
from walkers.posterior.target import ChainState, log_prior, state_at
from walkers.posterior.trajectories import HMC, initial_tuning
from walkers.posterior.warmup import learned

SCHEMA = "jaxlik/chains/1"
"""Name of the checkpoint format; another number means another layout."""

PRIOR_DRAW, TRAJECTORY = "draw from the prior", "trajectory"

SWEEPS = (
    "walk on the prior",
    "simple model in or out",
    "birth or death",
    "channel",
    TRAJECTORY,
    "replace",
    "exchange channel",
    "simple model in or out",
    "production",
    "simple model anew",
    "exchange production",
    "split or merge",
    "coordinates anew",
)
"""What else sweeps do, in turn. Each begins with a model from the prior, and every third does
nothing else, twice: most contents are as good as the Standard Model, and these proposals are what
makes draws of them independent. Short sweeps keep more of them."""

WALK = (
    "birth or death",
    "replace",
    "coordinates anew",
    "birth or death",
    "channel",
    "production",
    "exchange channel",
    "birth or death",
)
"""Order of the moves of a walk on the prior, from its end to its middle."""


class Block(NamedTuple):
    """What a block of sweeps gave.

    Attributes:
        draws: Kept states.
        acceptance: Accepted share of each move, then that of trajectories.
        done: Draws of each chain so far, this block included; 0 during warm-up.
    """

    draws: Draws
    acceptance: dict[str, float]
    done: int


class SamplerState(NamedTuple):
    """Everything a run needs to go on.

    Attributes:
        states: Where the chains stand.
        kernel: With all that was learned.
        blocks: Blocks done, those of warm-up included.
    """

    states: ChainState
    kernel: Kernel
    blocks: int


def model_target(engine: Engine, config: SampleConfig, maps: Engine | None = None) -> ModelTarget:
    """The posterior of a configuration.

    Args:
        engine: Scores every candidate.
        config: Prior and supports.
        maps: Has the last word on what `engine` accepts; `None` for nobody.
    """
    widths = Widths(
        largest_lbp=config.largest_lbp,
        smallest_gap=config.smallest_gap,
        logit=config.logit_width,
        strength=config.strength_width,
    )
    return ModelTarget(  # type: ignore[reportCallIssue]
        engine=engine,
        widths=widths,
        prior=config.prior,
        max_particles=config.max_particles,
        critic=config.critic,
        maps=maps,
    )


def model_kernel(target: ModelTarget, simple: Simple | None, config: SampleConfig) -> Kernel:
    """All moves, not yet adapted.

    Args:
        target: What to sample.
        simple: Scored simple models for births; `None` for a kernel without such moves.
        config: Length of trajectories.
    """
    space = target.space
    fittings = Fittings(space)
    moves: dict[str, AbstractMove] = {
        "birth or death": ContentMove(BirthDeath(fittings)),
        "replace": Replace(fittings),
        "channel": ContentMove(Eligible(space, "channels")),
        "exchange channel": ContentMove(Exchange(space, "channels")),
        "production": ContentMove(Eligible(space, "productions")),
        "exchange production": ContentMove(Exchange(space, "productions")),
        "coordinates anew": Rebirth(jnp.asarray(coordinate_blocks(space))),
    }
    if simple is not None and np.isfinite(simple.score).any():
        table = lead_table(space, simple.points, simple.score, target.widths)
        moves["simple model in or out"] = LeadBirth(space, table)
        moves["simple model anew"] = LeadRebirth(space, table)
    prior = PriorTarget(  # type: ignore[reportCallIssue]
        space=space,
        widths=target.widths,
        prior=target.prior,
        max_particles=target.max_particles,
    )
    moves["walk on the prior"] = PriorWalk(prior, tuple(moves[name] for name in WALK))
    moves[PRIOR_DRAW] = PriorDraw(CountPrior(space, target.widths, target.max_particles))
    if len(canonical_pairs(space)):
        moves["split or merge"] = split_merge(space, target.widths)
    names = [name for name in dict.fromkeys((PRIOR_DRAW, *SWEEPS)) if name in moves]
    number = {name: index for index, name in enumerate([*names, TRAJECTORY])}
    others = [number[other] for other in SWEEPS if other in number]
    size = layout(space).size
    return Kernel(
        target,
        tuple(moves[name] for name in names),
        tuple(short_sweeps(number[PRIOR_DRAW], others)),
        HMC(num_leapfrogs=config.leapfrogs),
        initial_tuning(size),
        Auxiliary(unfitted_mixture(jnp.arange(size)), standard_normal(size)),
        tuple(names),
    )


def short_sweeps(draw: int, others: list[int]) -> list[tuple[int, int]]:
    """Rows of a schedule: a draw from the prior and another task, twice, then two draws."""
    rows = []
    for first in range(0, len(others), 2):
        rows += [*((draw, other) for other in others[first : first + 2]), (draw, draw)]
    return rows


def coordinate_blocks(space: ModelSpace) -> Int[np.ndarray, " parameter"]:
    """Coordinates that are drawn anew together: a mass, the channels of a mother, a mode."""
    count = space.num_particles
    return np.concatenate(
        [
            np.arange(count),
            count + np.asarray(space.channel_parent),
            2 * count + np.arange(space.num_productions),
        ]
    )


def first_state(
    target: ModelTarget, kernel: Kernel, good: ModelPoint | None, config: SampleConfig
) -> SamplerState:
    """Where chains start: every second one from the prior, the others from good models.

    Args:
        target: What to sample.
        kernel: From `model_kernel`.
        good: Models, stacked, best first; chains from the prior only if there are none.
        config: Seed and number of chains.
    """
    space = target.space
    bits, vectors = prior_draws(
        space, target.widths, config.chains, config.seed, max_particles=config.max_particles
    )
    # A draw that the critic excludes starts with the LBP alone, which is always allowed.
    alone = np.arange(bits.shape[1]) == space.lbp
    places = [(jnp.asarray(b), jnp.asarray(v)) for b, v in zip(bits, vectors, strict=True)]
    if good is not None:
        points = [jax.tree.map(lambda leaf, i=i: leaf[i], good) for i in range(len(good.masses))]
        starts = [target.coordinates(point) for point in points]
        for number in range(1, config.chains, 2):
            places[number] = starts[(number // 2) % len(starts)]
    stacked = tuple(jnp.stack(part) for part in zip(*places, strict=True))
    states = starting_states(target, *stacked)
    lonely = starting_states(target, jnp.broadcast_to(jnp.asarray(alone), bits.shape), stacked[1])
    known = jnp.isfinite(states.log_likelihood) & jnp.isfinite(states.exact)

    def taken(new: Array, old: Array) -> Array:
        return jnp.where(known.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)

    return SamplerState(jax.tree.map(taken, states, lonely), kernel, 0)


@eqx.filter_jit
def starting_states(
    target: ModelTarget,
    bits: Bool[Array, "chain bit"],
    vectors: Float[Array, "chain parameter"],
) -> ChainState:
    """Chains with their likelihoods."""
    return jax.vmap(lambda b, v: state_at(target, b, v))(bits, vectors)


def sample(
    state: SamplerState,
    config: SampleConfig,
    *,
    on_block: Callable[[SamplerState, Block], None],
) -> SamplerState:
    """Warm up, then draw.

    Args:
        state: From `first_state`, or from a checkpoint of the same configuration (the
            number of draws may have grown).
        config: Seed, chains, draws, thinning, length of blocks and of warm-up.
        on_block: Called after every block; whatever it stores is enough to go on.
    """
    key = jax.random.key(config.seed)
    wanted = config.warmup + -(-config.draws // config.block)
    first = state.blocks
    while state.blocks < wanted:
        states, draws, info = run_groups(
            key,
            state.kernel,
            state.states,
            num_draws=config.block,
            thin=config.thin,
            first_sweep=state.blocks * config.block * config.thin,
            compiled=state.blocks > first,
        )
        kernel = state.kernel
        if state.blocks < config.warmup:
            kernel = learned(kernel, draws.bits, draws.vector, info.trajectory)
        state = SamplerState(states, kernel, state.blocks + 1)
        done = max(state.blocks - config.warmup, 0) * config.block
        on_block(state, Block(draws, _acceptance(kernel, info), done))
    return state


@eqx.filter_jit
def models_of(target: ModelTarget, draws: Draws) -> tuple[ModelPoint, Float[Array, "chain draw"]]:
    """Models of kept states, and the logarithm of their prior."""

    def one(bits: Array, vector: Array) -> tuple[ModelPoint, Array]:
        return target.point(bits, vector), log_prior(target, bits, vector)

    return jax.vmap(jax.vmap(one))(draws.bits, draws.vector)


def _acceptance(kernel: Kernel, info: SweepInfo) -> dict[str, float]:
    tried, taken = (np.asarray(a).sum(axis=0) for a in (info.proposed, info.accepted))
    found = {
        name: float(a / t) if t else 0.0
        for name, t, a in zip(kernel.names, tried, taken, strict=True)
    }
    moved = np.asarray(info.trajectory.moved).sum()
    found[TRAJECTORY] = float(np.asarray(info.trajectory.accepted).sum() / max(moved, 1))
    return found


def save_sampler(path: Path, state: SamplerState) -> None:
    """Write a checkpoint; an existing file is replaced only by a complete one.

    Args:
        path: File to write (NumPy archive, no pickle).
        state: What to keep: of the kernel only what was learned.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in _named(state).items()}
    write_arrays(path, SCHEMA, arrays)


def load_sampler(path: Path, like: SamplerState) -> SamplerState:
    """Read a checkpoint.

    Args:
        path: File written by `save_sampler`.
        like: A state of the same configuration and database.

    Raises:
        CheckpointError: no such file, damaged, or of another run.
    """
    stored, wanted = read_arrays(path, SCHEMA), _named(like)
    fits = set(stored) == set(wanted) and all(
        np.shape(stored[name]) == np.shape(leaf) for name, leaf in wanted.items()
    )
    if not fits:
        raise CheckpointError(
            f"checkpoint {path} is of another run; resume with the configuration and database of "
            "the interrupted one"
        )
    flat = {name: jnp.asarray(stored[name]) for name in wanted}
    states = ChainState(*(flat[f"states.{name}"] for name in ChainState._fields))
    learned = tuple(flat[f"kernel.{name}"] for name in LEARNED)
    kernel = eqx.tree_at(_learned_leaves, like.kernel, learned)
    return SamplerState(states, kernel, int(flat["blocks"]))


LEARNED = ("step_size", "inverse_mass", "mean", "scale")
"""What warm-up changes of a kernel."""


def _learned_leaves(kernel: Kernel) -> tuple[Array, ...]:
    fitted: Any = kernel.auxiliary.entering
    return (
        kernel.tuning.step_size,
        kernel.tuning.inverse_mass,
        fitted.fitted.mean,
        fitted.fitted.scale,
    )


def _named(state: SamplerState) -> dict[str, Any]:
    """Leaves of a checkpoint by name."""
    named: dict[str, Any] = {
        f"states.{name}": getattr(state.states, name) for name in ChainState._fields
    }
    for name, leaf in zip(LEARNED, _learned_leaves(state.kernel), strict=True):
        named[f"kernel.{name}"] = leaf
    return named | {"blocks": np.asarray(state.blocks)}
