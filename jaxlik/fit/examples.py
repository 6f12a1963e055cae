"""Examples that `--help` shows: a command line, and what it is for."""

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "build": (
        ("", "embedded results, defaults: five to eight minutes the first time"),
        ("--database smodels-database-3.0.0.tar.xz --walkers 50 --steps 1000", "all results"),
        ("--mode protomodels", "the rules of arXiv:2012.12246"),
        ("--resume runs/NAME", "goes on where a run stopped"),
    ),
    "point": (
        ("model.slha --database smodels-database-3.0.0.tar.xz", "excluded or allowed?"),
        ("model.dict --json -", "a protomodel; the verdict as JSON"),
    ),
    "sample": (
        ("", "posterior over models on embedded results"),
        ("--resume runs/NAME", "goes on where a run stopped, to the bit"),
    ),
    "workspace": (
        ("BkgOnly.json --patch signal.json", "fit, CLs at mu = 1, limits"),
        ("combined.json --impacts --toys 1000 --output figures", "and impacts, toys, figures"),
    ),
    "census": (("--database smodels-database-3.0.0.tar.xz --output census", "figure and table"),),
    "calibrate": (
        ("--databases 200 --workers 2 --output calibration", "global p-value of the data"),
        ("--injected model.dict --databases 10 --output closure", "is a signal found again?"),
    ),
    "report": (
        ("runs/NAME", "report.html of a run, also of one that goes on"),
        ("point.json", "the page of a document"),
    ),
    "snapshot": (("smodels-database-3.0.0.tar.xz", "compile once, list what is in it"),),
}


def described(command: str, summary: str, program: str) -> str:
    """What stands above the options of a command: its summary and examples.

    Args:
        command: Its name.
        summary: What it does.
        program: What it is started with.
    """
    shown = EXAMPLES.get(command, ())
    if not shown:
        return summary
    lines = [f"  {program} {command} {given}".rstrip() + f"\n      {what}" for given, what in shown]
    return "\n".join([summary, "", "Examples:", *lines])
