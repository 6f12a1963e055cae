"""One sweep: moves between contents, trajectories, a refresh; and chains of sweeps.

Each factor leaves the target invariant, so their composition in a fixed order does too.
Tasks are scanned over with one evaluation of the likelihood in the body: the program holds it
once, however many moves there are, and particle content is data.

Keys are folded from the seed, the number of the chain and that of the sweep. What a chain
does therefore depends neither on how many run beside it nor on how a run is cut into pieces.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxlik.typing import Array, Bool, Float, Int, Key
from walkers.posterior.moves import (
    AbstractMove,
    Auxiliary,
    ContentMove,
    FlipOne,
    Rebirth,
    Refresh,
    Swap,
    decide,
)
from walkers.posterior.proposals import standard_normal, unfitted_mixture
from walkers.posterior.target import AbstractProductTarget, ChainState
from walkers.posterior.trajectories import (
    GIST,
    AbstractTrajectory,
    Flight,
    TrajectoryInfo,
    Tuning,
    initial_tuning,
    landed,
)


class SweepInfo(NamedTuple):
    """Counts, per sweep or summed over sweeps.

    Attributes:
        proposed: Candidates of each move.
        accepted: Those accepted.
        trajectory: What trajectories did.
    """

    proposed: Int[Array, " move"]
    accepted: Int[Array, " move"]
    trajectory: TrajectoryInfo


class Kernel(eqx.Module):
    """A Markov kernel that leaves the target invariant.

    Attributes:
        target: What is sampled.
        moves: Moves between contents.
        schedule: Tasks of each sweep, by the number of the move; `len(moves)` is a trajectory.
            Sweeps follow the rows, all of one length, in turn.
        trajectory: Kernel at fixed content.
        tuning: Its step size and metric.
        auxiliary: Densities of coordinates that come into use, or rest.
        names: Of the moves, for reports; none if nobody reads them.
    """

    target: AbstractProductTarget
    moves: tuple[AbstractMove, ...]
    schedule: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    trajectory: AbstractTrajectory
    tuning: Tuning
    auxiliary: Auxiliary
    names: tuple[str, ...] = eqx.field(static=True, default=())

    def sweep(
        self, key: Key[Array, ""], state: ChainState, number: Int[Array, ""] | int = 0
    ) -> tuple[ChainState, SweepInfo]:
        """The tasks of one row, then a refresh; `jax.vmap` it over chains.

        Args:
            key: Random key.
            state: Where the chain stands.
            number: Of the sweep, which says the row; the same for all chains of a batch, which
                then run one task at a time instead of all of them.
        """
        draw, rest = jax.random.split(key)
        tasks = jnp.asarray(self.schedule)[number % len(self.schedule)]
        branches = [*(self._move(move) for move in self.moves), self._trajectory()]
        kinds = jnp.arange(len(self.moves))

        def step(carry: tuple[ChainState, SweepInfo], task: tuple[Array, Array]):
            (here, total), (one, kind) = carry, task
            fly, accept = jax.random.split(one)
            flight = jax.lax.switch(kind, branches, fly, here)
            moved = (kind == len(self.moves)) & jnp.any(self.target.in_use(here.bits))
            here, info = decide(accept, self.target, here, flight.candidate)
            more = SweepInfo(
                (kinds == kind).astype(jnp.int32),
                ((kinds == kind) & info.accepted).astype(jnp.int32),
                landed(flight, info, moved),
            )
            return (here, jax.tree.map(jnp.add, total, more)), None

        keys = jax.random.split(draw, len(self.schedule[0]))
        carry, _ = jax.lax.scan(step, (state, no_counts(self)), (keys, tasks))
        state, info = carry
        return Refresh()(rest, self.target, state, self.auxiliary), info

    def _trajectory(self) -> Callable[[Key[Array, ""], ChainState], Flight]:
        """The trajectory as a task."""
        return lambda key, here: self.trajectory.flight(key, self.target, here, self.tuning)

    def _move(self, move: AbstractMove) -> Callable[[Key[Array, ""], ChainState], Flight]:
        """A move as a task: a trajectory without gradients."""

        def candidate(key: Key[Array, ""], here: ChainState) -> Flight:
            found = move.candidate(key, self.target, here, self.auxiliary)
            none = jnp.zeros((), here.vector.dtype)
            return Flight(found, none, jnp.zeros((), jnp.int32))

        return candidate


class Draws(NamedTuple):
    """Kept states.

    Attributes:
        bits: Contents.
        vector: Coordinates, in use or not.
        log_likelihood: ln L, from `log_likelihood`.
        exact: ln L, from `exact`.
    """

    bits: Bool[Array, "chain draw bit"]
    vector: Float[Array, "chain draw parameter"]
    log_likelihood: Float[Array, "chain draw"]
    exact: Float[Array, "chain draw"]


def standard_kernel(
    target: AbstractProductTarget,
    block: Int[Array, " parameter"],
    *,
    free: Bool[Array, " bit"] | None = None,
    num_flips: int = 8,
    num_swaps: int = 4,
    num_rebirths: int = 1,
    trajectory: AbstractTrajectory | None = None,
) -> Kernel:
    """The kernel of the specification, not yet adapted.

    Args:
        target: What to sample.
        block: Block of each coordinate: those drawn together.
        free: Bits that may change; `None` for all.
        num_flips: Flips of one bit per sweep.
        num_swaps: Swaps of two bits per sweep.
        num_rebirths: Blocks drawn anew per sweep.
        trajectory: Kernel at fixed content; `None` for `GIST`.
    """
    mask = jnp.ones(target.num_bits, bool) if free is None else jnp.asarray(free)
    moves = (ContentMove(FlipOne(mask)), ContentMove(Swap(mask)), Rebirth(block))
    tasks = np.repeat(np.arange(4), (num_flips, num_swaps, num_rebirths, 1))
    resting = standard_normal(target.num_parameters)
    return Kernel(
        target,
        moves,
        (tuple(int(kind) for kind in tasks),),
        GIST() if trajectory is None else trajectory,
        initial_tuning(target.num_parameters),
        Auxiliary(unfitted_mixture(block), resting),
    )


def chain_key(key: Key[Array, ""], chain: Int[Array, ""], step: Int[Array, ""]) -> Key[Array, ""]:
    """The key of one sweep of one chain."""
    return jax.random.fold_in(jax.random.fold_in(key, chain), step)


def run_chains(
    key: Key[Array, ""],
    kernel: Kernel,
    states: ChainState,
    *,
    num_draws: int,
    thin: int = 1,
    first_sweep: int = 0,
    chains: Int[Array, " chain"] | None = None,
    width: int | None = None,
) -> tuple[ChainState, Draws, SweepInfo]:
    """Run chains, and keep every `thin`-th state.

    Compiled once for each number of chains and draws; seeds, states, the first sweep
    and everything adapted are data.

    Args:
        key: Random key of the whole run.
        kernel: What to repeat.
        states: Where the chains stand, stacked.
        num_draws: States to keep of each chain.
        thin: Sweeps per kept state.
        first_sweep: Sweeps done before, so that a run may be cut into pieces.
        chains: Numbers of the chains, for their keys; `None` counts from zero.
        width: Chains evaluated side by side; the last group is filled up. The same width
            gives the same bits, however many chains there are; programs of other widths sum
            in another order. `None` for all of them.

    Returns:
        Where the chains stand then, what was kept, and counts summed over sweeps, per chain.
    """
    if chains is None:
        chains = jnp.arange(states.log_likelihood.shape[0])
    first = jnp.asarray(first_sweep, jnp.int32)
    return _run(key, kernel, states, first, chains, num_draws, thin, width)


@eqx.filter_jit
def _run(
    key: Key[Array, ""],
    kernel: Kernel,
    states: ChainState,
    first: Int[Array, ""],
    chains: Int[Array, " chain"],
    num_draws: int,
    thin: int,
    width: int | None,
) -> tuple[ChainState, Draws, SweepInfo]:
    """The compiled part of `run_chains`."""

    def one_chain(chain: Int[Array, ""], state: ChainState):
        def sweep(carry, step):
            here, total = carry
            here, info = kernel.sweep(chain_key(key, chain, step), here, step)
            return (here, jax.tree.map(jnp.add, total, info)), None

        def keep(carry, start):
            carry, _ = jax.lax.scan(sweep, carry, start + jnp.arange(thin, dtype=jnp.int32))
            return carry, Draws(*carry[0])

        starts = first + thin * jnp.arange(num_draws, dtype=jnp.int32)
        (state, total), kept = jax.lax.scan(keep, (state, no_counts(kernel)), starts)
        return state, kept, total

    side_by_side = jax.vmap(one_chain)
    if width is None:
        return side_by_side(chains, states)
    count = chains.shape[0]
    groups = -(-count // width)
    order = jnp.arange(groups * width) % count
    grouped = jax.tree.map(
        lambda leaf: leaf[order].reshape(groups, width, *leaf.shape[1:]), (chains, states)
    )
    found = jax.lax.map(lambda group: side_by_side(*group), grouped)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], found)


def no_counts(kernel: Kernel) -> SweepInfo:
    """Zeros, to add counts to."""
    moves, one = jnp.zeros(len(kernel.moves), jnp.int32), jnp.zeros((), jnp.int32)
    statistic = jnp.zeros_like(kernel.tuning.step_size)
    return SweepInfo(moves, moves, TrajectoryInfo(one, statistic, one, one))
