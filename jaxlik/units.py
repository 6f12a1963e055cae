"""Unit conversions; the only ones in the library.

Inside jaxlik masses are in GeV, cross sections in fb, luminosities in 1/fb and
yields in events. Files that use other units are converted where they are read.
"""

GEV = {"keV": 1e-6, "MeV": 1e-3, "GeV": 1.0, "TeV": 1e3}
"""GeV per unit of energy."""

FB = {"ab": 1e-3, "fb": 1.0, "pb": 1e3, "nb": 1e6}
"""Femtobarns per unit of cross section."""

HBARC_GEV_M = 197.327e-18
"""Reduced Planck constant times the speed of light, in GeV m (SModelS' value)."""


def parse_quantity(text: str, table: dict[str, float]) -> float:
    """Read ``"137.5*fb"`` or ``"2.5 pb"`` as a number in the table's base unit.

    Args:
        text: A number followed by a unit, joined by ``*`` or white space.
        table: Factor of each unit to the base unit, `GEV` or `FB`.

    Returns:
        The number in the base unit.

    Raises:
        ValueError: the number does not parse or the unit is unknown.

    Examples:
        >>> parse_quantity("2.5 pb", FB)
        2500.0
    """
    number, _, unit = text.replace("*", " ").strip().partition(" ")
    unit = unit.strip()
    if unit not in table:
        raise ValueError(f"unit {unit!r} in {text!r} is not one of {sorted(table)}")
    return float(number) * table[unit]


def parse_luminosity(text: str) -> float:
    """Read ``"35.9/fb"`` or ``"20.3*1/fb"`` as a number of inverse femtobarns.

    Examples:
        >>> parse_luminosity("20.3*1/fb")
        20.3
    """
    number, _, unit = text.strip().rpartition("/")
    number = number.removesuffix("1").rstrip("* ") if "*" in number else number
    if unit.strip() not in FB:
        raise ValueError(f"luminosity {text!r} is not written like 35.9/fb")
    return float(number) / FB[unit.strip()]
