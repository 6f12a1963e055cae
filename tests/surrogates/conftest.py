"""Small training runs, shared by all tests: networks for maps, and one learned likelihood."""

import pytest
from small_recipe import RECIPE
from tiny_search import write_tiny_search

from surrogates.labels import Oracle
from surrogates.likelihood import export, learn
from surrogates.likelihood_run import LikelihoodRun
from surrogates.maps import read_map_sets
from surrogates.recipe import Recipe
from surrogates.run import Run, train

ONLY = ("ATLAS-SUSY-2018-41-eff", "CMS-SUS-20-004-eff:TChiHH")
MAP_RECIPE = Recipe(width=16, steps=400, every=100, batch=64)


@pytest.fixture(scope="session")
def recipe():
    return MAP_RECIPE


@pytest.fixture(scope="session")
def map_sets(thinned):
    return read_map_sets(thinned, ONLY)


@pytest.fixture(scope="session")
def small_run(thinned, map_sets, tmp_path_factory):
    run = Run.open(tmp_path_factory.mktemp("surrogate") / "run", thinned, MAP_RECIPE)
    train(map_sets, run, MAP_RECIPE, quiet=True)
    return run


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    return write_tiny_search(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="session")
def oracle(workspace):
    return Oracle.of_file(workspace)


@pytest.fixture(scope="session")
def learned_run(oracle, tmp_path_factory):
    """A finished run, what it ended with, and its file."""
    folder = tmp_path_factory.mktemp("likelihood")
    run = LikelihoodRun.open(folder / "run", oracle, RECIPE)
    learned = learn(oracle, run, RECIPE, quiet=True)
    return run, learned, export(oracle, run, learned, RECIPE, folder / "tiny.npz")
