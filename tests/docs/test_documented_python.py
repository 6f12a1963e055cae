"""Python blocks that are not executed when the site is built: they parse, and their names exist."""

import ast
import importlib

import pytest
from doc_pages import blocks

OWN = ("jaxlik", "walkers", "surrogates")
BLOCKS = [block for block in blocks() if block.kind == "python"]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: f"{b.page}: {b.text.splitlines()[0][:40]}")
def test_block_parses_and_its_imports_resolve(block):
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OWN:
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in OWN:
                    importlib.import_module(alias.name)
