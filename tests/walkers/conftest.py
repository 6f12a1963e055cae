"""The toy score, and the embedded engine compiled once."""

import pytest
from toy_target import ToyTarget

from jaxlik.physics.model import ModelSpace, protomodel_space


@pytest.fixture(scope="session")
def space() -> ModelSpace:
    return protomodel_space()


@pytest.fixture(scope="session")
def toy(space) -> ToyTarget:
    return ToyTarget(space)


@pytest.fixture(scope="session")
def embedded():
    """Engine and labels of the embedded snapshot."""
    from jaxlik.database.compile import load_database
    from jaxlik.fit.assemble import build_engine

    return build_engine(load_database("embedded"))
