"""The toy score, and an engine compiled once."""

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
def assembled(thinned):
    """Engine and labels of a thinned snapshot, with exact yields."""
    from jaxlik.fit.assemble import build_engine

    return build_engine(thinned)
