import json

import pytest
from tiny_database import write_tiny_database

from jaxlik.database.compile import compile_database
from jaxlik.physics.model import make_space


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    """Root folder of the tiny text database; read-only by agreement."""
    return write_tiny_database(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def squark_space():
    """Two squarks and the lightest particle."""
    return make_space(
        (1000022, 1000001, 1000002),
        [(1000001, 1000022, (1,)), (1000002, 1000022, (2,))],
        [(-1000001, 1000001), (-1000002, 1000002), (1000001, 1000002)],
    )


@pytest.fixture(scope="session")
def tiny_snapshot(tiny_root, squark_space, tmp_path_factory):
    """The tiny database, compiled."""
    target = tmp_path_factory.mktemp("snapshots") / "tiny"
    return compile_database(tiny_root, target, space=squark_space, quiet=True, processes=0)


@pytest.fixture(scope="session")
def statistics(reference):
    """Counts SModelS 3.1.1 found in database 3.0.0."""
    return json.loads((reference / "golden" / "smodels" / "db_stats.json").read_text())
