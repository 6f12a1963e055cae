"""Particles of the protomodel pool and of the Standard Model: names and quantum numbers.

The pool holds one state per flavour and chirality kept by protomodels
(arXiv:2012.12246, table 1); it has the quantum numbers of the MSSM states whose
PDG numbers it borrows, and nothing else of the MSSM.
"""

from typing import NamedTuple

from jaxlik.errors import ModelPointError

LBP = 1000022
"""PDG number of X_Z^1, the lightest BSM particle: stable and neutral by definition."""

DECOUPLED_MASS = 5000.0
"""GeV; a heavier particle takes no part in LHC physics and counts as absent."""


class Particle(NamedTuple):
    """One particle; its antiparticle has the opposite numbers.

    Attributes:
        pid: PDG number, positive.
        name: Plain-text name, such as `X_t^1`.
        latex: The same for mathematics mode.
        three_charge: Electric charge in units of e/3.
        colour: Dimension of the SU(3) representation; 3 also stands for its conjugate.
        two_spin: Twice the spin.
        three_baryon: Three times the baryon number; +1 for quarks and squarks.
        lepton: Lepton number.
        self_conjugate: Equal to its antiparticle.
        mass: Pole mass in GeV used for decay thresholds; 0 for BSM particles, whose
            mass belongs to the model point.
    """

    pid: int
    name: str
    latex: str
    three_charge: int
    colour: int
    two_spin: int
    three_baryon: int = 0
    lepton: int = 0
    self_conjugate: bool = False
    mass: float = 0.0


STANDARD_MODEL: dict[int, Particle] = {
    particle.pid: particle
    for particle in (
        Particle(1, "d", "d", -1, 3, 1, 1),
        Particle(2, "u", "u", 2, 3, 1, 1),
        Particle(3, "s", "s", -1, 3, 1, 1),
        Particle(4, "c", "c", 2, 3, 1, 1, mass=1.2),
        Particle(5, "b", "b", -1, 3, 1, 1, mass=5.0),
        Particle(6, "t", "t", 2, 3, 1, 1, mass=173.0),
        Particle(11, "e", "e", -3, 1, 1, 0, 1),
        Particle(12, "nu_e", r"\nu_e", 0, 1, 1, 0, 1),
        Particle(13, "mu", r"\mu", -3, 1, 1, 0, 1),
        Particle(14, "nu_mu", r"\nu_\mu", 0, 1, 1, 0, 1),
        Particle(15, "tau", r"\tau", -3, 1, 1, 0, 1, mass=1.77),
        Particle(16, "nu_tau", r"\nu_\tau", 0, 1, 1, 0, 1),
        Particle(21, "g", "g", 0, 8, 2, self_conjugate=True),
        Particle(22, "photon", r"\gamma", 0, 1, 2, self_conjugate=True),
        Particle(23, "Z", "Z", 0, 1, 2, self_conjugate=True, mass=92.0),
        Particle(24, "W", "W", 3, 1, 2, mass=81.0),
        Particle(25, "h", "h", 0, 1, 0, self_conjugate=True, mass=125.0),
    )
}
"""Standard Model particles. The masses are the thresholds of protomodels."""

POOL: dict[int, Particle] = {
    particle.pid: particle
    for particle in (
        Particle(1000001, "X_d", "X_d", -1, 3, 0, 1),
        Particle(1000002, "X_u", "X_u", 2, 3, 0, 1),
        Particle(1000003, "X_s", "X_s", -1, 3, 0, 1),
        Particle(1000004, "X_c", "X_c", 2, 3, 0, 1),
        Particle(1000005, "X_b^1", "X_b^1", -1, 3, 0, 1),
        Particle(2000005, "X_b^2", "X_b^2", -1, 3, 0, 1),
        Particle(1000006, "X_t^1", "X_t^1", 2, 3, 0, 1),
        Particle(2000006, "X_t^2", "X_t^2", 2, 3, 0, 1),
        Particle(1000011, "X_e", "X_e", -3, 1, 0, 0, 1),
        Particle(1000013, "X_mu", r"X_\mu", -3, 1, 0, 0, 1),
        Particle(1000015, "X_tau", r"X_\tau", -3, 1, 0, 0, 1),
        Particle(1000012, "X_nu_e", r"X_{\nu_e}", 0, 1, 0, 0, 1),
        Particle(1000014, "X_nu_mu", r"X_{\nu_\mu}", 0, 1, 0, 0, 1),
        Particle(1000016, "X_nu_tau", r"X_{\nu_\tau}", 0, 1, 0, 0, 1),
        Particle(1000021, "X_g", "X_g", 0, 8, 1, self_conjugate=True),
        Particle(LBP, "X_Z^1", "X_Z^1", 0, 1, 1, self_conjugate=True),
        Particle(1000023, "X_Z^2", "X_Z^2", 0, 1, 1, self_conjugate=True),
        Particle(1000025, "X_Z^3", "X_Z^3", 0, 1, 1, self_conjugate=True),
        Particle(1000024, "X_W^1", "X_W^1", 3, 1, 1),
        Particle(1000037, "X_W^2", "X_W^2", 3, 1, 1),
    )
}
"""The twenty particles of a protomodel, in the order of the particle axis."""

UNSIGNED = frozenset({pid for pid, p in POOL.items() if p.self_conjugate}) | {
    1000012,
    1000014,
    1000016,
}
"""Pool particles that protomodels never writes with a minus sign; includes X_nu."""

CANONICAL_PAIRS: tuple[tuple[int, int], ...] = (
    (1000006, 2000006),
    (1000005, 2000005),
    (1000023, 1000025),
    (1000024, 1000037),
)
"""(lighter, heavier): states that differ in nothing but their number.

Protomodels also orders X_d < X_u and X_d < X_s, although their production and
decays differ, which leaves X_c free; that asymmetry is not inherited.
"""


def particle(pid: int) -> Particle:
    """The particle of a PDG number, whatever its sign.

    Raises:
        ModelPointError: the number is in neither table.
    """
    found = POOL.get(abs(pid)) or STANDARD_MODEL.get(abs(pid))
    if found is None:
        raise ModelPointError(
            f"particle {pid} is unknown; known are the protomodel pool {tuple(POOL)} "
            f"and the Standard Model {tuple(STANDARD_MODEL)}"
        )
    return found


def pid_of(name: str) -> int:
    """The PDG number of a plain-text name, such as `X_t^1`.

    Raises:
        ModelPointError: no particle has this name.
    """
    for table in (POOL, STANDARD_MODEL):
        for candidate in table.values():
            if candidate.name == name:
                return candidate.pid
    names = ", ".join(p.name for p in POOL.values())
    raise ModelPointError(f"no particle is called {name!r}; the pool has {names}")


def antiparticle(pid: int) -> int:
    """The PDG number of the antiparticle; a self-conjugate particle is its own."""
    return pid if particle(pid).self_conjugate else -pid


def signed_name(pid: int) -> str:
    """Name of a particle, with a tilde behind it for an antiparticle."""
    return particle(pid).name + ("~" if pid < 0 else "")


def _numbers(pid: int) -> tuple[int, int, int]:
    """Conserved numbers (three times charge, three times baryon number, lepton number)."""
    found = particle(pid)
    sign = 1 if pid > 0 else -1
    return sign * found.three_charge, sign * found.three_baryon, sign * found.lepton


def signed_final_states(
    mother: int, daughter: int, standard_model: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Signed final states of a decay channel that is written without signs.

    A self-conjugate mother decays to a final state and to its conjugate with equal
    probability; every other mother has one.

    Args:
        mother: Signed PDG number of the decaying particle.
        daughter: PDG number of the BSM daughter, unsigned.
        standard_model: PDG numbers of the Standard Model particles, unsigned.

    Returns:
        Tuples (daughter, *standard_model) with signs, which conserve charge, baryon
        and lepton number; each carries the same share of the branching ratio. An
        X_nu may appear with either sign.

    Raises:
        ModelPointError: no assignment of signs conserves these numbers.
    """
    states: set[tuple[int, ...]] = {()}
    for pid in (daughter, *standard_model):
        states = {(*state, sign) for state in states for sign in {pid, antiparticle(pid)}}
    wanted = _numbers(mother)
    allowed = {
        (state[0], *sorted(state[1:], key=lambda pid: (abs(pid), -pid)))
        for state in states
        if tuple(map(sum, zip(*map(_numbers, state), strict=True))) == wanted
    }
    if not allowed:
        raise ModelPointError(
            f"decay {signed_name(mother)} -> {(daughter, *standard_model)} conserves no "
            "charge, baryon or lepton number for any choice of signs"
        )
    return tuple(sorted(allowed, reverse=True))
