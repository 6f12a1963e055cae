"""Formulae as MathML, made at build time by docutils: no script, no network.

All current browsers draw MathML. A formula that docutils cannot translate is a warning, hence
an error of the build.
"""

import re
from html import unescape
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)

SIZES = re.compile(r"\\[Bb]igg?[lrm]?(?![A-Za-z])")
"""Commands for the size of brackets; browsers stretch them by themselves."""


NAMESPACE = "http://www.w3.org/1998/Math/MathML"

ACCENTS = set("~˜^ˆ¯˙¨→")


def mended(text: str) -> str:
    """A letter with an accent and an index: docutils puts the index below the letter."""
    ElementTree.register_namespace("", NAMESPACE)
    # XML knows five names of characters, MathML has many more.
    named = re.sub(
        r"&(?!amp;|lt;|gt;|quot;|apos;|#)\w+;", lambda name: unescape(name.group()), text
    )
    root = ElementTree.fromstring(named)
    for parent in list(root.iter()):
        for place, node in enumerate(list(parent)):
            if node.tag == f"{{{NAMESPACE}}}munderover" and (node[2].text or "") in ACCENTS:
                letter, index, accent = node
                over = ElementTree.Element(f"{{{NAMESPACE}}}mover", {"accent": "true"})
                over.extend([letter, accent])
                pair = ElementTree.Element(f"{{{NAMESPACE}}}msub")
                pair.extend([over, index])
                pair.tail = node.tail
                parent[place] = pair
    return ElementTree.tostring(root, encoding="unicode")


def translated(node: nodes.Element, source: str, *, block: bool) -> str:
    """MathML of a formula; the formula as code where it cannot be translated."""
    try:
        return mended(tex2mathml(SIZES.sub("", source), as_block=block))
    except (MathError, SyntaxError) as error:
        logger.warning("formula %r: %s", source, error, location=node, type="mathml")
        return f"<code>{source}</code>"


def visit_inline(self, node: nodes.math) -> None:
    """A formula in a sentence."""
    self.body.append(translated(node, node.astext(), block=False))
    raise nodes.SkipNode


def visit_block(self, node: nodes.math_block) -> None:
    """A formula of its own; `aligned` by docutils where it has several lines."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(translated(node, node.astext(), block=True))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app) -> dict:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
