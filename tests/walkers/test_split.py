"""Splits and merges of interchangeable particles: inverse of each other, with the right ratio."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxlik.physics.bijections import layout
from jaxlik.physics.model import make_space, point_from_dict
from jaxlik.physics.whitened import Widths, from_model, to_model
from walkers.posterior.moves import Auxiliary
from walkers.posterior.prior_walk import PriorTarget
from walkers.posterior.proposals import standard_normal
from walkers.posterior.split import Shares, split_merge
from walkers.posterior.target import state_at
from walkers.posterior.twins import Copies, twin_table

WIDTHS = Widths(strength=0.6)
NUM_KEYS = 400
LBP, GLUINO, STOP, STOP_2, SBOTTOM, SBOTTOM_2 = (
    1000022, 1000021, 1000006, 2000006, 1000005, 2000005,
)  # fmt: skip
N2, N3, C1 = 1000023, 1000025, 1000024
STARTS = {
    "stop": {
        "masses": {LBP: 100.0, STOP: 600.0},
        "branching_ratios": {STOP: {(LBP, 6): 1.0}},
        "signal_strengths": {(-STOP, STOP): 1.4},
    },
    "sbottom": {
        "masses": {LBP: 200.0, SBOTTOM: 700.0, STOP: 500.0, GLUINO: 1500.0},
        "branching_ratios": {
            SBOTTOM: {(LBP, 5): 0.7, (STOP, 24): 0.3},
            STOP: {(LBP, 6): 1.0},
            GLUINO: {(SBOTTOM, 5): 1.0},
        },
        "signal_strengths": {(SBOTTOM, GLUINO): 0.8, (-SBOTTOM, GLUINO): 0.0},
    },
    "gauginos": {
        "masses": {LBP: 50.0, N2: 400.0, C1: 390.0},
        "branching_ratios": {N2: {(LBP, 23): 0.2, (LBP, 25): 0.8}, C1: {(LBP, 24): 1.0}},
        "signal_strengths": {(N2, C1): 0.5, (N2, N2): 0.0},
    },
}


@pytest.fixture(scope="module")
def target(space):
    return PriorTarget(space=space, widths=WIDTHS)


@pytest.fixture(scope="module")
def starts(space, target):
    """Every start many times."""
    points = [point_from_dict(space, document) for document in STARTS.values()]
    rows = [from_model(space, point, WIDTHS) for point in points]
    states = [state_at(target, *row) for row in rows]
    assert all(state.log_likelihood == 0 for state in states)
    return jax.tree.map(lambda *leaves: jnp.repeat(jnp.stack(leaves), NUM_KEYS, axis=0), *states)


@pytest.fixture(scope="module")
def propose(space, target):
    """A candidate for each state, and the probability of its acceptance under the prior."""
    move = split_merge(space, WIDTHS)
    rest = standard_normal(layout(space).size)
    auxiliary = Auxiliary(rest, rest)

    @eqx.filter_jit
    @eqx.debug.assert_max_traces(max_traces=1)
    def propose(keys, states):
        def one(key, state):
            draw, _ = jax.random.split(key)
            _, info = move(key, target, state, auxiliary)
            return move.candidate(draw, target, state, auxiliary), info.probability

        return jax.vmap(one)(keys, states)

    def many(seed, states):
        return propose(jax.random.split(jax.random.key(seed), len(states.bits)), states)

    return many


@pytest.fixture(scope="module")
def splits(starts, propose):
    return propose(0, starts)


def moved(states, candidate):
    return states._replace(bits=candidate.bits, vector=candidate.vector)


def strengths(space, states):
    points = jax.vmap(to_model, (None, 0, 0, None))(space, states.bits, states.vector, WIDTHS)
    return np.asarray(points.signal_strengths)


def test_twins_have_the_same_decays_and_productions(space):
    twins, blocks = twin_table(space), layout(space)
    partner = np.asarray(twins.partner)
    np.testing.assert_array_equal(partner.argsort(axis=1), partner)  # Its own inverse.
    pairs = [(space.pdg_ids[a], space.pdg_ids[b]) for a, b in zip(*twins[:2], strict=True)]
    row = dict(zip(pairs, partner, strict=True))

    def channel(*which):
        return blocks.branching.start + space.channel_index(*which)

    def mode(*which):
        return blocks.strengths.start + space.production_index(*which)

    stop, gaugino = row[STOP, STOP_2], row[N2, N3]
    assert stop[channel(STOP_2, LBP, [6])] == channel(STOP, LBP, [6])
    assert stop[channel(STOP_2, STOP, [23])] == channel(STOP_2, STOP, [23])
    assert stop[mode(-STOP, STOP)] == mode(-STOP_2, STOP_2)
    assert row[SBOTTOM, SBOTTOM_2][mode(-SBOTTOM_2, GLUINO)] == mode(-SBOTTOM, GLUINO)
    assert gaugino[mode(N3, -C1)] == mode(N2, -C1)
    assert gaugino[mode(N2, N3)] == mode(N2, N3)
    # Itself, 3 decays of 9, 5 productions: in pairs, and with charginos.
    assert (gaugino != np.arange(blocks.size)).sum() == 2 * (1 + 3 + 5)


def test_a_space_without_twins_is_refused():
    space = make_space([LBP, STOP], [(STOP, LBP, (6,))], [(-STOP, STOP)])
    with pytest.raises(ValueError, match="interchangeable"):
        split_merge(space, WIDTHS)


def test_probabilities_of_all_copies_sum_to_one(space, starts):
    """Sbottoms with a stop and a gluino: 4 channels, not all off, and 3 productions."""
    copies, blocks = Copies(space, twin_table(space)), layout(space)
    bits = np.asarray(starts.bits[NUM_KEYS])
    heavy = space.particle_index(SBOTTOM_2)
    pair = int(np.flatnonzero(np.asarray(copies.twins.heavy) == heavy)[0])
    with_it = bits[: space.num_particles] | (np.arange(space.num_particles) == heavy)
    parent, daughter = np.asarray(space.channel_parent), np.asarray(space.channel_daughter)
    both = np.asarray(space.production_pair)
    free = np.concatenate(
        [
            np.zeros(space.num_particles, bool),
            (parent == heavy) & with_it[daughter],
            (both == heavy).any(axis=1) & with_it[both].all(axis=1),
        ]
    )
    places = np.flatnonzero(free)
    sets = np.array(list(itertools.product([False, True], repeat=len(places))))
    rows = np.tile(bits, (len(sets), 1))
    rows[:, heavy] = True
    rows[:, places] = sets
    logs = np.asarray(jax.vmap(copies.log_probability, (0, None))(jnp.asarray(rows), pair))
    some = rows[:, blocks.branching][:, parent == heavy].any(axis=1)
    assert len(places) == 7
    np.testing.assert_array_equal(np.isfinite(logs), some)
    np.testing.assert_allclose(np.exp(logs).sum(), 1.0, rtol=1e-12)
    # What is drawn has these probabilities.
    number = 20_000
    keys = jax.random.split(jax.random.key(1), number)
    drawn = np.asarray(jax.vmap(copies.draw, (0, None, None))(keys, jnp.asarray(bits), pair))
    assert (drawn.sum(axis=0) > 0).sum() == 8
    digits = 1 << np.arange(7)
    codes = drawn[:, places] @ digits
    counts = np.bincount(codes, minlength=128)[sets @ digits]
    expected = number * np.exp(logs)
    common = expected > 5
    table = np.array([*counts[common], counts[~common].sum()])
    wanted = np.array([*expected[common], expected[~common].sum()])
    assert stats.chisquare(table, wanted).pvalue > 1e-5


def test_shares_keep_the_sum_and_the_volume():
    shares = Shares(WIDTHS)
    rng = np.random.default_rng(0)
    for whole, gap in rng.normal(size=(20, 2)) * [1.0, 2.0]:
        light, heavy = shares.parts(whole, gap)
        kappa = np.exp(0.6 * np.array([whole, light, heavy]))
        np.testing.assert_allclose(kappa[1] + kappa[2], kappa[0], rtol=1e-12)
        np.testing.assert_allclose(light - heavy, gap, atol=1e-12)
        np.testing.assert_allclose(shares.whole(light, heavy), whole, atol=1e-12)
        slopes = jax.jacfwd(lambda x: jnp.stack(shares.parts(x[0], x[1])))(jnp.array([whole, gap]))
        np.testing.assert_allclose(abs(np.linalg.det(slopes)), 1.0, rtol=1e-12)


def test_merging_what_was_split_gives_the_model_back(starts, splits, propose):
    candidate, _ = splits
    assert np.isfinite(candidate.log_ratio).all()
    back, _ = propose(1, moved(starts, candidate))
    start = np.asarray(starts.bits)
    # Where two pairs have their lighter particle, the other one may be split instead.
    same = (np.asarray(back.bits) == start).all(axis=1)
    assert same[:NUM_KEYS].all()
    assert same.mean() > 0.6
    for first, last in ((starts.vector, back.vector), (-candidate.log_ratio, back.log_ratio)):
        used = start if first.ndim == 2 else np.ones(len(start), bool)
        keep = used & (same[:, None] if first.ndim == 2 else same)
        np.testing.assert_allclose(np.asarray(last)[keep], np.asarray(first)[keep], atol=1e-9)


def test_splits_conserve_signal_strength(space, starts, splits):
    """Of every production that both particles have; all others of old particles stay."""
    candidate, _ = splits
    before = strengths(space, starts)
    after = strengths(space, moved(starts, candidate))
    twins, first = twin_table(space), layout(space).strengths.start
    active = np.asarray(candidate.bits)[:, : space.num_particles]
    born = active & ~np.asarray(starts.bits)[:, : space.num_particles]
    assert (born.sum(axis=1) == 1).all()
    divided = 0
    for pair, heavy in enumerate(np.asarray(twins.heavy)):
        rows = born[:, heavy]
        partner = np.asarray(twins.partner)[pair, first:] - first
        old = ~(np.asarray(space.production_pair) == heavy).any(axis=1)
        other = np.where(partner != np.arange(len(partner)), after[:, partner], 0.0)
        sums = np.where(before > 0, after + other, 0.0)
        np.testing.assert_allclose(sums[rows][:, old], before[rows][:, old], rtol=1e-12)
        divided += ((other > 0) & (before > 0))[rows][:, old].sum()
    assert divided > NUM_KEYS


def test_ratio_of_a_split_is_the_density_of_what_was_drawn(space, starts, splits):
    """A stop that decays to t LBP, with formulas and SciPy."""
    candidate, _ = splits
    blocks = layout(space)
    decays = [space.channel_index(STOP_2, LBP, [6]), space.channel_index(STOP_2, STOP, [23])]
    first, second = (blocks.branching.start + place for place in decays)
    light, heavy = (
        blocks.strengths.start + space.production_index(-pid, pid) for pid in (STOP, STOP_2)
    )
    logit = blocks.branching.start + space.channel_index(STOP, LBP, [6])
    mass = space.particle_index(STOP_2)
    seen = set()
    for row in range(NUM_KEYS):
        bits, vector = np.asarray(candidate.bits[row]), np.asarray(candidate.vector[row])
        one, other = bits[first], bits[second]
        chance = {(1, 0): 0.9 * 0.9, (0, 1): 0.1 * 0.1, (1, 1): 2 * 0.9 * 0.1}[one, other]
        density = np.log(chance * (0.8 if bits[heavy] else 0.2))
        density += np.log(
            0.3 * stats.norm.pdf(vector[mass]) + 0.7 * stats.norm.pdf(vector[mass], -0.5, 0.7)
        )
        for place, there in ((first, one), (second, other)):
            near = stats.norm.pdf(vector[place])
            if one and other and place == first:
                centre = float(starts.vector[row, logit])
                near = 0.3 * near + 0.7 * stats.norm.pdf(vector[place], centre, 0.4)
            density += np.log(near) if there else 0.0
        if bits[heavy]:
            density += stats.norm.logpdf(vector[light] - vector[heavy], scale=2**0.5)
        np.testing.assert_allclose(candidate.log_ratio[row], -density, rtol=1e-10)
        seen.add((bool(one), bool(other), bool(bits[heavy])))
    assert len(seen) >= 4


def test_splits_and_merges_are_accepted_under_the_prior(space, starts, splits, propose):
    """Splits cost what the prior asks for one more particle, merges gain it.

    Seen, splits: 2.7, 1.2 and 0.7 %. Then again, to merge, or to split another pair: 100, 50, 49 %.
    """
    candidate, forth = splits
    _, back = propose(2, moved(starts, candidate))
    for number in range(len(STARTS)):
        rows = slice(number * NUM_KEYS, (number + 1) * NUM_KEYS)
        assert np.mean(forth[rows]) > 0.003
        assert np.mean(back[rows]) > 0.2


def test_nothing_merges_while_something_decays_to_it(space, starts, splits, propose):
    """Nor is there anything to do without the lighter particle."""
    candidate, _ = splits
    decay = layout(space).branching.start + space.channel_index(GLUINO, SBOTTOM_2, [5])
    states = moved(starts, candidate)
    born = np.asarray(states.bits)[:, space.particle_index(SBOTTOM_2)]
    found, probability = propose(3, states._replace(bits=states.bits.at[:, decay].set(True)))
    died = ~np.asarray(found.bits)[:, space.particle_index(SBOTTOM_2)]
    assert (born & died).sum() > 0.1 * NUM_KEYS
    assert (np.asarray(found.log_ratio)[born & died] == -np.inf).all()
    assert (np.asarray(probability)[born & died] == 0).all()
    lonely = starts._replace(bits=jnp.zeros_like(starts.bits).at[:, space.lbp].set(True))
    found, probability = propose(4, lonely)
    assert (np.asarray(found.log_ratio) == -np.inf).all()
    assert (np.asarray(probability) == 0).all()
