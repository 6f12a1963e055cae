r"""Moves between contents: one Metropolis-Hastings step for all of them.

Bits change as a `AbstractBitProposal` says. Coordinates that come into use are drawn from
a density q, those that leave are refreshed from the pseudo-prior, which then cancels: what
is left is reversible jump with a Jacobian of one. With E the coordinates that come into use, V
those that leave, r the probabilities of the change of bits, and N the prior,

$$ \ln a = \ln\frac{p(\gamma')\, L(\gamma', u')\, N(u')}{p(\gamma)\, L(\gamma, u)\, N(u)}
   + \ln\frac{r(\gamma|\gamma')}{r(\gamma'|\gamma)}
   + \ln\frac{q(u_V|u_S)}{q(u'_E|u_S)}, $$

where S are the coordinates that stay in use and keep their values. Densities see no others.

A move only makes a `Candidate`; `decide` evaluates its likelihood. A kernel thus compiles the
likelihood once, not once per move.

References:
    P. J. Green, Biometrika 82 (1995) 711, eq. 7.
    S. J. Godsill, J. Comput. Graph. Stat. 10 (2001) 230, section 3.
    J. A. Christen, C. Fox, J. Comput. Graph. Stat. 14 (2005) 795: the second stage.
"""

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxlik.typing import Array, Bool, Float, Int, Key, Scalar
from walkers.delayed import Densities, delayed_accept
from walkers.posterior.proposals import AbstractDensity
from walkers.posterior.target import AbstractProductTarget, ChainState, log_prior


class Auxiliary(NamedTuple):
    """Densities that moves draw from; fixed while a chain runs.

    Attributes:
        entering: q, of coordinates that come into use.
        resting: The pseudo-prior of coordinates not in use; must not depend on others.
    """

    entering: AbstractDensity
    resting: AbstractDensity


class Candidate(NamedTuple):
    """Where a chain may go.

    Attributes:
        bits: Content.
        vector: Coordinates.
        log_ratio: ln of the proposal densities, back over forth; `-inf` rejects. The target
            itself is not part of it.
    """

    bits: Bool[Array, " bit"]
    vector: Float[Array, " parameter"]
    log_ratio: Scalar


class MoveInfo(NamedTuple):
    """What became of a candidate.

    Attributes:
        accepted: The chain moved.
        probability: Of passing the first stage.
    """

    accepted: Bool[Array, ""]
    probability: Scalar


def decide(
    key: Key[Array, ""], target: AbstractProductTarget, state: ChainState, candidate: Candidate
) -> tuple[ChainState, MoveInfo]:
    """Accept or reject a candidate: one evaluation of the likelihood.

    Where the target has an `exact` likelihood, a candidate accepted with the cheap one
    faces it in a second stage; the cheap step alone must be reversible, as it is for
    every candidate with the ratio of its own proposal.
    """
    log_likelihood = target.log_likelihood(candidate.bits, candidate.vector)
    change = log_prior(target, candidate.bits, candidate.vector)
    change = change - log_prior(target, state.bits, state.vector) + candidate.log_ratio
    log_accept = change + log_likelihood - state.log_likelihood
    if target.has_exact:
        accepted, after = delayed_accept(
            key,
            Densities(state.log_likelihood, state.exact),
            log_likelihood,
            change,
            lambda: target.exact(candidate.bits, candidate.vector),
        )
        proposed = ChainState(candidate.bits, candidate.vector, after.learned, after.exact)
    else:
        accepted = jnp.log(jax.random.uniform(key, dtype=log_accept.dtype)) < log_accept
        proposed = ChainState(candidate.bits, candidate.vector, log_likelihood, log_likelihood)
    chosen = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), proposed, state)
    probability = jnp.where(jnp.isnan(log_accept), 0.0, jnp.exp(jnp.minimum(log_accept, 0.0)))
    return chosen, MoveInfo(accepted, probability)


def content_candidate(
    key: Key[Array, ""],
    target: AbstractProductTarget,
    state: ChainState,
    new_bits: Bool[Array, " bit"],
    log_forward: Scalar,
    log_backward: Scalar,
    auxiliary: Auxiliary,
    redraw: Bool[Array, " parameter"] | None = None,
) -> Candidate:
    """A candidate with other bits, or with some coordinates drawn anew.

    Args:
        key: Random key.
        target: Says which coordinates are in use.
        state: Where the chain stands.
        new_bits: Bits of the candidate.
        log_forward: ln r(new | old); `inf` for a change that is impossible.
        log_backward: ln r(old | new).
        auxiliary: Its `entering` density may be another one for each move, and may be
            centred on coordinates that stay.
        redraw: Coordinates in use before and after that are drawn anew as well.
    """
    draw, rest = jax.random.split(key)
    before, after = target.in_use(state.bits), target.in_use(new_bits)
    drawn = jnp.zeros_like(before) if redraw is None else redraw & before & after
    entering, leaving = (after & ~before) | drawn, (before & ~after) | drawn
    seen = jnp.where(before & after & ~drawn, state.vector, 0.0)
    fresh = auxiliary.entering.sample(draw, seen, entering)
    vector = auxiliary.resting.sample(rest, state.vector, before & ~after)
    vector = jnp.where(entering, fresh, vector)
    forth = auxiliary.entering.log_density(jnp.where(entering, fresh, seen), entering)
    back = auxiliary.entering.log_density(jnp.where(leaving, state.vector, seen), leaving)
    return Candidate(new_bits, vector, (log_backward + back) - (log_forward + forth))


def content_step(
    key: Key[Array, ""],
    target: AbstractProductTarget,
    state: ChainState,
    new_bits: Bool[Array, " bit"],
    log_forward: Scalar,
    log_backward: Scalar,
    auxiliary: Auxiliary,
    redraw: Bool[Array, " parameter"] | None = None,
) -> tuple[ChainState, MoveInfo]:
    """One whole Metropolis-Hastings step; arguments as for `content_candidate`."""
    draw, accept = jax.random.split(key)
    candidate = content_candidate(
        draw, target, state, new_bits, log_forward, log_backward, auxiliary, redraw
    )
    return decide(accept, target, state, candidate)


class AbstractBitProposal(eqx.Module):
    """How bits change."""

    @abstractmethod
    def propose(
        self, key: Key[Array, ""], bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> tuple[Bool[Array, " bit"], Scalar, Scalar]:
        """New bits, ln r(new | old) and ln r(old | new).

        A change that is impossible from here has ln r(new | old) = `inf`, which rejects. The
        vector may only be looked at through coordinates that stay in use and keep their
        values, because r(old | new) is evaluated without the others.
        """


class FlipOne(AbstractBitProposal):
    """One bit changes, each of a mask with the same probability.

    Attributes:
        mask: Bits that may change; at least one.
    """

    mask: Bool[Array, " bit"] = eqx.field(converter=jnp.asarray)

    def propose(
        self, key: Key[Array, ""], bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> tuple[Bool[Array, " bit"], Scalar, Scalar]:
        """Symmetric: back is as probable as forth."""
        one = one_of(key, self.mask)
        none = jnp.zeros((), vector.dtype)
        return bits ^ one, none, none


class Swap(AbstractBitProposal):
    """One bit on goes off, one bit off comes on: their number stays.

    Attributes:
        mask: Bits that may change.
    """

    mask: Bool[Array, " bit"] = eqx.field(converter=jnp.asarray)

    def propose(
        self, key: Key[Array, ""], bits: Bool[Array, " bit"], vector: Float[Array, " parameter"]
    ) -> tuple[Bool[Array, " bit"], Scalar, Scalar]:
        """Symmetric, because the numbers to choose from stay the same."""
        first, second = jax.random.split(key)
        off, on = bits & self.mask, ~bits & self.mask
        new = bits ^ one_of(first, off) ^ one_of(second, on)
        possible = jnp.any(off) & jnp.any(on)
        none = jnp.zeros((), vector.dtype)
        return new, jnp.where(possible, none, jnp.inf), none


class AbstractMove(eqx.Module):
    """One kind of change, as a pure function from a key and a state to a candidate."""

    @abstractmethod
    def candidate(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> Candidate:
        """Suggest another state; the likelihood is not evaluated here."""

    def __call__(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> tuple[ChainState, MoveInfo]:
        """Suggest and decide."""
        draw, accept = jax.random.split(key)
        return decide(accept, target, state, self.candidate(draw, target, state, auxiliary))


class ContentMove(AbstractMove):
    """Bits change; coordinates follow.

    Attributes:
        proposal: How bits change.
        entering: Density of coordinates that come into use, instead of the kernel's.
    """

    proposal: AbstractBitProposal
    entering: AbstractDensity | None = None

    def candidate(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> Candidate:
        """Other bits, with the coordinates they need."""
        choose, draw = jax.random.split(key)
        new_bits, forth, back = self.proposal.propose(choose, state.bits, state.vector)
        if self.entering is not None:
            auxiliary = auxiliary._replace(entering=self.entering)
        return content_candidate(draw, target, state, new_bits, forth, back, auxiliary)


class Rebirth(AbstractMove):
    """Coordinates of one block in use are drawn anew: hops between distant modes.

    Attributes:
        block: Block of each coordinate, from 0 to at most the number of coordinates less 1.
    """

    block: Int[Array, " parameter"] = eqx.field(converter=jnp.asarray)

    def candidate(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> Candidate:
        """Each block in use has the same probability, before and after."""
        choose, draw = jax.random.split(key)
        used = (
            jnp.zeros_like(target.in_use(state.bits)).at[self.block].max(target.in_use(state.bits))
        )
        redraw = one_of(choose, used)[self.block]
        none = jnp.zeros((), state.vector.dtype)
        forth = jnp.where(jnp.any(used), none, jnp.inf)
        return content_candidate(draw, target, state, state.bits, forth, none, auxiliary, redraw)


class Refresh(eqx.Module):
    """Coordinates not in use are drawn from the pseudo-prior: exact, always accepted."""

    def __call__(
        self,
        key: Key[Array, ""],
        target: AbstractProductTarget,
        state: ChainState,
        auxiliary: Auxiliary,
    ) -> ChainState:
        """The state with other coordinates out of use."""
        resting = ~target.in_use(state.bits)
        return state._replace(vector=auxiliary.resting.sample(key, state.vector, resting))


def one_of(key: Key[Array, ""], mask: Bool[Array, " n"]) -> Bool[Array, " n"]:
    """One of the marked entries, all equally probable; none where none is marked."""
    # Ranks of uniform numbers: no division, and no logarithm of zero.
    draws = jnp.where(mask, jax.random.uniform(key, mask.shape), -1.0)
    return mask & (jnp.arange(mask.shape[0]) == jnp.argmax(draws))
