"""`python -m surrogates`: from a database to a file of networks, and wrong input."""

import json

import numpy as np
import pytest

from jaxlik.database.surrogate_file import open_surrogate
from surrogates.__main__ import main

SMALL = ("--width", "8", "--steps", "100", "--every", "50", "--batch", "32")


@pytest.fixture
def here(monkeypatch, tmp_path):
    from jaxlik.fit import runtime

    monkeypatch.setattr(runtime, "prepare", lambda **options: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def database(thinned):
    return str(thinned.path)


@pytest.mark.slow
def test_a_database_becomes_networks(here, database, capsys, thinned):
    only = ("--only", "ATLAS-SUSY-2018-41-eff", "ATLAS-SUSY-2018-06-eff")
    where = ("--database", database, "--run", "run")
    assert main(["train", *where, *only, *SMALL, "--quiet"]) == 0
    assert "8 networks in run" in capsys.readouterr().out
    assert main(["validate", *where, *only, "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "A6 coverage" in text
    page = (here / "run" / "closure.md").read_text()
    assert "ATLAS-SUSY-2018-41-eff:TChiWZ" in page
    assert len(json.loads((here / "run" / "closure.json").read_text())) == 8
    assert main(["export", *where, *only, "--target", "networks.npz", "--quiet"]) == 0
    assert "8 networks" in capsys.readouterr().out
    found = open_surrogate(here / "networks.npz")
    assert found.database_sha256 == thinned.sha256
    assert len(found.heads) == len(found.arrays["head.scale"])
    assert {name for name, _, _ in found.heads} == {
        "ATLAS-SUSY-2018-41-eff",
        "ATLAS-SUSY-2018-06-eff",
    }
    for (folder, txname, region), head in found.heads.items():
        (header,) = [
            h for h in thinned.maps if (h.folder, h.txname, h.region) == (folder, txname, region)
        ]
        values = thinned.array("values")[header.start : header.start + header.size]
        assert found.arrays["head.scale"][head] == values.max()
    assert (found.arrays["head.band"] > 0).all()
    assert np.isfinite(found.arrays["head.reach_bias"]).all()


def test_wrong_words_are_named(here, database, capsys):
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert main(["learn"]) == 2
    assert "there is no command 'learn'" in capsys.readouterr().err
    where = ("--database", database, "--run", "run")
    assert main(["train", *where, "--only", "CMS-NO-SUCH", "--quiet"]) == 1
    assert "no efficiency maps of CMS-NO-SUCH" in capsys.readouterr().err
    known = ("--only", "ATLAS-SUSY-2018-06-eff", "CMS-NO-SUCH")
    assert main(["train", *where, *known, "--quiet"]) == 1
    assert "no efficiency maps of CMS-NO-SUCH" in capsys.readouterr().err
    assert main(["train", *where, "--steps", "0", "--quiet"]) == 1
    assert "--steps is 0" in capsys.readouterr().err
    assert main(["validate", *where]) == 1
    assert "no run.json" in capsys.readouterr().err
    assert main(["train", "--database", "nowhere", "--run", "run", "--quiet"]) == 1
    assert "no such file" in capsys.readouterr().err


def test_export_wants_a_validated_run(here, database, capsys):
    only = ("--only", "ATLAS-SUSY-2018-06-eff")
    where = ("--database", database, "--run", "run")
    assert main(["train", *where, *only, *SMALL, "--quiet"]) == 0
    assert main(["export", *where, *only, "--target", "networks.npz", "--quiet"]) == 1
    assert "validate` first" in capsys.readouterr().err
    assert main(["export", *where, *only, "--target", "networks.txt", "--quiet"]) == 1
    assert "ends in .npz" in capsys.readouterr().err
    assert main(["validate", "--database", "embedded", "--run", "run", *only, "--quiet"]) == 1
    assert "only as hulls" in capsys.readouterr().err
