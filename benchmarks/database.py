"""Reading a database: jaxlik's snapshot beside SModelS's pickle, in one run.

    python -m benchmarks.database --database ARCHIVE_OR_FOLDER --text FOLDER

Each part runs in a process of its own: CPU seconds of the process and its children,
largest resident memory of any of them. SModelS writes its pickle into FOLDER; a pickle
that is there already is removed first.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PARTS = ("compile", "open", "smodels compile", "smodels open")


def run_part(part: str, database: str, text: Path) -> None:
    """Do one part in this process."""
    if part in ("compile", "open"):
        from jaxlik.database.compile import load_database

        snapshot = load_database(database, quiet=True)
        assert len(snapshot.maps) > 0
        if part == "open":
            snapshot.array("values")
        return
    if part == "smodels compile":
        for pickle in text.glob("*.pcl"):
            pickle.unlink()
    from smodels.experiment.databaseObj import Database

    Database(str(text))


def measure(part: str, database: str, text: Path, cache: str) -> dict[str, float]:
    """CPU and wall seconds and memory of one part."""
    command = [sys.executable, "-m", "benchmarks.database", "--part", part]
    command += ["--database", database, "--text", str(text)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        command,
        env={**os.environ, "JAXLIK_CACHE": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": cpu, "wall_s": wall, "memory_gb": float(done.stdout.split()[-1])}


def main(arguments: list[str] | None = None) -> int:
    """Run all parts and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True, help="what jaxlik reads")
    parser.add_argument("--text", type=Path, required=True, help="a copy that SModelS may write to")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        run_part(options.part, options.database, options.text)
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        peak = max(resource.getrusage(w).ru_maxrss for w in who)
        sys.stdout.write(f"\n{peak / 1e6}\n")
        return 0
    with tempfile.TemporaryDirectory() as cache:
        found = {part: measure(part, options.database, options.text, cache) for part in PARTS}
    sys.stdout.write("| part | CPU [s] | wall [s] | memory [GB] |\n|---|---|---|---|\n")
    for part, entry in found.items():
        cells = (entry["cpu_s"], entry["wall_s"], entry["memory_gb"])
        sys.stdout.write("| {} | {:.1f} | {:.1f} | {:.2f} |\n".format(part, *cells))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
