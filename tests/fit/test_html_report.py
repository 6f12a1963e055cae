"""Pages of all kinds of results: complete, escaped, and true to their documents."""

import json
import re
from copy import deepcopy
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from report_pages import (
    HOSTILE,
    STOP,
    calibration,
    check_page,
    figure_specs,
    posterior_folder,
    search_folder,
)
from test_point_command import FILE
from test_workspace_command import DOCUMENT as WORKSPACE

from jaxlik.errors import ConfigError
from jaxlik.fit.__main__ import main
from jaxlik.fit.html.film import WALK, film_chart, read_film, record
from jaxlik.fit.html.names import decay, label, pair, symbol
from jaxlik.fit.html.numbers import fixed, measured, percent, significant
from jaxlik.fit.html.references import arxiv_address, doi_address
from jaxlik.fit.html.schema import NAMES, load_schema
from jaxlik.fit.html.write import report_text, try_report, write_report

DATABASE = str(Path(__file__).resolve().parents[1] / "data" / "thinned.npz")


@pytest.fixture(scope="module", autouse=True)
def _no_global_settings():
    from jaxlik.fit import runtime

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "prepare", lambda **options: None)
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory, assembled, inspection):
    """A run directory of `build`."""
    folder = tmp_path_factory.mktemp("pages") / "run"
    search_folder(folder, assembled, inspection)
    return folder


@pytest.fixture(scope="module")
def summary(built):
    return json.loads((built / "summary.json").read_text())


@pytest.fixture(scope="module")
def census(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "census"
    assert main(["census", "--database", DATABASE, "--output", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture(scope="module")
def point(tmp_path_factory):
    """Document and page of a verdict."""
    folder = tmp_path_factory.mktemp("pages")
    model = folder / "gluino.slha"
    model.write_text(FILE.format(gluino="1.5E+03"))
    given = [str(model), "--database", DATABASE, "--json", str(folder / "point.json"),
             "--report", str(folder / "point.html"), "--quiet"]  # fmt: skip
    assert main(["point", *given]) == 0
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "workspace"
    file = folder.parent / "workspace.json"
    file.write_text(json.dumps(WORKSPACE))
    given = ["workspace", str(file), "--impacts", "--output", str(folder), "--quiet"]
    assert main(given) == 0
    return folder


def validate(document):
    schema = load_schema(document["schema"])
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


def test_a_search_leaves_a_page_with_all_its_parts(built, summary):
    text = (built / "report.html").read_text(encoding="utf-8")
    parts = check_page(text)
    titles = [
        parts.elements[i][1]["id"] for i, (tag, _) in enumerate(parts.elements) if tag == "h2"
    ]
    assert titles == [
        f"{name}-title"
        for name in ("model", "results", "likelihood", "critic", "contributions", "walk",
                     "models", "publications", "run")
    ]  # fmt: skip
    specs = figure_specs(text)
    assert specs.keys() >= {"ruler", "pulls", "scan", "r-values", "losses", "history", "film"}
    best = summary["best"][0]
    assert f"{best['K']:.2f}" in parts.text
    assert summary["database"]["version"] in parts.text
    # plotly.js is there once, whole, and ends where it should.
    assert text.count("plotly.js v") == 1
    assert len(text) < 6_000_000


def test_every_analysis_links_to_the_publication_of_its_record(built, summary, assembled):
    parts = check_page((built / "report.html").read_text(encoding="utf-8"))
    sources = {}
    for source in assembled[2].provenance.values():
        known = sources.setdefault(source.analysis, {"doi": "", "arxiv": ""})
        known["doi"], known["arxiv"] = known["doi"] or source.doi, known["arxiv"] or source.arxiv
    text = (built / "report.html").read_text(encoding="utf-8")
    links = set(re.findall(r'<a href="([^"]+)"[^>]*><span class="id">([^<]+)</span></a>', text))
    named = {row["analysis"] for row in summary["best"][0]["combination"]}
    named |= {row["analysis"] for row in summary["best"][0]["r_values"]}
    assert named <= {name for _, name in links}
    for address, name in links:
        wanted = sources[name]
        number = re.search(r"10\.\d+/.*", wanted["doi"])
        if number:
            assert address == f"https://doi.org/{number[0]}"
        else:
            assert address.removeprefix("https://") == re.sub("https?://", "", wanted["arxiv"])
    assert parts.all("a")


def test_the_figures_show_the_numbers_of_the_document(built, summary):
    specs = figure_specs((built / "report.html").read_text(encoding="utf-8"))
    best = summary["best"][0]
    bars = specs["r-values"]["variants"][0]["data"][0]
    np.testing.assert_allclose(bars["x"], [row["r"] for row in best["r_values"][:15]], rtol=1e-5)
    scan = best["likelihood_scan"]
    total = np.sum([curve["values"] for curve in scan["curves"]], axis=0)
    drawn = specs["scan"]["variants"][0]["data"][0]
    np.testing.assert_allclose(drawn["y"], total, rtol=1e-5, atol=1e-9)
    # The curve of the combination meets Z^2 of the document at mu_hat.
    at = np.interp(scan["mu_hat"], scan["mu"], total)
    assert at == pytest.approx(best["Z"] ** 2, rel=0.02)


def test_figures_are_valid_for_plotly(built, tmp_path, census, point, workspace):
    from plotly.graph_objects import Figure

    posterior_folder(tmp_path / "posterior")
    write_report(tmp_path / "posterior")
    texts = [(built / "report.html").read_text(), (tmp_path / "posterior/report.html").read_text()]
    texts += [(census / "report.html").read_text(), (point / "point.html").read_text()]
    texts += [(workspace / "report.html").read_text(), report_text(calibration())]
    count = 0
    for text in texts:
        for spec in figure_specs(text).values():
            for variant in spec["variants"]:
                # Names of attributes and kinds of values are checked by plotly itself.
                Figure(data=variant["data"], layout=variant["layout"])
                count += 1
    assert count > 20


def test_the_film_keeps_where_walkers_are(tmp_path, assembled):
    from jaxlik.fit.config import SearchConfig
    from walkers.run import initial_state

    space = assembled[1].space
    state = initial_state(assembled[1], SearchConfig(walkers=6, keep=2))
    record(tmp_path, space, state)
    (line,) = read_film(tmp_path)
    assert (line["step"], line["best"]) == (0, None)
    masses = np.asarray(state.walkers.point.masses)[:, space.lbp]
    for (score, r_max, found), mass in zip(line["walkers"], masses, strict=True):
        assert (score, r_max) == (None, 0.0)
        assert found == {"1000022": pytest.approx(mass, abs=0.051)}
    assert film_chart([line]).frames[0].label == "step 0: no model yet"


def test_steps_that_a_resumed_run_repeats_count_once(tmp_path):
    steps = [0, 10, 20, 30, 20, 30, 40]
    lines = [
        json.dumps({"step": s, "best": None, "walkers": [[n, 0, {}]]}) for n, s in enumerate(steps)
    ]
    (tmp_path / WALK).write_text("\n".join([*lines, '{"step": 5']))
    found = read_film(tmp_path)
    assert [line["step"] for line in found] == [0, 10, 20, 30, 40]
    assert [line["walkers"][0][0] for line in found] == [0, 1, 4, 5, 6]


def test_names_cannot_break_a_page(summary):
    document = deepcopy(summary)
    best = document["best"][0]
    document["database"]["version"] = HOSTILE
    for row in (*best["combination"], *best["r_values"]):
        row["analysis"] = row["region"] = row["result"] = HOSTILE
    best["contributions"]["analyses"] = {HOSTILE: {"K": 1.0, "loss": 2.0}}
    best["likelihood_scan"]["curves"][0]["analysis"] = HOSTILE
    text = report_text(document)
    parts = check_page(text)
    assert HOSTILE in parts.text
    # The only scripts are those of the page; none of the name.
    assert "<script>alert" not in text
    assert not [attributes for tag, attributes in parts.elements if tag == "b"]
    # What plotly takes for markup is escaped once more.
    names = figure_specs(text)["r-values"]["variants"][0]["layout"]["yaxis"]["ticktext"]
    assert names[0].startswith("&lt;script&gt;")


def test_links_go_nowhere_else(summary):
    document = deepcopy(summary)
    for entry in document["references"].values():
        entry.update(doi="javascript:alert(1)", arxiv="https://example.org/abs/1", title=HOSTILE)
    for row in document["best"][0]["combination"]:
        row.update(doi="https://example.org/10.1", arxiv="")
    parts = check_page(report_text(document))
    assert not [a for a in parts.all("a") if not a["href"].startswith("#")]


def test_a_search_that_found_nothing_says_so(summary):
    document = {**summary, "best": [], "status": "interrupted", "steps": 0}
    parts = check_page(report_text(document))
    assert "No model was found" in parts.text
    assert "was stopped before its end" in parts.text


def test_models_without_final_scores(summary):
    keys = ("K", "Z", "log_prior", "r_max", "mu_hat", "step", "walker", "particles",
            "branching_ratios", "signal_strengths")  # fmt: skip
    model = {key: summary["best"][0][key] for key in keys}
    document = {**summary, "best": [model], "status": "interrupted"}
    validate(document)
    parts = check_page(report_text(document))
    assert "ended before its models were scored" in parts.text


def test_a_run_without_summary_shows_what_its_files_say(built, tmp_path):
    for name in ("manifest.json", "models.jsonl", "history.jsonl"):
        (tmp_path / name).write_text((built / name).read_text())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    parts = check_page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "has not ended" in parts.text
    assert "no film" in parts.text


def test_a_damaged_part_does_not_take_the_others_along(summary, caplog):
    document = deepcopy(summary)
    document["best"][0]["combination"][0].pop("log_ratio")
    text = report_text(document)
    assert "This part could not be made" in text
    assert figure_specs(text).keys() >= {"ruler", "scan", "r-values"}
    assert "Results behind K" in caplog.text


def test_a_page_that_fails_is_a_warning(tmp_path, caplog, monkeypatch):
    (tmp_path / "summary.json").write_text('{"schema": "jaxlik/run/1", "best": [{}]}')
    assert try_report(tmp_path) is None
    assert "no report.html" in caplog.text
    from jaxlik.fit.html import write

    def fail(*given):
        raise OSError("disk full")

    monkeypatch.setattr(write, "write_atomically", fail)
    caplog.clear()
    (tmp_path / "summary.json").write_text(json.dumps(calibration()))
    assert try_report(tmp_path) is None
    assert "disk full" in caplog.text


def test_the_page_of_a_posterior(tmp_path):
    draws, document = posterior_folder(tmp_path / "run")
    assert main(["report", str(tmp_path / "run"), "--quiet"]) == 0
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    parts = check_page(text)
    specs = figure_specs(text)
    bars = specs["contents-chart"]["variants"][0]["data"][0]
    np.testing.assert_allclose(bars["x"], [100 * c["probability"] for c in document["contents"]])
    # Bands of all models with the particle: quantiles of the draws, by NumPy.
    place = draws.pdg_ids.index(STOP)
    stop = draws.masses[..., place][draws.active[..., place]]
    spectrum = specs["spectra-chart"]["variants"][0]
    bands = [t for t in spectrum["data"] if t["type"] == "bar" and symbol(STOP) in t["text"][0]]
    low, high = np.quantile(stop, [0.025, 0.975])
    assert bands[0]["base"][0] == pytest.approx(low, rel=1e-5)
    assert bands[0]["base"][0] + bands[0]["y"][0] == pytest.approx(high, rel=1e-5)
    assert "traces-chart" in specs
    assert "R-hat" in parts.text


def test_a_posterior_without_chains_still_has_a_page(tmp_path, caplog):
    posterior_folder(tmp_path / "run")
    (tmp_path / "run" / "chain-2.nc").unlink()
    parts = check_page(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    assert "chains could not be read" in parts.text
    assert "chain-2.nc is missing" in caplog.text


def test_a_posterior_without_summary_is_summarised_from_its_chains(tmp_path, capsys):
    _, document = posterior_folder(tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    manifest = {"command": ["python", "-m", "jaxlik.fit", "sample"], "status": "running", "seed": 0}
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "has not ended" in check_page(text).text
    bars = figure_specs(text)["contents-chart"]["variants"][0]["data"][0]
    np.testing.assert_allclose(bars["x"], [100 * c["probability"] for c in document["contents"]])
    for path in (tmp_path / "run").glob("chain-*.nc"):
        path.unlink()
    assert main(["report", str(tmp_path / "run")]) == 1
    assert "has no chain" in capsys.readouterr().err


def test_pages_of_calibrations():
    document = calibration()
    validate(document)
    text = report_text(document)
    parts = check_page(text)
    # 39 of 40 searches found something; the histogram holds all of these.
    assert sum(figure_specs(text)["kvalues"]["variants"][0]["data"][0]["y"]) == 39
    above = sum(one["K"] is not None and one["K"] >= 7.5 for one in document["results"])
    assert f"{above} of 40" in parts.text
    closure = calibration(injected=[1000022, 1000006])
    validate(closure)
    assert "40/40" in check_page(report_text(closure)).text
    assert "injected model itself" not in check_page(report_text(closure)).text
    spread = {"number": 40, "mean": 6.5, "deviation": 1.0, "low": 5.0, "high": 8.0}
    closure["closure"] |= {"K_injected": spread, "reached": 37}
    closure["results"][0]["K_injected"] = 6.5
    validate(closure)
    text = check_page(report_text(closure)).text
    assert "37 of 40 searches end at least there" in " ".join(text.split())


def test_the_page_of_a_census(census):
    document = json.loads((census / "census.json").read_text())
    validate(document)
    text = (census / "report.html").read_text(encoding="utf-8")
    parts = check_page(text)
    data = figure_specs(text)["z-histogram"]["variants"][0]["data"]
    assert sum(sum(t["y"]) for t in data if t["type"] == "bar") == len(document["regions"])
    largest = max(document["regions"], key=lambda region: region["z"])
    assert largest["region"] in parts.text


def test_the_page_of_a_verdict(point):
    document = json.loads((point / "point.json").read_text())
    validate(document)
    text = (point / "point.html").read_text(encoding="utf-8")
    parts = check_page(text)
    first = document["predictions"][0]
    assert first["analysis"] in parts.text
    bars = figure_specs(text)["r-chart"]["variants"][0]["data"][0]["x"]
    np.testing.assert_allclose(bars, [p["r"] for p in document["predictions"][:20]], rtol=1e-5)
    # The address of every analysis is in the document of its prediction.
    addresses = {a["href"] for a in parts.all("a")}
    assert {doi_address(p["doi"]) for p in document["predictions"] if p["doi"]} <= addresses
    many = {"schema": "jaxlik/points/1", "points": [document, {"model": HOSTILE, "error": "bad"}]}
    shown = check_page(report_text(many))
    assert "no verdict" in shown.text
    validate({"schema": "jaxlik/point/1", "model": "x", "error": "bad"})
    check_page(report_text({"schema": "jaxlik/point/1", "model": HOSTILE, "error": HOSTILE}))


def test_the_page_of_a_workspace(workspace):
    document = json.loads((workspace / "workspace.json").read_text())
    validate(document)
    text = (workspace / "report.html").read_text(encoding="utf-8")
    check_page(text)
    specs = figure_specs(text)
    assert specs.keys() >= {"band", "cls", "profile", "pulls", "impacts-chart"}
    # The scan crosses CLs = 0.05 at the upper limit; linear interpolation of 24 nodes.
    scan, limit = document["scan"], document["upper_limit"]
    order = np.argsort(scan["cls"])
    crossing = np.interp(0.05, np.asarray(scan["cls"])[order], np.asarray(scan["mu"])[order])
    assert crossing == pytest.approx(limit["observed"], rel=0.01)
    median = np.asarray(scan["cls_expected"][2])
    order = np.argsort(median)
    crossing = np.interp(0.05, median[order], np.asarray(scan["mu"])[order])
    assert crossing == pytest.approx(limit["expected"][2], rel=0.01)


def test_the_page_of_a_snapshot(thinned):
    from jaxlik.fit.commands.snapshot import snapshot_document

    document = snapshot_document(thinned)
    validate(document)
    parts = check_page(report_text(document))
    assert document["analyses"][0]["id"] in parts.text


def test_documents_of_runs_follow_their_schemas(summary, tmp_path):
    validate(summary)
    validate(posterior_folder(tmp_path)[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_refuses_a_document_without_its_keys(name):
    schema = load_schema(f"jaxlik/{name}/1")
    validator = jsonschema.Draft202012Validator(schema)
    assert not validator.is_valid({"schema": f"jaxlik/{name}/1"})
    assert not validator.is_valid({"schema": "jaxlik/other/1"})
    with pytest.raises(ConfigError, match="there is no schema"):
        load_schema("nothing")


def test_a_schema_refuses_wrong_values(summary):
    validator = jsonschema.Draft202012Validator(load_schema("run"))

    def refused(change):
        document = deepcopy(summary)
        change(document["best"][0])
        return not validator.is_valid(document)

    assert refused(lambda model: model.update(K=None))
    assert refused(lambda model: model.pop("r_values"))
    assert refused(lambda model: model["particles"].update(stop={"mass": 1.0, "name": "x"}))
    assert refused(lambda model: model["combination"][0].update(type="guess"))
    assert refused(lambda model: model["branching_ratios"].update({"1000006": {"(1, 2)": 1.5}}))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such run directory"), ("[]", "is no JSON document"),
     ('{"schema": "x"}', "there is no page")],
)  # fmt: skip
def test_wrong_places(tmp_path, capsys, content, message):
    place = tmp_path / "x.json"
    if content is not None:
        place.write_text(content)
    assert main(["report", str(place)]) == 1
    assert message in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty")]) == 1
    assert "wanted a run directory" in capsys.readouterr().err


def test_a_page_of_a_single_document_lies_beside_it(tmp_path, capsys):
    (tmp_path / "calibration.json").write_text(json.dumps(calibration()))
    assert main(["report", str(tmp_path / "calibration.json")]) == 0
    assert "calibration.html" in capsys.readouterr().err
    check_page((tmp_path / "calibration.html").read_text(encoding="utf-8"))


def test_plotly_is_imported_only_for_a_page():
    import subprocess
    import sys

    code = (
        "import sys, jaxlik.fit.html.write, jaxlik.fit.html.build_report, "
        "jaxlik.fit.commands.build, jaxlik.fit.commands.report, jaxlik.fit.finish; "
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'plotly']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_numbers_have_the_digits_of_their_errors():
    assert measured(4.8, 1.6) == "4.8 ± 1.6"
    assert measured(413.18, 24.76) == "413 ± 25"
    assert measured(1.2599, 0.51767) == "1.26 ± 0.52"
    assert measured(1.0, None) == "1"
    assert measured(-0.0331, 0.0067) == "−0.0331 ± 0.0067"
    assert fixed(-1e-9, 2) == "0.00"
    assert fixed(float("nan"), 2) == "–"
    assert significant(0.0275438) == "0.0275"
    assert significant(1.23e-7) == "1.23 × 10⁻⁷"
    assert percent(1e-5) == "< 0.1 %"


def test_particles_have_unicode_names():
    assert symbol(1000006) == "t̃₁"
    assert symbol(1000022) == "χ̃⁰₁"
    assert symbol(-1000024) == "χ̃∓₁"
    assert symbol(3000001) == "3000001"
    assert decay("(1000022, 6)") == "t χ̃⁰₁"
    assert pair("(-1000006, 1000006)") == "t̃₁ t̃₁*"
    assert label("BR(X_t^1 -> t X_Z^1)") == "BR(t̃₁ → t χ̃⁰₁)"
    assert label("κ(X_b^1 X_b^1~)") == "κ(b̃₁ b̃₁*)"
    assert label("m(X_nu_mu) in X_nu_mu X_Z^1") == "m(ν̃μ) in ν̃μ χ̃⁰₁"


def test_addresses_of_publications():
    for text in (
        "10.1103/PhysRevD.1",
        "doi:10.1103/PhysRevD.1",
        "http://dx.doi.org/10.1103/PhysRevD.1",
    ):
        assert doi_address(text) == "https://doi.org/10.1103/PhysRevD.1"
    assert doi_address("https://example.org/10.1") is None
    assert (
        arxiv_address("http://arxiv.org/abs/1911.12606v2") == "https://arxiv.org/abs/1911.12606v2"
    )
    assert arxiv_address("arXiv:hep-ph/0101001") == "https://arxiv.org/abs/hep-ph/0101001"
    assert arxiv_address("javascript:1") is None
