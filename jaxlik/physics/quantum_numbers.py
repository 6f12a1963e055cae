"""Quantum numbers of particles that model files name by PDG number.

The table holds the MSSM with its extended Higgs sector, a fifth neutralino and the
gravitino; other particles bring their own numbers in blocks QNUMBERS (arXiv:0712.3311).
"""

from typing import NamedTuple


class QuantumNumbers(NamedTuple):
    """What detectors can tell of a new particle besides mass and lifetime.

    Attributes:
        name: Plain-text name; antiparticles get a tilde or the opposite sign.
        three_charge: Electric charge in units of e/3.
        colour: Dimension of the SU(3) representation.
        two_spin: Twice the spin.
        self_conjugate: Equal to its antiparticle.
        escapes: Whether it would be missing momentum if it were stable and neutral; heavy
            Higgs bosons would not.
    """

    name: str
    three_charge: int
    colour: int
    two_spin: int
    self_conjugate: bool = False
    escapes: bool = True

    @property
    def is_neutral(self) -> bool:
        """Without electric and colour charge."""
        return self.three_charge == 0 and self.colour == 1


def _mssm() -> dict[int, QuantumNumbers]:
    table: dict[int, QuantumNumbers] = {}
    for generation, (down, up) in enumerate((("sd", "su"), ("ss", "sc"), ("sb", "st"))):
        names = ("_L", "_R") if generation < 2 else ("_1", "_2")
        for chirality, suffix in enumerate(names, 1):
            first = chirality * 1000000 + 2 * generation
            table[first + 1] = QuantumNumbers(down + suffix, -1, 3, 0)
            table[first + 2] = QuantumNumbers(up + suffix, 2, 3, 0)
    for generation, flavour in enumerate(("e", "mu", "ta")):
        names = ("_L", "_R") if generation < 2 else ("_1", "_2")
        for chirality, suffix in enumerate(names, 1):
            first = chirality * 1000000 + 11 + 2 * generation
            table[first] = QuantumNumbers(f"s{flavour}{suffix}", -3, 1, 0)
        table[1000012 + 2 * generation] = QuantumNumbers(f"sn{flavour}_L", 0, 1, 0)
    table[1000021] = QuantumNumbers("gluino", 0, 8, 1, self_conjugate=True)
    for number, pid in enumerate((1000022, 1000023, 1000025, 1000035, 1000045), 1):
        table[pid] = QuantumNumbers(f"N{number}", 0, 1, 1, self_conjugate=True)
    table[1000024] = QuantumNumbers("C1+", 3, 1, 1)
    table[1000037] = QuantumNumbers("C2+", 3, 1, 1)
    table[1000039] = QuantumNumbers("gravitino", 0, 1, 3, self_conjugate=True)
    table[37] = QuantumNumbers("H+", 3, 1, 0)
    for pid, name in ((35, "H0"), (36, "A0"), (45, "H03"), (46, "A02")):
        table[pid] = QuantumNumbers(name, 0, 1, 0, self_conjugate=True, escapes=False)
    return table


MSSM: dict[int, QuantumNumbers] = _mssm()
"""By positive PDG number."""


def signed_label(name: str, pid: int) -> str:
    """Name of a particle or, for a negative number, of its antiparticle."""
    if pid > 0:
        return name
    swap = {"+": "-", "-": "+"}
    return name[:-1] + swap[name[-1]] if name[-1:] in swap else f"{name}~"
