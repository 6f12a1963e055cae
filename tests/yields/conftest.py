import pytest

from jaxlik.physics.model import protomodel_space
from jaxlik.yields.build import build_yields, region_axis


@pytest.fixture(scope="session")
def pool():
    """The protomodel space."""
    return protomodel_space()


@pytest.fixture(scope="session")
def axis(snapshot):
    """Regions and limits of database 3.0.0."""
    return region_axis(snapshot)


@pytest.fixture(scope="session")
def yields(snapshot, pool, axis):
    """Exact yields of all results of database 3.0.0."""
    return build_yields(snapshot, pool, axis)
