"""`calibrate` from the command line: files that depend on nothing but what was asked for."""

import json
from pathlib import Path

import pytest

from jaxlik.fit.__main__ import main

DATABASE = str(Path(__file__).resolve().parents[1] / "data" / "thinned.npz")

SMALL = (
    *("--database", DATABASE, "--databases", "2", "--each", "1", "--real", "2"),
    *("--search.leads", "1", "--search.steps", "1", "--search.walkers", "4"),
    *("--search.keep", "2", "--search.gradient-steps", "0", "--search.max-particles", "3"),
)


def run(*arguments):
    return main(["calibrate", *map(str, arguments), "--quiet"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs --output"),
        (["--databases", "0"], "--databases"),
        (["--fudge", "-1"], "--fudge"),
        (["--injected", "nowhere.dict", "--output", "x"], "no such file"),
        (["--output", "x", "--workers", "0"], "workers"),
        (["--output", "x", "--search.leads", "-2"], "leads"),
        (["--published", "nowhere.tar"], "cannot be read"),
    ],
)
def test_wrong_input(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_files_do_not_depend_on_the_number_of_workers(tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(*SMALL, "--output", one) == 0
    assert run(*SMALL, "--output", two, "--workers", "2") == 0
    names = sorted(path.name for path in (one / "chunks").glob("*.json"))
    assert len(names) == 4
    for name in names:
        assert (one / "chunks" / name).read_bytes() == (two / "chunks" / name).read_bytes()
    assert (one / "summary.json").read_bytes() == (two / "summary.json").read_bytes()
    document = json.loads((one / "summary.json").read_text())
    assert document["schema"] == "jaxlik/calibration/1"
    assert [found["index"] for found in document["results"]] == [0, 1]
    assert [found["index"] for found in document["real"]] == [-1, -2]
    # Both are the same data, searched with different seeds.
    assert len({found["largest_z"] for found in document["real"]}) == 1
    assert len({found["largest_z"] for found in document["results"]}) == 2
    assert document["bayes_factor"]["number"] == 2
    assert "global p" in capsys.readouterr().out
    # Another question may not be mixed in.
    assert run(*SMALL, "--output", two, "--fudge", "0.5") == 1
    assert "folder" in capsys.readouterr().err


@pytest.mark.slow
def test_injected_signals_are_counted(tmp_path, capsys):
    model = tmp_path / "model.dict"
    model.write_text(
        repr(
            {
                "masses": {1000022: 162.7, 1000001: 735.3},
                "decays": {1000022: {}, 1000001: {(1000022, 1): 1.0}},
                "ssmultipliers": {(-1000001, 1000001): 1.5},
            }
        )
    )
    target = tmp_path / "out"
    given = [*SMALL, "--injected", model, "--no-sampled", "--output", target, "--databases", "1"]
    assert run(*given) == 0
    document = json.loads((target / "summary.json").read_text())
    assert document["closure"]["injected"] == [1000001, 1000022]
    assert "real" not in document or not document["real"]
    (found,) = document["results"]
    # The data are the expectation under this model.
    assert found["K_injected"] > 0
    assert document["closure"]["K_injected"]["mean"] == found["K_injected"]
    assert "all of them" in capsys.readouterr().out


def test_campaigns_survive_json_and_seeds_differ():
    from dataclasses import asdict, replace

    from jaxlik.fit.commands.calibrate import CalibrateConfig, campaign_of, payloads_of
    from walkers import pseudo_search

    config = CalibrateConfig(databases=10, each=4, real=2, injected=None, fudge=0.65)
    campaign = campaign_of(config, "digest")
    assert campaign_of(config, "other") != campaign
    payloads = payloads_of(config, asdict(campaign))
    assert [payload["indices"] for payload in payloads] == [
        *([-1], [-2], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9]),
    ]
    again = pseudo_search.campaign_of(json.loads(json.dumps(payloads[0]["campaign"])))
    assert again == campaign
    more = payloads_of(replace(config, databases=12), asdict(campaign))
    assert more[:4] == payloads[:4]
    seeds = [pseudo_search._seed(seed, i) for seed in (0, 1) for i in range(-5, 1000)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0
