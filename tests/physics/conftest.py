import jax
import pytest

from jaxlik.physics.cross_sections import reference_cross_sections
from jaxlik.physics.model import point_from_dict, protomodel_space


@pytest.fixture(scope="session")
def space():
    return protomodel_space()


@pytest.fixture(scope="session")
def references(space):
    """Masses to reference cross sections, compiled once."""
    module = reference_cross_sections(space)
    return jax.jit(lambda masses: module(masses))


@pytest.fixture
def winner(space):
    """Best model of arXiv:2012.12246 (run 9)."""
    return point_from_dict(
        space,
        {
            "masses": {1000022: 162.552, 1000001: 734.948, 1000006: 1165.865},
            "branching_ratios": {1000001: {(1000022, 1): 1.0}, 1000006: {(1000022, 6): 1.0}},
            "signal_strengths": {(-1000001, 1000001): 0.492, (-1000006, 1000006): 1.226},
        },
    )
