import pytest

from jaxlik.errors import ModelPointError
from jaxlik.physics.particles import (
    POOL,
    STANDARD_MODEL,
    antiparticle,
    particle,
    pid_of,
    signed_final_states,
    signed_name,
)
from jaxlik.physics.pool import protomodel_channels


def test_pool_has_the_twenty_particles_of_the_paper():
    assert len(POOL) == 20
    assert pid_of("X_t^1") == 1000006
    assert particle(-1000024).name == "X_W^1"
    assert signed_name(-6) == "t~"


def test_thresholds_are_those_of_protomodels():
    masses = {pid: p.mass for pid, p in STANDARD_MODEL.items() if p.mass}
    assert masses == {6: 173.0, 24: 81.0, 23: 92.0, 25: 125.0, 15: 1.77, 4: 1.2, 5: 5.0}


def test_self_conjugate_particles_are_their_own_antiparticle():
    assert antiparticle(1000021) == 1000021
    assert antiparticle(1000006) == -1000006


@pytest.mark.parametrize("channel", protomodel_channels(), ids=str)
def test_every_channel_conserves_charge_and_quantum_numbers(channel):
    mother, daughter, sm = channel
    for state in signed_final_states(mother, daughter, sm):
        charge = sum((1 if pid > 0 else -1) * particle(pid).three_charge for pid in state)
        assert charge == particle(mother).three_charge
    assert sorted(map(abs, state[1:])) == list(sm)


def test_self_conjugate_mother_decays_to_both_charges():
    assert set(signed_final_states(1000021, 1000024, (1, 2))) == {
        (1000024, 1, -2),
        (-1000024, -1, 2),
    }
    assert signed_final_states(1000006, 1000024, (5,)) == ((1000024, 5),)
    assert signed_final_states(-1000006, 1000024, (5,)) == ((-1000024, -5),)


def test_unknown_particles_and_forbidden_decays_are_named():
    with pytest.raises(ModelPointError, match="particle 99 is unknown"):
        particle(99)
    with pytest.raises(ModelPointError, match="no particle is called 'stop'"):
        pid_of("stop")
    with pytest.raises(ModelPointError, match="conserves no charge"):
        signed_final_states(1000006, 1000022, (5,))
