"""One small likelihood, learned once for all tests."""

import pytest
from small_recipe import RECIPE
from tiny_search import write_tiny_search

from surrogates.labels import Oracle
from surrogates.likelihood import export, learn
from surrogates.likelihood_run import LikelihoodRun


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
