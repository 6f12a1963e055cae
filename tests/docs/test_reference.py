"""The reference has every public module, the picture every layer."""

import pkgutil
import re
import tomllib
from importlib import import_module

import pytest
from doc_pages import ROOT

PACKAGES = ("jaxlik", "walkers", "surrogates")


def public_modules() -> set[str]:
    found = set()
    for package in PACKAGES:
        root = import_module(package)
        for info in pkgutil.walk_packages(root.__path__, f"{package}."):
            parts = info.name.split(".")
            if not any(part.startswith("_") for part in parts):
                found.add(info.name)
    return found


def documented_modules() -> set[str]:
    from modules import chosen_modules

    found: set[str] = set()
    for page in (ROOT / "docs" / "reference").glob("*.rst"):
        text = page.read_text(encoding="utf-8")
        for package, options in re.findall(r"^\.\. modules:: (\S+)\n((?: {3}:.*\n)*)", text, re.M):
            only = re.search(r":only: (.*)", options)
            without = re.search(r":except: (.*)", options)
            found |= set(
                chosen_modules(package, only[1] if only else "", without[1] if without else "")
            )
    return found


def test_every_public_module_is_in_the_reference():
    pytest.importorskip("docutils")
    missing = {
        name
        for name in public_modules() - documented_modules()
        if not hasattr(import_module(name), "__path__")
    }
    assert missing == set()


def test_the_picture_shows_every_layer():
    pytest.importorskip("docutils")
    from layers import layers_of, picture

    layers = layers_of()
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    wanted = next(c for c in contract["contracts"] if c["type"] == "layers")["layers"]
    assert len(layers) == len(wanted)
    drawn = picture(layers)
    for names in layers:
        for name in names:
            assert f">{name}<" in drawn
    assert layers[0] == ["walkers", "surrogates"]
