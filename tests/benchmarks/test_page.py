"""The page: made of files of results, complete, and silent about nothing."""

import json

import pytest
from result_rows import alone, document, row

from benchmarks import results_file
from benchmarks.__main__ import main
from benchmarks.gpu_goals import GOALS, reached
from benchmarks.harness import Spread, missing_row
from benchmarks.page import curves_of, find_results, page_text, table, write_page
from benchmarks.results_file import SCHEMA, read, rows_of


def test_a_page_states_hardware_versions_date_numbers_and_missing_peers():
    rows = [row(12.5, note="a remark"), missing_row("kernels", "case", "spey", "bench")]
    text = page_text({"cpu": document(rows, quick=True)}, {})
    assert "python -m benchmarks run --quick" in text
    assert "core(s)" in text
    assert "jax " in text
    assert "2026-11-29" in text
    assert "2e+06 (1.9e+06 to 2.2e+06)" in text
    assert "| pyhf |" in text
    assert "12.5 (11.9 to 13.1)" in text
    assert "a remark" in text
    assert "- spey is not installed: pip install 'jaxlik[bench]' (case)" in text
    assert "`python -m benchmarks run --suite scores`" in text


def test_a_disturbed_run_says_so():
    made = document([row()])
    made["environment"]["load"] = 0.1
    assert "disturbed" not in page_text({"cpu": made}, {})
    made["environment"]["load"] = 8.0 * made["environment"]["hardware"]["cores"]
    assert "**disturbed**" in page_text({"cpu": made}, {})


def test_without_a_gpu_its_column_is_empty_and_the_command_is_there():
    text = page_text({"cpu": document([row()])}, {})
    assert "python -m benchmarks run --device gpu" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| single region")]
    assert line.split("|")[-3].strip() == ""


def test_the_gpu_fills_the_column_of_the_same_case_and_size():
    fast = alone(value=Spread(3e9, 3e9, 3e9))
    other = alone(size=10, value=Spread(7.0, 7.0, 7.0))
    found = {"cpu": document([row()]), "gpu": document([fast, other], device="gpu")}
    text = page_text(found, {})
    (line,) = [line for line in text.splitlines() if line.startswith("| single region")]
    assert line.split("|")[-3].strip() == "3e+09"
    assert "| profile likelihoods of single regions | 1e+09 per s | 3e+09 per s |" in text


def test_goals_are_looked_up_among_rates():
    slow, fast = row(), row(value=Spread(2e9, 2e9, 2e9), size=10**8)
    assert reached(GOALS[0], [slow, fast]) is fast
    assert reached(GOALS[0], [row(unit="s")]) is None
    assert reached(GOALS[1], [slow, fast]) is None


def test_curves_need_two_sizes_and_skip_what_has_no_number():
    rows = [row(), row(size=10), row(case="one size"), missing_row("kernels", "c", "p", "bench")]
    ((case, (unit, points)),) = curves_of(rows).items()
    assert (case, unit) == (row().case, "per s")
    assert [size for size, _ in points] == [10, 1000]


def test_cells_are_escaped():
    (line,) = table([row(case="a | b")], {})[2:]
    assert r"a \| b" in line


def test_the_command_writes_page_and_figures(tmp_path):
    rows = [row(), row(size=10), row(suite="scaling", unit="s"),
            row(suite="scaling", unit="s", size=10)]  # fmt: skip
    path, page = tmp_path / "cpu.json", tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    results_file.write(path, document(rows))
    assert main(["report", str(path), "--page", str(page)]) == 0
    text = page.read_text()
    for name in ("benchmarks-kernels.png", "benchmarks-scaling.png"):
        assert f"(figures/{name})" in text
        assert (page.parent / "figures" / name).read_bytes().startswith(b"\x89PNG")


def test_a_file_is_strict_json_with_its_schema(tmp_path):
    rows = [row(), missing_row("kernels", "case", "spey", "bench")]
    path = tmp_path / "cpu.json"
    results_file.write(path, document(rows))
    raw = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert raw["schema"] == SCHEMA
    again = rows_of(read(path))
    assert again[0] == rows[0]
    assert again[1].note == rows[1].note


def test_suites_measured_one_by_one_share_a_file_if_the_machine_is_the_same(tmp_path):
    path = tmp_path / "cpu.json"
    results_file.write(path, document([row()]))
    fresh = document([])
    assert list(results_file.continued(path, fresh)["suites"]) == ["kernels"]
    fresh["environment"]["hardware"]["processor"] = "another one"
    assert results_file.continued(path, fresh)["suites"] == {}
    assert results_file.continued(tmp_path / "nothing.json", fresh) is fresh


def test_a_full_run_shows_what_it_lacks_from_a_quick_one_of_the_same_machine(tmp_path):
    full, quick = document([row(7.0)]), document([row(9.0), row(suite="search")], quick=True)
    results_file.write(tmp_path / "cpu.json", full)
    results_file.write(tmp_path / "cpu-quick.json", quick)
    shown = find_results(tmp_path)["cpu"]
    assert [one.ratio.median for one in rows_of(shown) if one.suite == "kernels"] == [7.0]
    text = page_text({"cpu": shown}, {})
    assert "`--quick --suite search`" in text
    assert "`--suite kernels`" in text
    assert "suites marked `--quick`: from a quick run here, database embedded" in text
    assert text.index("--suite kernels") < text.index("--suite search")
    quick["environment"]["hardware"]["processor"] = "another one"
    results_file.write(tmp_path / "cpu-quick.json", quick)
    assert set(find_results(tmp_path)["cpu"]["suites"]) == {"kernels"}


def test_pages_name_no_folder_or_host(tmp_path):
    import platform

    page = tmp_path / "page.md"
    write_page({"cpu": document([row()])}, page)
    text = page.read_text()
    assert str(tmp_path) not in text
    assert "/home/" not in text
    assert platform.node() == "" or platform.node() not in text.split()
