"""A small training run, shared by the tests of training, validation and export."""

import pytest

from surrogates.maps import read_map_sets
from surrogates.recipe import Recipe
from surrogates.run import Run, train

ONLY = ("ATLAS-SUSY-2018-41-eff", "CMS-SUS-20-004-eff:TChiHH")
RECIPE = Recipe(width=16, steps=400, every=100, batch=64)


@pytest.fixture(scope="session")
def recipe():
    return RECIPE


@pytest.fixture(scope="session")
def map_sets(thinned):
    return read_map_sets(thinned, ONLY)


@pytest.fixture(scope="session")
def small_run(thinned, map_sets, tmp_path_factory):
    run = Run.open(tmp_path_factory.mktemp("surrogate") / "run", thinned, RECIPE)
    train(map_sets, run, RECIPE, quiet=True)
    return run
