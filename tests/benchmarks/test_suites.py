"""The registry, the floors, and every suite of kernels at tiny sizes."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from benchmarks import ceilings as ceilings_module
from benchmarks import kernel, run, suites
from benchmarks.__main__ import main, parser
from benchmarks.batch_sizes import decades
from benchmarks.ceilings import Ceilings, ceilings
from benchmarks.harness import FAILED, Floor, Options, Row, Spread
from benchmarks.made_up_workspace import SMALL, made_up_workspace
from benchmarks.results_file import rows_of
from benchmarks.suites import combination, kernels_histfactory, kernels_simplified, kernels_single
from benchmarks.suites import startup as startup_suite
from jaxlik.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")


def exactly(value):
    return Spread(value, value, value)


@pytest.fixture
def tiny_ceilings(monkeypatch):
    """Ceilings of short arrays: tests are not about the machine."""
    made = Ceilings(exactly(1e10), exactly(1e10), exactly(2e10), exactly(1e-5))
    for module in (kernel, kernels_histfactory):
        monkeypatch.setattr(module, "ceilings", lambda device, made=made: made)
    return made


def test_an_unknown_suite_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match="suite is 'kernel', wanted one of ceilings, kernels"):
        suites.load("kernel")


def test_budgets_of_a_quick_run_fit_into_ten_minutes():
    assert sum(suite.budget for suite in suites.SUITES.values()) <= 600


def test_ceilings_are_measured_and_shares_follow_from_them():
    found = ceilings(scale=1e-3)
    assert found.copy.median > 1e7
    assert found.matmul64.median > 1e7
    assert 0 < found.dispatch.low <= found.dispatch.median <= found.dispatch.high
    made = Ceilings(exactly(10.0), exactly(100.0), exactly(1.0), exactly(1.0))
    assert made.seconds(Floor(bytes=40.0, operations=100.0)) == 4.0
    assert made.share(Floor(bytes=1.0, operations=300.0), 6.0) == 0.5
    assert len(ceilings_module.rows(made)) == 4


def test_batch_sizes():
    assert decades(10**3, few=False) == (1, 10, 100, 1000)
    assert decades(10**6, few=True) == (1, 1000, 10**6)
    assert decades(100, few=True) == (1, 100)
    assert decades(1, few=True) == (1,)


def test_run_writes_a_suite_that_breaks_off_and_goes_on(tmp_path, monkeypatch, capsys):
    def breaks(options):
        yield Row("search", "first", None, "s", exactly(1.0))
        raise RuntimeError("out of luck")

    def works(options):
        yield Row("posterior", "second", None, "s", exactly(2.0))

    tasks = {"search": breaks, "posterior": works}
    monkeypatch.setattr(run, "load", tasks.__getitem__)
    path = tmp_path / "found.json"
    code = run.run_suites(Options(quick=True), list(tasks), output=path, check=False)
    assert code == 1
    document = json.loads(path.read_text())
    assert list(document["suites"]) == ["search", "posterior"]
    rows = rows_of(document)
    assert [row.case for row in rows] == ["first", "all that follows", "second"]
    assert rows[1].unit == FAILED
    assert "out of luck" in rows[1].note
    said = capsys.readouterr().out
    assert "suites that failed: search" in said
    assert "posterior: 0 s (budget" in said


def test_a_device_that_is_not_there_is_an_error_with_a_remedy(capsys):
    if jax.default_backend() == "gpu":
        pytest.skip("there is a GPU")
    assert main(["run", "--device", "gpu", "--quick"]) == 1
    said = capsys.readouterr().err
    assert "--device gpu" in said
    assert "--device cpu" in said


def test_the_command_line():
    given = parser().parse_args(["run", "--suite", "kernels", "--suite", "startup", "--quick"])
    assert given.suite == ["kernels", "startup"]
    assert given.device == "cpu"
    with pytest.raises(SystemExit):
        parser().parse_args(["run", "--rounds", "0"])


def test_a_process_is_timed_with_its_memory_and_its_failures(monkeypatch):
    child = startup_suite.run("values = bytearray(50 * 2**20)")
    assert child.seconds > 0
    assert child.memory > 50
    with pytest.raises(startup_suite.ChildError, match="ValueError: no such thing"):
        startup_suite.run("raise ValueError('no such thing')")
    monkeypatch.setattr(startup_suite, "find_spec", lambda name: None if name == "spey" else name)
    scripts = {"jaxlik": "pass", "pyhf": "raise ValueError('broken')", "spey": "pass",
               "SModelS": "values = bytearray(30 * 2**20)"}  # fmt: skip
    rows = list(startup_suite.beside("case", scripts, 2))
    found = {(row.peer, row.unit): row for row in rows}
    assert found["SModelS", "MiB"].ratio.median > 1.5
    assert "broken" in found["pyhf", FAILED].note
    assert "jaxlik[bench]" in found["spey", "missing"].note


def test_weights_of_all_solvers_agree():
    pytest.importorskip("networkx")
    rng = np.random.default_rng(1)
    for family in combination.families():
        problem = family.draw(rng, 12)
        best = combination.by_jaxlik(*problem)
        for make in (combination._networkx, combination._igraph):
            assert make()(*problem) == best


def test_a_peer_with_another_best_weight_is_reported():
    pytest.importorskip("networkx")
    problem = combination.drawn_randomly(0.5, np.random.default_rng(0), 6)
    best = combination.by_jaxlik(*problem)
    wrong = combination._checked("peer", lambda: lambda *_: best - 1, [problem], [best])
    with pytest.raises(ValueError, match="peer finds the weight"):
        wrong()


def test_made_up_workspaces_are_what_pyhf_reads():
    import pyhf

    document = made_up_workspace(SMALL)
    model = pyhf.Workspace(document).model()
    assert model.config.poi_name == "mu_SIG"
    kinds = {modifier for _, modifier in model.config.modifiers}
    assert kinds == {"normfactor", "normsys", "histosys", "staterror", "lumi"}
    assert made_up_workspace(SMALL) == document


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of peers
def test_every_kernel_at_tiny_sizes(tiny_ceilings):
    options = Options(quick=True, rounds=3)
    kernels = [*kernels_single.kernels(options), *kernels_simplified.kernels(options)]
    for one in kernels:
        rows = list(kernel.sweep("kernels", replace(one, sizes_quick=(1, 20)), options))
        sizes = {row.size for row in rows if row.unit == "per s"}
        assert sizes == {1, 20}
        shares = [row.share for row in rows if row.unit == "per s"]
        assert all(0 < share < 100 for share in shares)
        assert [row for row in rows if row.unit == FAILED and "takes longer" not in row.note] == []


@pytest.mark.slow
def test_devices_are_compared():
    assert main(["check", "--quick"]) == 0
