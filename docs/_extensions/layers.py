"""The picture of the layers, drawn from the import contract in ``pyproject.toml``.

What the linter checks is what the page shows; colours are those of the page's theme.
"""

import tomllib
from html import escape
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

WHAT = {
    "walkers": "search and sampling",
    "surrogates": "training of networks",
    "jaxlik.fit": "commands, runs, reports",
    "jaxlik.plotting": "figures",
    "jaxlik.calibration": "pseudo-data, p-values",
    "jaxlik.interop": "other people's tools",
    "jaxlik.engine": "model to K",
    "jaxlik.verdict": "given models",
    "jaxlik.evaluation": "tables and outcomes",
    "jaxlik.combination": "best combination",
    "jaxlik.critic": "limits on mu",
    "jaxlik.inference": "fits, limits, toys",
    "jaxlik.yields": "events in regions",
    "jaxlik.statmodels": "likelihoods",
    "jaxlik.topologies": "cascades of any model",
    "jaxlik.database": "readers, snapshots",
    "jaxlik.physics": "particles, files, cross sections",
    "jaxlik.precision": "float64",
    "jaxlik.compilation": "compiler settings",
    "jaxlik.typing": "arrays with axes",
    "jaxlik.errors": "exceptions, status",
    "jaxlik.units": "GeV, fb",
}
"""A few words on each package."""

WIDTH, ROW, BOX, GAP, LEFT = 880, 62, 46, 10, 44


def layers_of(pyproject: Path = PYPROJECT) -> list[list[str]]:
    """Layers of the contract, the highest first; packages of a layer side by side.

    Modules that differ only by what follows an underscore share a box.
    """
    contract = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(one for one in contract["contracts"] if one["type"] == "layers")["layers"]
    return [joined([name.strip() for name in layer.split("|")]) for layer in layers]


def joined(names: list[str]) -> list[str]:
    """``plotting_a | plotting_b`` as ``plotting_*``."""
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(name.rpartition("_")[0] or name, []).append(name)
    return [f"{stem}_*" if len(some) > 1 else some[0] for stem, some in stems.items()]


def picture(layers: list[list[str]]) -> str:
    """The layers as SVG, styled by classes."""
    height = ROW * len(layers) + 8
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="Layers of the packages; imports point downwards only">',
        f'<path class="arrow" d="M 16 10 V {height - 22}" stroke-width="2"/>',
        f'<path class="head" d="M 9 {height - 24} h 14 l -7 14 z"/>',
        f'<text class="quiet" font-size="12" transform="translate(36 {height // 2}) rotate(-90)" '
        'text-anchor="middle">imports</text>',
    ]
    for row, names in enumerate(layers):
        top = 6 + row * ROW
        width = (WIDTH - LEFT - GAP * (len(names) - 1) - 4) / len(names)
        for column, name in enumerate(names):
            left = LEFT + column * (width + GAP)
            middle = left + width / 2
            words = WHAT.get(name.removesuffix("_*"), "")
            parts.append(
                f'<rect class="box" x="{left:.1f}" y="{top}" width="{width:.1f}" '
                f'height="{BOX}" rx="6"/>'
                f'<text x="{middle:.1f}" y="{top + (20 if words else 28)}" font-size="14" '
                f'text-anchor="middle">{escape(name)}</text>'
            )
            if words:
                parts.append(
                    f'<text class="quiet" x="{middle:.1f}" y="{top + 36}" font-size="11.5" '
                    f'text-anchor="middle">{escape(words)}</text>'
                )
    return "\n".join([*parts, "</svg>"])


class Layers(Directive):
    """The picture, in the page itself so that it follows the theme."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """One raw node of HTML, and a list for other formats."""
        environment = self.state.document.settings.env
        environment.note_dependency(str(PYPROJECT))
        figure = f'<div class="jaxlik-layers">{picture(layers_of())}</div>'
        return [nodes.raw("", figure, format="html")]


def setup(app) -> dict:
    """Register."""
    app.add_directive("layers", Layers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
