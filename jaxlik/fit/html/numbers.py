"""Numbers as text: digits that mean something, and a minus sign that is one."""

import math
from collections.abc import Sequence
from datetime import datetime

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def fixed(value: float | None, decimals: int, *, sign: bool = False) -> str:
    """A number with given decimals; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    shown = f"{value:{'+' if sign else ''}z.{decimals}f}"
    return shown.replace("-", MINUS)


def significant(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits; whole numbers in full."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}".replace("-", MINUS)
    power = math.floor(math.log10(abs(value)))
    if -4 <= power < 6:
        return fixed(value, max(0, digits - 1 - power))
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    raised = str(int(exponent)).translate(SUPERSCRIPTS)
    return f"{mantissa.replace('-', MINUS)} × 10{raised}"


def decimals_of(error: float, most: int = 6) -> int:
    """Decimals that show two digits of an error."""
    if not math.isfinite(error) or error <= 0:
        return 2
    return min(max(0, 1 - math.floor(math.log10(error))), most)


def measured(value: float | None, error: float | None) -> str:
    """A value with its error, both to two digits of the latter."""
    if value is None:
        return DASH
    if error is None or not error > 0:
        return significant(value)
    decimals = decimals_of(error)
    return f"{fixed(value, decimals)} ± {fixed(error, decimals)}"


def interval(ends: Sequence[float | None] | None, decimals: int) -> str:
    """Both ends of an interval."""
    if ends is None or ends[0] is None or ends[1] is None:
        return DASH
    return f"{fixed(ends[0], decimals)} … {fixed(ends[1], decimals)}"


def percent(fraction: float | None) -> str:
    """A fraction in per cent, with decimals only where they matter."""
    if fraction is None:
        return DASH
    value = 100 * fraction
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.1f} %" if value >= 0.1 else "< 0.1 %"


def probability(value: float | None, error: float | None) -> str:
    """A probability in per cent with its error, to the digits of the latter."""
    if value is None:
        return DASH
    if error is None or not error > 0:
        return f"{significant(100 * value)} %"
    return f"{measured(100 * value, 100 * error)} %"


def p_value(value: float | None) -> str:
    """A p-value with two digits."""
    return significant(value, 2)


def moment(stamp: str | None) -> str | None:
    """A time stamp for reading, to the minute."""
    if not stamp:
        return None
    try:
        found = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    zone = found.tzname() or ""
    return f"{found:%Y-%m-%d %H:%M} {zone}".strip()
