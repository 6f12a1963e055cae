"""Particles in Unicode, without LaTeX: `χ̃⁰₁`, `t̃₁ → t χ̃⁰₁`.

The particles of a protomodel are no superpartners, but they borrow PDG numbers from them.
Pages show the usual symbol of the number, and the name of the protomodel beside it once.
"""

import ast
import re
from collections.abc import Mapping, Sequence

from jaxlik.physics.particles import POOL, STANDARD_MODEL

TILDE = "\N{COMBINING TILDE}"

SYMBOLS: dict[int, str] = {
    1000001: f"d{TILDE}",
    1000002: f"u{TILDE}",
    1000003: f"s{TILDE}",
    1000004: f"c{TILDE}",
    1000005: f"b{TILDE}₁",
    2000005: f"b{TILDE}₂",
    1000006: f"t{TILDE}₁",
    2000006: f"t{TILDE}₂",
    1000011: f"e{TILDE}",
    1000013: f"μ{TILDE}",
    1000015: f"τ{TILDE}",
    1000012: f"ν{TILDE}ₑ",
    1000014: f"ν{TILDE}μ",
    1000016: f"ν{TILDE}τ",
    1000021: f"g{TILDE}",
    1000022: f"χ{TILDE}⁰₁",
    1000023: f"χ{TILDE}⁰₂",
    1000025: f"χ{TILDE}⁰₃",
    1000024: f"χ{TILDE}±₁",
    1000037: f"χ{TILDE}±₂",
    12: "νₑ",
    13: "μ",
    14: "νμ",
    15: "τ",
    16: "ντ",
    22: "γ",
}
"""Those whose symbol is not their plain name."""

_BY_NAME = {p.name: pid for table in (STANDARD_MODEL, POOL) for pid, p in table.items()}
_WORD = re.compile(
    "(?<![A-Za-z_])("
    + "|".join(re.escape(name) for name in sorted(_BY_NAME, key=len, reverse=True))
    + r")(~?)(?![A-Za-z_^])"
)


def symbol(pid: int) -> str:
    """Symbol of a particle; the number itself where it has none. Antiparticles have a star."""
    known = SYMBOLS.get(abs(pid))
    if known is None:
        entry = STANDARD_MODEL.get(abs(pid))
        known = entry.name if entry else None
    if known is None:
        return str(pid)
    if pid > 0:
        return known
    return known.replace("±", "∓") if "±" in known else f"{known}*"


def decay(key: str) -> str:
    """What a particle decays to, from a key such as `(1000022, 6)`: `t χ̃⁰₁`."""
    daughter, *others = ast.literal_eval(key)
    return " ".join(symbol(abs(pid)) for pid in (*others, daughter))


def pair(key: str) -> str:
    """A production mode, from a key such as `(-1000006, 1000006)`: `t̃₁ t̃₁*`."""
    pids = sorted(ast.literal_eval(key), key=lambda pid: (abs(pid), -pid))
    return " ".join(symbol(pid) for pid in pids)


def content(pids: Sequence[int]) -> str:
    """Particles of a model."""
    return " ".join(symbol(pid) for pid in pids)


def label(plain: str) -> str:
    """A label made of plain names, such as `BR(X_t^1 -> t X_Z^1)`, in symbols."""

    def replaced(found: re.Match[str]) -> str:
        pid = _BY_NAME[found[1]]
        return symbol(-pid if found[2] else pid)

    return _WORD.sub(replaced, plain).replace("->", "→").replace(" x ", " × ")


def masses_text(particles: Mapping[str, Mapping]) -> str:
    """Particles and masses of a model in one line, such as `t̃₁ 1166, χ̃⁰₁ 163`."""
    return ", ".join(f"{symbol(int(pid))} {entry['mass']:.0f}" for pid, entry in particles.items())
