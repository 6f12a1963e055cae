"""The protomodel pool: every decay channel and production mode that may exist.

Union of table 1 of arXiv:2012.12246 and of the public code. Where the two differ
the physically complete list is taken: X_t -> t X_Z^3, X_b^2 -> Z X_b^1 and the
invisible off-shell decay of X_Z^2 are in, and X_b -> b X_g occurs once.
"""

from jaxlik.physics.particles import LBP

Channel = tuple[int, int, tuple[int, ...]]
"""(mother, BSM daughter, Standard Model particles), unsigned; the last are sorted."""

NEUTRALINOS = (LBP, 1000023, 1000025)
CHARGINOS = (1000024, 1000037)
SQUARKS = (1000001, 1000002, 1000003, 1000004)
SBOTTOMS = (1000005, 2000005)
STOPS = (1000006, 2000006)
SLEPTONS = (1000011, 1000013, 1000015)
SNEUTRINOS = (1000012, 1000014, 1000016)
GLUINO = 1000021

ISOSPIN_PARTNER = {1: 2, 2: 1, 3: 4, 4: 3, 11: 12, 13: 14, 15: 16, 12: 11, 14: 13, 16: 15}
"""The other member of each doublet of fermions."""


def _first_generations(mothers: tuple[int, ...]) -> list[Channel]:
    """Decays of squarks, sleptons and sneutrinos to a gaugino and a light fermion."""
    channels: list[Channel] = []
    for mother in mothers:
        fermion = mother - 1000000
        channels += [(mother, daughter, (fermion,)) for daughter in NEUTRALINOS]
        channels += [(mother, daughter, (ISOSPIN_PARTNER[fermion],)) for daughter in CHARGINOS]
        if mother in SQUARKS:
            channels.append((mother, GLUINO, (fermion,)))
    return channels


def _third_generation() -> list[Channel]:
    """Decays of the stops and sbottoms."""
    channels: list[Channel] = []
    for mothers, quark, partner, cousin in (
        (SBOTTOMS, 5, 6, STOPS[0]),
        (STOPS, 6, 5, SBOTTOMS[0]),
    ):
        for mother in mothers:
            channels += [(mother, daughter, (quark,)) for daughter in NEUTRALINOS]
            channels += [(mother, daughter, (partner,)) for daughter in CHARGINOS]
            channels += [(mother, cousin, (24,)), (mother, GLUINO, (quark,))]
        channels.append((mothers[1], mothers[0], (23,)))
    return channels


def _gluino() -> list[Channel]:
    """Decays of the gluino: three bodies, the gluon loop, two bodies.

    (1, 1) stands for the three light quark pairs, which no search tells apart.
    """
    channels: list[Channel] = []
    for daughter in NEUTRALINOS:
        channels += [(GLUINO, daughter, (quark, quark)) for quark in (1, 4, 5, 6)]
        channels.append((GLUINO, daughter, (21,)))
    for daughter in CHARGINOS:
        channels += [(GLUINO, daughter, pair) for pair in ((1, 2), (3, 4), (5, 6))]
    channels += [(GLUINO, squark, (squark - 1000000,)) for squark in SQUARKS]
    channels += [(GLUINO, squark, (5,)) for squark in SBOTTOMS]
    channels += [(GLUINO, squark, (6,)) for squark in STOPS]
    return channels


def _gauginos() -> list[Channel]:
    """Decays of charginos and neutralinos, on-shell ones first.

    The three-body channels stand for an off-shell W or Z: (1, 2) for both light
    quark doublets, (2, 2) for the four light quark pairs, (12, 12) for the three
    neutrino pairs.
    """
    first, second = CHARGINOS
    _, middle, heavy = NEUTRALINOS
    channels: list[Channel] = [
        (first, LBP, (24,)),
        (first, middle, (24,)),
        (second, first, (23,)),
        (second, LBP, (24,)),
        (second, middle, (24,)),
        (second, first, (25,)),
        (middle, LBP, (23,)),
        (middle, LBP, (25,)),
        (middle, first, (24,)),
    ]
    channels += [(heavy, daughter, (boson,)) for daughter in (LBP, middle) for boson in (23, 25)]
    channels.append((heavy, first, (24,)))
    channels += [(first, LBP, pair) for pair in ((1, 2), (11, 12), (13, 14), (15, 16))]
    pairs = (2, 5, 11, 13, 15, 12)
    channels += [(middle, LBP, (fermion, fermion)) for fermion in pairs]
    return channels


def protomodel_channels() -> tuple[Channel, ...]:
    """All 137 decay channels of the pool, each once."""
    return tuple(
        _first_generations(SQUARKS)
        + _third_generation()
        + _first_generations(SLEPTONS)
        + _first_generations(SNEUTRINOS)
        + _gluino()
        + _gauginos()
    )


def protomodel_productions() -> tuple[tuple[int, int], ...]:
    """The 50 production modes with a reference cross section, as sorted signed pairs.

    A squark and its antiquark partner produced with a gluino are two modes, as are
    the two charges of an electroweak mixed pair. Stops with a gluino are absent:
    they need top quarks in the proton, and no table exists.
    """
    pairs: list[tuple[int, int]] = [(pid, pid) for pid in (GLUINO, 1000023, 1000025)]
    pairs += [(-pid, pid) for pid in SQUARKS + SBOTTOMS + STOPS + SLEPTONS + CHARGINOS]
    for squark in SQUARKS + SBOTTOMS:
        pairs += [(squark, GLUINO), (-squark, GLUINO)]
    for slepton, sneutrino in zip(SLEPTONS, SNEUTRINOS, strict=True):
        pairs += [(slepton, sneutrino), (-slepton, sneutrino)]
    pairs += [(LBP, 1000023), (1000023, 1000025)]
    for neutralino in (1000023, 1000025, LBP):
        for chargino in CHARGINOS:
            pairs += [(chargino, neutralino), (-chargino, neutralino)]
    pairs += [(-CHARGINOS[0], CHARGINOS[1]), (-CHARGINOS[1], CHARGINOS[0])]
    return tuple((min(pair), max(pair)) for pair in pairs)
