"""Documents and folders that tests make pages of, and what a page consists of."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
from synthetic_draws import SQUARK, STOP, independent_draws

from jaxlik.fit.calibration_report import calibration_document
from jaxlik.fit.chain_files import chain_path, write_chain
from jaxlik.fit.finish import Found, scanned
from jaxlik.fit.html.film import WALK
from jaxlik.fit.html.references import named_analyses, reference_entries
from jaxlik.fit.html.write import write_report
from jaxlik.fit.posterior_summary import Evidence, posterior_document
from jaxlik.fit.summary import model_document, run_document

LBP = 1000022
SHA = "0" * 64
HOSTILE = "<script>alert('x')</script> & \"<b>"
"""A name that breaks a page which does not escape it."""

VOID = {"meta", "br", "hr", "input", "link", "img"}
LOADING = {"src", "srcset", "data", "poster", "background", "action", "formaction"}
"""Attributes that make a browser fetch something."""


class Parts(HTMLParser):
    """Elements of a page in their order; counts tags that do not match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.unmatched, self.elements = [], [], []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.unmatched.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def figure_specs(text):
    """What the figures of a page are drawn from, by name."""
    found = re.findall(r'<script type="application/json">(.*?)</script>', text, re.S)
    specs = [json.loads(one) for one in found]
    return {spec["name"]: spec for spec in specs if "variants" in spec}


def check_page(text):
    """A page is whole, and nothing of it comes from elsewhere; returns its parts."""
    parts = Parts(text)
    assert parts.unmatched == []
    assert parts.open == []
    assert "could not be made" not in parts.text
    ids = [attributes["id"] for _, attributes in parts.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for tag, attributes in parts.elements:
        assert not LOADING & attributes.keys(), (tag, attributes)
        if tag == "a" and not attributes["href"].startswith("#"):
            assert attributes["href"].startswith(("https://doi.org/10.", "https://arxiv.org/abs/"))
        elif tag != "a":
            assert "href" not in attributes
    levels = [int(tag[1]) for tag, _ in parts.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    anchors = {a["href"][1:] for a in parts.all("a") if a["href"].startswith("#")}
    assert anchors <= set(ids)
    (root,) = parts.all("html")
    assert root["lang"] == "en"
    for plot in [a for a in parts.all("div") if a.get("class") == "plot"]:
        assert plot["role"] == "img"
        assert plot["aria-label"]
    return parts


def search_document(assembled, inspection):
    """The document of a search that found two models."""
    _, engine, labels = assembled
    model = model_document(engine, labels, inspection)
    model["contributions"] = {
        "K": model["K"],
        "particles": {str(STOP): {"K": 1.0, "loss": 3.0}},
        "analyses": {model["combination"][0]["analysis"]: {"K": None, "loss": None}},
    }
    model["likelihood_scan"] = scanned(engine, labels, Found(inspection, 3, 1))
    second = {**model, "K": model["K"] - 1, "step": 5, "walker": 2}
    return run_document(
        [{**model, "step": 3, "walker": 1}, second],
        status="done", mode="default", seed=0, walkers=6, steps=30, seconds=3.0,
        steps_per_second=10.0, database={"version": "3.0.0", "sha256": SHA},
        yields="exact", directory="run",
        references=reference_entries(labels.provenance, named_analyses([model])),
    )  # fmt: skip


def search_folder(folder, assembled, inspection):
    """A run directory of `build` with a film of three blocks, and its page."""
    folder.mkdir()
    document = search_document(assembled, inspection)
    (folder / "summary.json").write_text(json.dumps(document))
    (folder / "models.jsonl").write_text(json.dumps(document["best"][0]) + "\n")
    manifest = {"command": ["python", "-m", "jaxlik.fit"], "status": "done", "seed": 0,
                "mode": "default", "versions": {"jaxlik": "0.1.0", "jax": "0.10.2"},
                "started": "2026-01-01T00:00:00+00:00", "ended": None}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rng = np.random.default_rng(0)
    lines, history = [], []
    for step in (10, 20, 30):
        walkers = [
            [float(k), 0.5, {str(STOP): 900.0 + 10 * i, str(LBP): 150.0}]
            for i, k in enumerate(rng.uniform(0, 5, 6))
        ]
        masses = {str(STOP): 1000.0 + step, str(LBP): 160.0}
        best = {"K": 5.0 + step / 10, "r_max": 1.0, "masses": masses}
        lines.append(json.dumps({"step": step, "best": best, "walkers": walkers}))
        accepted = {"birth": 0.25}
        history.append(
            json.dumps({"step": step, "best": best["K"], "mean": 2.0, "acceptance": accepted})
        )
    (folder / WALK).write_text("\n".join(lines))
    (folder / "history.jsonl").write_text("\n".join(history))
    write_report(folder)


def posterior_folder(folder):
    """A run directory of `sample` with draws whose posterior is known."""
    draws = independent_draws({(): 0.5, (STOP,): 0.3, (STOP, SQUARK): 0.2}, shape=(4, 500))
    facts = {
        "status": "done",
        "seed": 0,
        "mode": "default",
        "prior": "count",
        "seconds": 12.0,
        "database": {"version": "3.0.0", "sha256": SHA},
        "yields": "exact",
        "acceptance": {"birth or death": 0.2, "trajectory": 0.9},
        "directory": str(folder),
    }
    evidence = [Evidence((), -0.2, 0.1), Evidence((STOP, LBP), 0.4, 0.2, 3.0)]
    document = posterior_document(draws, facts=facts, evidence=evidence)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(draws.num_chains):
        write_chain(chain_path(folder, number), draws.chain(number), number)
    (folder / "summary.json").write_text(json.dumps(document))
    return draws, document


def calibration(injected=None):
    """Documents of calibrations with 40 made-up searches."""
    rng = np.random.default_rng(1)

    def result(index, k):
        return {"index": index, "K": k, "Z": None if k is None else 2.0, "r_max": 1.0,
                "masses": {"1000022": 100.0, "1000006": 800.0}, "model": "{}",
                "largest_z": 3.0, "log_bayes_factor": 0.1 * (index % 7)}  # fmt: skip

    fake = [result(i, float(k)) for i, k in enumerate(rng.normal(4, 2, 39))] + [result(39, None)]
    real = [] if injected else [result(-1, 7.5), result(-2, 7.4)]
    campaign = {"mode": "default", "search": {"walkers": 10, "moves": {}}}
    database = {"version": "3.0.0", "sha256": SHA}
    return calibration_document(campaign, database, real, fake, injected)
