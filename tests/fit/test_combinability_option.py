"""Another table of combinable pairs, from the configuration to engine, run and verdict."""

import json

import numpy as np
import pytest

from jaxlik.combination.overlap import Combinability
from jaxlik.errors import DatabaseError
from jaxlik.fit.assemble import build_engine
from jaxlik.fit.config import EngineConfig, FitConfig
from jaxlik.fit.engines import ingredients, make_engine
from jaxlik.verdict.atlas import Atlas


@pytest.fixture
def nothing_combines(tmp_path):
    path = tmp_path / "pairs.json"
    path.write_text("{}")
    return path


def test_an_engine_combines_what_the_table_allows(thinned, nothing_combines):
    config = FitConfig(engine=EngineConfig(combinability=nothing_combines))
    engine, labels = make_engine(config, thinned, None)
    names = [(p.experiment, p.sqrts) for p in labels.candidates]
    different = np.array([[one != other for other in names] for one in names])
    np.testing.assert_array_equal(labels.overlap.compatible, different)
    usual = build_engine(thinned)[1].overlap.compatible
    assert usual.sum() > different.sum()
    found = ingredients(config, thinned, engine)
    assert "combinability" in found
    assert "combinability" not in ingredients(FitConfig(), thinned, engine)


def test_the_digest_is_that_of_the_pairs(thinned, tmp_path):
    digests = []
    for name, pairs in (("one", {"A": ["B"]}), ("two", {"B": ["A"]}), ("other", {"A": ["C"]})):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(pairs))
        config = FitConfig(engine=EngineConfig(combinability=path))
        engine, _ = make_engine(config, thinned, None)
        digests.append(ingredients(config, thinned, engine)["combinability"])
    assert digests[0] == digests[1] != digests[2]


def test_verdicts_know_the_table(thinned):
    table = Combinability({})
    assert Atlas(thinned, combinability=table).combinability is table


def test_a_missing_table_is_an_error(thinned, tmp_path):
    config = FitConfig(engine=EngineConfig(combinability=tmp_path / "none.json"))
    with pytest.raises(DatabaseError, match="cannot be read"):
        make_engine(config, thinned, None)
