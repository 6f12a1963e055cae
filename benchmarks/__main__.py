"""One command for all benchmarks.

    python -m benchmarks run [--suite NAME ...] [--device cpu|gpu] [--quick]
    python -m benchmarks report [FILE ...]           results to the page in docs
    python -m benchmarks compare FILE [FILE]         two runs, or a run and the baseline
    python -m benchmarks baseline [FILE ...]         ratios to watch, from runs
    python -m benchmarks check [--device cpu|gpu]    is the device right?

`run` writes benchmarks/results/<device>[-quick].json and the page, and compares with the stored
baseline. It ends with 1 where a suite fails, a ratio has fallen or the device computes wrongly.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxlik.compilation import compile_short
from jaxlik.errors import JaxlikError

if TYPE_CHECKING:
    from benchmarks.harness import Options

QUICK_ROUNDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    given = parser().parse_args(arguments)
    try:
        return given.command(given)
    except JaxlikError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from benchmarks.suites import SUITES

    whole = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="measure, report, compare with the baseline")
    names = f"one of {', '.join(SUITES)}; may be repeated; all by default"
    run.add_argument("--suite", action="append", choices=list(SUITES), metavar="NAME", help=names)
    _add_device(run)
    run.add_argument(
        "--quick",
        action="store_true",
        help="small sizes, few rounds: ten minutes, up to twice that without compiled programs; a "
        "full run takes two hours and a SModelS text database",
    )
    run.add_argument(
        "--rounds", type=_positive, help=f"at most, of every case; 7, quick {QUICK_ROUNDS}"
    )
    run.add_argument("--seed", type=int, default=0, help="of random input")
    text = "snapshot or SModelS text database; the embedded one by default"
    run.add_argument("--database", default="embedded", help=text)
    run.add_argument("--cold", action="store_true", help="no compiled programs of earlier runs")
    run.add_argument("--output", type=Path, help="file of results")
    run.add_argument("--no-report", action="store_true", help="leave the page as it is")
    run.add_argument("--no-check", action="store_true", help="do not look at the baseline")
    run.set_defaults(command=_run)
    report = commands.add_parser("report", help="results to the page in docs")
    report.add_argument("files", type=Path, nargs="*", help="results; those of the repository")
    report.add_argument("--page", type=Path, help="docs/benchmarks-all.md by default")
    report.set_defaults(command=_report)
    compare = commands.add_parser("compare", help="two runs, or a run and the baseline")
    compare.add_argument("files", type=Path, nargs="+", help="one or two files of results")
    compare.add_argument("--baseline", type=Path, help="the stored one by default")
    compare.set_defaults(command=_compare)
    baseline = commands.add_parser("baseline", help="ratios to watch, from runs")
    baseline.add_argument("files", type=Path, nargs="*", help="results; the quick run on a CPU")
    baseline.add_argument("--output", type=Path, help="the stored one by default")
    baseline.set_defaults(command=_baseline)
    check = commands.add_parser("check", help="compare the device with the CPU")
    _add_device(check)
    check.add_argument("--quick", action="store_true", help="without the networks")
    check.set_defaults(command=_check)
    return whole


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", choices=("cpu", "gpu"), default="cpu")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}, wanted at least 1")
    return value


def prepare(device: str, *, cold: bool = False) -> str:
    """Set up JAX for measuring: device, precision, compilation.

    Args:
        device: ``cpu`` or ``gpu``.
        cold: Keep compiled programs neither here nor there.

    Returns:
        What a reader has to know about compilation.
    """
    if device == "cpu":
        # On a GPU the flags would cost speed.
        compile_short()
    import jax

    from jaxlik.database.compile import cache_folder
    from jaxlik.precision import enable_x64

    enable_x64()
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if cold:
        jax.config.update("jax_enable_compilation_cache", False)
        return "every program compiled in this run"
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = cache_folder() / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
    return "programs compiled by earlier runs are read from a cache: `--cold` compiles them all"


def _run(given: argparse.Namespace) -> int:
    from benchmarks.harness import Options

    compilation = prepare(given.device, cold=given.cold)
    rounds = given.rounds or (QUICK_ROUNDS if given.quick else 7)
    options = Options(given.device, given.quick, rounds, given.seed, given.database)
    if given.device == "gpu" and not _device_is_right(options):
        return 1
    from benchmarks.run import run_suites

    return run_suites(
        options,
        given.suite,
        output=given.output,
        report=not given.no_report,
        check=not given.no_check,
        compilation=compilation,
    )


def _report(given: argparse.Namespace) -> int:
    from benchmarks.page import PAGE, find_results, write_page
    from benchmarks.results_file import read

    documents = {document["device"]: document for document in map(read, given.files)}
    for path in write_page(documents or find_results(), given.page or PAGE):
        print(f"wrote {path}")
    return 0


def _compare(given: argparse.Namespace) -> int:
    from benchmarks import baseline
    from benchmarks.results_file import read, rows_of
    from jaxlik.errors import ConfigError

    if len(given.files) > 2:
        raise ConfigError(f"compare: {len(given.files)} files, wanted one or two")
    last = read(given.files[-1])
    if len(given.files) == 2:
        stored = baseline.chosen(rows_of(read(given.files[0])))
    else:
        stored = baseline.read(given.baseline or baseline.PATH)
    checked = baseline.check(stored, rows_of(last), last["suites"])
    print(baseline.report(checked))
    return int(any(one.is_regression for one in checked))


def _baseline(given: argparse.Namespace) -> int:
    from benchmarks import baseline
    from benchmarks.results_file import FOLDER, read, rows_of

    documents = [read(path) for path in given.files or [FOLDER / "cpu-quick.json"]]
    stored = baseline.chosen_in_all([rows_of(document) for document in documents])
    path = given.output or baseline.PATH
    baseline.write(stored, documents[-1]["environment"], path)
    print(f"wrote {path}: {len(stored)} ratios")
    return 0


def _check(given: argparse.Namespace) -> int:
    from benchmarks.harness import Options

    prepare(given.device)
    return int(not _device_is_right(Options(given.device, given.quick)))


def _device_is_right(options: "Options") -> bool:
    """Compare the device with the CPU, and print what was found."""
    from tqdm import tqdm

    from benchmarks.gpu_checks import checks, device_of, table

    device_of(options.device)
    found = list(tqdm(checks(options), desc="checks", unit="check", leave=False))
    print(table(found))
    return all(one.passed for one in found)


if __name__ == "__main__":
    raise SystemExit(main())
