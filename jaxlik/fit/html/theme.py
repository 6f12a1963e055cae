"""Colours of pages: figures are drawn in the light ones, pages replace them in the dark."""

INK, MUTED, GRID, PAPER = "#1b1f24", "#59636e", "#e1e4e8", "#ffffff"
BLUE, RED, ORANGE, GREEN, PURPLE = "#2166ac", "#b2182b", "#e66101", "#1b7837", "#762a83"
GOLD, GREY = "#d19a00", "#555555"
BRAZIL_1, BRAZIL_2 = "#5cb85f", "#f0d34a"
MIDDLE = "#f7f7f6"
"""Centre of diverging colour scales."""

DARK = {
    INK: "#e6e8eb",
    MUTED: "#9ba5b0",
    GRID: "#2f353d",
    PAPER: "#15181d",
    BLUE: "#6cb0ea",
    RED: "#f0727f",
    ORANGE: "#ff9245",
    GREEN: "#5fc37d",
    PURPLE: "#c78ed3",
    GOLD: "#e3b63a",
    GREY: "#b0b4b9",
    BRAZIL_1: "#3f8f46",
    BRAZIL_2: "#b39b2c",
    MIDDLE: "#20252b",
}
"""What each colour becomes on a dark page; those that are not listed stay."""

CYCLE = (BLUE, ORANGE, GREEN, PURPLE, GOLD, RED, GREY)
"""For curves that have no colour of their own, told apart by the colour-blind."""

BAND_68, BAND_95 = "rgba(33,102,172,0.55)", "rgba(33,102,172,0.25)"
LIMIT_SHADE = "rgba(178,24,43,0.12)"

DIVERGING = [[0.0, BLUE], [0.5, MIDDLE], [1.0, RED]]
"""For correlations from -1 to 1."""


def cycle(number: int) -> str:
    """Colour of a curve by its number."""
    return CYCLE[number % len(CYCLE)]
