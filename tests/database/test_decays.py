import math

import pytest

from jaxlik.database import decays
from jaxlik.physics.model import make_space, protomodel_space

N1, N2, C1, STOP, SNEUTRINO, SLEPTON = 1000022, 1000023, 1000024, 1000006, 1000012, 1000011


@pytest.fixture(scope="module")
def space():
    return make_space(
        (N1, N2, C1, STOP, SNEUTRINO, SLEPTON),
        [
            (C1, N1, (24,)),
            (C1, N1, (1, 2)),
            (N2, N1, (23,)),
            (N2, C1, (24,)),
            (STOP, N1, (6,)),
            (STOP, C1, (5,)),
            (SNEUTRINO, N1, (12,)),
            (SLEPTON, N1, (11,)),
            (SLEPTON, C1, (12,)),
        ],
        [(-STOP, STOP), (-C1, C1)],
    )


def test_vertices_keep_signs_only_where_searches_see_them():
    assert decays.vertex((-1, 2)) == (1, 2)
    assert decays.vertex((11, -12)) == (11, 12)
    assert decays.vertex((-24, 5)) == (-24, 5)
    assert decays.vertex((-6, 23)) == (-6, 23)


def test_soft_channels_have_light_particles(space):
    soft = {space.channels[i] for i in decays.soft_channels(space)}
    assert (C1, N1, (1, 2)) in soft
    assert (STOP, C1, (5,)) in soft
    assert (STOP, N1, (6,)) not in soft
    assert (C1, N1, (24,)) not in soft  # the W is heavier than any prepared gap
    assert (SLEPTON, C1, (12,)) in soft


def test_invisible_channels_are_neutrinos_to_the_lightest(space):
    assert {space.channels[i] for i in decays.invisible_channels(space)} == {(SNEUTRINO, N1, (12,))}


def test_soft_reach_follows_chains_and_signs(space):
    reach = decays.soft_reach(space)
    assert reach[N1] == {N1: N1}
    assert set(reach[C1]) == {C1, N1}
    assert set(reach[SLEPTON]) == {SLEPTON, C1, N1}
    assert reach[SLEPTON][C1] == -C1  # a negative slepton leaves a negative chargino
    assert reach[-SLEPTON][C1] == C1


def brute_force(space, start, reach):
    """Branches as the definition says: visible vertices, soft decays in between."""
    found = set()

    def grow(node, vertices, daughters, nodes):
        if abs(node) == N1:
            found.add((vertices, daughters, nodes))
            return
        if len(vertices) == decays.MAX_VISIBLE:
            return
        for parent, daughter, sm in space.channels:
            if parent != abs(node):
                continue
            for state in decays.signed_final_states(node, daughter, sm):
                start = state[0] if state[0] in reach else abs(state[0])
                for target in reach[start].values():
                    step = decays.vertex(state[1:])
                    grow(target, (*vertices, step), (*daughters, daughter), (*nodes, target))

    grow(start, (), (), (start,))
    return found


@pytest.mark.parametrize("start", [STOP, -STOP, C1, N2, SNEUTRINO, N1])
def test_branches_are_all_chains_up_to_two_visible_steps(space, start):
    reach = decays.soft_reach(space)
    found = decays.branches_from(space, start, reach)
    complete = {(b.vertices, b.daughters, b.nodes) for b in found if not b.invisible}
    wanted = {chain for chain in brute_force(space, start, reach)}
    assert complete == wanted
    assert len({(b.vertices, b.channels, b.nodes, b.invisible) for b in found}) == len(found)


def test_shares_of_each_chain_of_channels_sum_to_one(space):
    reach = decays.soft_reach(space)
    for start in (N2, STOP, SLEPTON):
        total: dict[tuple, float] = {}
        for branch in decays.branches_from(space, start, reach):
            if branch.direct and not branch.invisible:
                total[branch.channels] = total.get(branch.channels, 0.0) + branch.share
        assert total
        assert all(math.isclose(share, 1) for share in total.values())


def test_a_majorana_mother_shares_both_charges(space):
    reach = decays.soft_reach(space)
    signs = {
        branch.vertices[0]: branch.share
        for branch in decays.branches_from(space, N2, reach)
        if branch.daughters[:1] == (C1,)
        and len(branch.vertices) == 2
        and branch.direct
        and branch.vertices[1] in ((24,), (-24,))
    }
    assert signs == {(24,): 0.5, (-24,): 0.5}


def test_invisible_ends_are_kept_beside_the_full_chain(space):
    reach = decays.soft_reach(space)
    found = decays.branches_from(space, SNEUTRINO, reach)
    assert [(b.vertices, b.invisible) for b in found] == [((), True), (((12,),), False)]
    assert found[1].ends_in_neutrinos
    assert not found[0].ends_in_neutrinos


def test_the_lightest_particle_is_an_empty_branch(space):
    (branch,) = decays.branches_from(space, N1, decays.soft_reach(space))
    assert branch.vertices == ()
    assert branch.direct


@pytest.mark.parametrize(
    ("pid", "numbers"),
    [(1000024, (3, 1, 1)), (-1000024, (-3, 1, 1)), (1000006, (2, 3, 0)), (1000021, (0, 8, 1))],
)
def test_quantum_numbers(pid, numbers):
    charge, colour, spin = decays.quantum_numbers(pid)
    assert (charge, abs(colour), spin) == numbers


def test_the_pool_has_no_chain_twice():
    space = protomodel_space()
    reach = decays.soft_reach(space)
    for start in (1000021, 1000005):
        found = decays.branches_from(space, start, reach)
        assert len({branch._replace(share=0.0) for branch in found}) == len(found)


def test_charges_that_a_soft_decay_hides_are_one_branch():
    space = protomodel_space()
    found = decays.branches_from(space, 1000021, decays.soft_reach(space))
    (merged,) = [b for b in found if b.daughters == (1000024,) and b.vertices == ((1, 2),)]
    assert merged.nodes == (1000021, 1000022)
    assert merged.share == 1.0


def test_removed_steps_hand_on_their_daughter(space):
    first = (STOP, C1, (5,)), (C1, N1, (1, 2))
    numbers = tuple(space.channels.index(channel) for channel in first)
    chain = decays.Branch(
        STOP, numbers, (C1, N1), (STOP, C1, N1), ((5,), (1, 2)), share=1.0, invisible=False
    )
    assert chain.without(0) == chain
    head = chain.without(0b10)
    assert (head.nodes, head.channels, head.daughters) == ((STOP, N1), numbers[:1], (C1,))
    tail = chain.without(0b01)
    assert (tail.start, tail.nodes, tail.vertices) == (C1, (C1, N1), ((1, 2),))
    nothing = chain.without(0b11)
    assert (nothing.start, nothing.nodes, nothing.vertices) == (N1, (N1,), ())


def test_every_direct_branch_of_the_pool_is_known_without_its_soft_steps():
    space = protomodel_space()
    reach = decays.soft_reach(space)
    known = {
        decays.signature(branch)
        for start in {**reach}
        for branch in decays.branches_from(space, start, reach)
    }
    known |= {decays.signature(decays.conjugate(decays.Branch(*key))) for key in known}
    soft = set(decays.soft_channels(space))
    for key in list(known):
        branch = decays.Branch(*key)
        mask = sum(2**k for k, channel in enumerate(branch.channels) if channel in soft)
        if branch.direct:
            assert decays.signature(branch.without(mask)) in known
