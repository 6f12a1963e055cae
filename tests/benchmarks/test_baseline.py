"""The baseline sees a planted regression and nothing else."""

import json
from dataclasses import replace

import pytest
from result_rows import alone, document, row

from benchmarks import baseline, results_file
from benchmarks.__main__ import main
from benchmarks.baseline import Verdict
from benchmarks.harness import Options, failed_row, missing_row
from jaxlik.errors import ConfigError


def verdict(stored, rows, suites=("kernels",)):
    (found,) = baseline.check(stored, rows, suites)
    return found.verdict


def test_only_ratios_that_are_well_known_are_stored():
    wide = row(width=3.0, case="wide")
    memory = row(case="memory", unit="MiB")
    (stored,) = baseline.chosen([row(), wide, alone(case="alone"), memory])
    assert stored.case == row().case
    assert stored.ratio == 10.0
    assert stored.tolerance == baseline.TOLERANCE


def test_one_case_may_be_compared_in_several_units():
    stored = baseline.chosen([row(10.0, unit="evaluations"), row(3.0, unit="s")])
    assert [one.ratio for one in stored] == [10.0, 3.0]
    found = baseline.check(stored, [row(9.0, unit="evaluations"), row(1.0, unit="s")], ["kernels"])
    assert [one.verdict for one in found] == [Verdict.fine, Verdict.fallen]


def test_several_runs_must_agree():
    first = [row(10.0), row(10.0, case="unsteady"), row(10.0, case="gone")]
    second = [row(8.0), row(50.0, case="unsteady")]
    (stored,) = baseline.chosen_in_all([first, second])
    assert (stored.case, stored.ratio) == (row().case, 8.0)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [(10.0, Verdict.fine), (6.0, Verdict.fine), (90.0, Verdict.fine), (4.0, Verdict.fallen)],
)
def test_a_ratio_may_fall_by_its_tolerance(measured, expected):
    assert verdict(baseline.chosen([row(10.0)]), [row(measured)]) == expected


def test_the_upper_quartile_decides():
    noisy = row(4.0, width=2.0)
    assert noisy.ratio.high > 5.0
    assert verdict(baseline.chosen([row(10.0)]), [noisy]) == Verdict.fine


def test_what_was_not_measured_is_told_apart():
    stored, one = baseline.chosen([row()]), row()
    assert verdict(stored, [], suites=("scores",)) == Verdict.unmeasured
    assert verdict(stored, []) == Verdict.vanished
    missing = missing_row(one.suite, one.case, "pyhf", "bench")
    assert verdict(stored, [missing]) == Verdict.missing
    failed = failed_row(one.suite, one.case, "pyhf", "pyhf fails")
    assert verdict(stored, [failed]) == Verdict.failed
    regressions = [
        found.is_regression
        for rows in ([], [missing], [failed])
        for found in baseline.check(stored, rows, ["kernels"])
    ]
    assert regressions == [True, False, False]


def test_a_missing_peer_whose_name_has_a_comma_has_not_vanished():
    one = replace(row(), peer="pyhf-jax, batched")
    missing = missing_row(one.suite, one.case, "pyhf-jax, batched", "bench")
    assert verdict(baseline.chosen([one]), [missing]) == Verdict.missing


def test_the_report_names_what_regressed():
    checked = baseline.check(baseline.chosen([row(10.0)]), [row(3.0)], ["kernels"])
    text = baseline.report(checked)
    assert "1 fallen" in text
    assert (
        "| fallen | kernels | single region: -2 ln L at mu = 1, profiled | 1000 | per s | pyhf |"
        in text
    )


def test_the_command_makes_a_baseline_and_sees_a_regression(tmp_path, capsys):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    results_file.write(good, document([row(10.0)]))
    results_file.write(bad, document([row(2.0)]))
    stored = tmp_path / "baseline.json"
    assert main(["baseline", str(good), "--output", str(stored)]) == 0
    assert main(["compare", str(good), "--baseline", str(stored)]) == 0
    assert main(["compare", str(bad), "--baseline", str(stored)]) == 1
    assert main(["compare", str(good), str(bad)]) == 1
    assert main(["compare", str(bad), str(good)]) == 0
    assert "1 fallen" in capsys.readouterr().out


def test_a_foreign_file_is_refused(tmp_path, capsys):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"schema": "something else"}))
    with pytest.raises(ConfigError, match="schema is 'something else', wanted"):
        baseline.read(path)
    assert main(["compare", str(path)]) == 1
    assert "wanted 'jaxlik/benchmarks/1'" in capsys.readouterr().err


def test_the_stored_results_hold_all_that_is_watched():
    document = results_file.read(results_file.default_path(Options(quick=True)))
    checked = baseline.check(baseline.read(), results_file.rows_of(document), document["suites"])
    assert all(one.verdict is Verdict.fine for one in checked), baseline.report(checked)


def test_the_stored_baseline_can_be_read():
    stored = baseline.read()
    assert stored
    assert all(one.ratio > 0 and one.tolerance >= baseline.TOLERANCE for one in stored)
    assert len({one.key for one in stored}) == len(stored)
