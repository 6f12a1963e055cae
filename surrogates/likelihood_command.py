"""`python -m surrogates likelihood`: from a workspace to a file, and what its errors are."""

from pathlib import Path
from typing import Any

from jaxlik.database.learned_file import DATA_SETS, LearnedFile
from jaxlik.errors import ConfigError
from jaxlik.fit.console import Console, terminal_width
from jaxlik.fit.report import table
from surrogates.likelihood_recipe import LikelihoodRecipe


def run_likelihood(
    workspace: Path,
    folder: Path,
    target: Path,
    prefix: str,
    recipe: LikelihoodRecipe,
    *,
    quiet: bool = False,
) -> LearnedFile:
    """Learn, validate and write one likelihood.

    Args:
        workspace: Workspace without signal (pyhf JSON).
        folder: Of the run.
        target: File to write.
        prefix: Of channels with signal.
        recipe: How.
        quiet: Print only the result.

    Raises:
        WorkspaceError: no such workspace, or a malformed one.
        ConfigError: numbers out of range, or a folder or file that cannot be used.
        ConvergenceError: the workspace has no certified fit, or a region no sensitivity.
    """
    from jaxlik.fit.runtime import prepare, terminable
    from surrogates.labels import Oracle
    from surrogates.likelihood import export, learn
    from surrogates.likelihood_run import LikelihoodRun

    console = Console(quiet=quiet)
    recipe.check()
    if target.suffix != ".npz":
        raise ConfigError(f"--target {target}: wanted a name that ends in .npz")
    prepare(quiet=quiet)
    with terminable():
        oracle = Oracle.of_file(workspace, prefix)
        console.note(f"{workspace}: {oracle.num_regions} signal regions")
        run = LikelihoodRun.open(folder, oracle, recipe)
        learned = learn(oracle, run, recipe, quiet=quiet)
        file = export(oracle, run, learned, recipe, target)
    console.show(summary(file.manifest, terminal_width()))
    size = target.stat().st_size / 1e6
    console.show(f"{target}: likelihood of {len(file.region_ids)} regions, {size:.1f} MB")
    return file


def summary(manifest: dict[str, Any], width: int) -> str:
    """Labels, times and errors, in a few lines."""
    found, labels = manifest["validation"], manifest["labels"]
    rows = []
    for name in DATA_SETS:
        for part, words in (("_near", ", t < 10"), ("", "")):
            errors = found[name][f"delta_log_likelihood{part}"]
            numbers = [f"{errors[key]:.3g}" for key in ("median", "q95", "worst")]
            rows.append([f"{name}{words}", *numbers, f"{100 * found[name]['coverage']:.0f} %"])
    header = [f"|delta ln L|, {found['signals']} signals", "median", "95 %", "worst", "coverage"]
    text = table(header, rows, "<>>>>", width)
    told = (
        f"{labels['fitted']} labels fitted, {labels['held_out']} held out, "
        f"{labels['for_scale']} for units, {labels['failed']} without a certified fit: "
        f"{labels['seconds']:.0f} s; training {manifest['training_seconds']:.0f} s"
    )
    return f"{text}\n{told}"
