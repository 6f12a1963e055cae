"""The page of `benchmarks.learned_likelihoods`."""

import statistics
from typing import Any

PUBLISHED = {"exact": 7.368, "network": 7.300}
"""t at mu = 1 in arXiv:1911.03305 and its files: exact profile, and DNNLikelihood's."""

INTRODUCTION = """\
A call is -2 ln L of one signal on the data and on their Asimov data. |delta ln L| is half the
difference of -2 ln L from the certified fit, on held-out signals that no network saw; t is
what Asimov data say of the signal (-2 ln L), and near means t < 10. Coverage is that of the
90 % band on held-out signals that the band was not made from. The machine had two cores and was
shared with other work while this ran (load: before and after): times of calls are the smallest
of five (pyhf: of three), of all sittings where there were several; those of labels and training
are wall time, up to twice what an idle core needs, and so is the break-even. Trust ratios."""


def page(results: dict[str, Any], machine: str) -> str:
    """The page, from what was measured."""
    rows = {
        name.removeprefix("ATLAS-SUSY-"): row
        for name, row in results.items()
        if name.startswith("ATLAS")
    }
    lines = ["# Learned likelihoods beside the fits they replace", ""]
    lines += [f"Made by `python -m benchmarks.learned_likelihoods`. {machine}.", "", INTRODUCTION]
    if rows:
        lines += ["", *_errors(rows), "", *_times(rows), "", *_break_even(rows)]
    gains = {
        name.removeprefix("gain ATLAS-SUSY-"): row
        for name, row in results.items()
        if name.startswith("gain")
    }
    if gains:
        lines += ["", *_gains(gains)]
    if "toy" in results:
        lines += ["", *_toy(results["toy"])]
    return "\n".join(lines) + "\n"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(r)} |" for r in (header, ["---"] * len(header), *rows)]


def _error_rows(name: str, manifest: dict[str, Any]) -> list[list[str]]:
    found, rows = manifest["validation"], []
    for data_set in ("observed", "asimov"):
        near, every = (found[data_set][f"delta_log_likelihood{p}"] for p in ("_near", ""))
        numbers = [f"{near[k]:.3f}" for k in ("median", "q95", "worst")]
        numbers += [f"{every[k]:.3f}" for k in ("median", "q95", "worst")]
        covered = f"{100 * found[data_set]['coverage']:.0f}"
        rows.append([name, data_set, f"{found['near']}/{found['signals']}", *numbers, covered])
    return rows


ERRORS = "workspace,data,signals near/all,near: median,95 %,worst,all: median,95 %,worst".split(",")


def _errors(rows: dict[str, Any]) -> list[str]:
    table = [r for n, row in rows.items() for r in _error_rows(n, row["found"]["manifest"])]
    title = "## Errors: |delta ln L| on held-out signals, and coverage of the 90 % band [%]"
    return [title, "", *_table([*ERRORS, "coverage"], table)]


def _labels(manifest: dict[str, Any]) -> list[str]:
    labels = manifest["labels"]
    total = sum(labels[k] for k in ("fitted", "held_out", "for_scale", "failed"))
    chosen = manifest["recipe"]["acquisition"]
    seconds = (labels["seconds"], manifest["training_seconds"])
    return [str(total), chosen, *(f"{s:.0f}" for s in seconds)]


def _times(rows: dict[str, Any]) -> list[str]:
    header = (
        "workspace,regions,labels,chosen by,labels [s],training [s],exact [ms],learned alone [ms]"
    )
    header += ",in batches of 1000 [µs],compilation [s],pyhf-jax [ms],load"
    table = []
    for name, row in rows.items():
        found, times = row["found"], row["found"]["times"]
        pyhf = "-" if found["pyhf"] is None else f"{1e3 * found['pyhf']:.0f}"
        table.append(
            [
                name,
                str(found["regions"]),
                *_labels(found["manifest"]),
                f"{1e3 * times['exact']:.2f}",
                f"{1e3 * times['learned_one']:.3f}",
                f"{1e6 * times['learned_batch']:.1f}",
                f"{times['learned_compile']:.1f}",
                pyhf,
                " and ".join(f"{load:.1f}" for load in row["load"]),
            ]
        )
    title = "## Cost: labels (held-out ones included), training, and one call"
    return [title, "", *_table(header.split(","), table)]


def _calls(cost: float, exact: float, learned: float) -> str:
    return f"{cost / (exact - learned):,.0f}" if exact > learned else "never"


def _break_even(rows: dict[str, Any]) -> list[str]:
    table = []
    for name, row in rows.items():
        manifest, times = row["found"]["manifest"], row["found"]["times"]
        cost = manifest["labels"]["seconds"] + manifest["training_seconds"]
        pyhf = row["found"]["pyhf"]
        table.append(
            [
                name,
                f"{cost:.0f}",
                _calls(cost, times["exact"], times["learned_one"]),
                _calls(cost, times["exact"], times["learned_batch"]),
                "-" if pyhf is None else _calls(cost, pyhf, times["learned_one"]),
                f"{times['exact'] / times['learned_one']:.0f}",
                f"{times['exact'] / times['learned_batch']:.0f}",
            ]
        )
    header = "workspace,labels and training [s],calls alone,calls in batches,against pyhf-jax"
    header += ",speed-up alone,in batches"
    return [
        "## Break-even: calls after which labels and training are paid back",
        "",
        "(Label and training time) / (exact time - learned time per call); all labels count, the",
        "held-out ones too.",
        "",
        *_table(header.split(","), table),
    ]


def _gains(gains: dict[str, Any]) -> list[str]:
    header = "workspace,measure,committee,design,gain: median,smallest,largest"
    table = []
    for name, row in gains.items():
        for key, words in (("q95", "95 %"), ("worst", "worst")):
            found = [r[f"gain_{key}"] for r in row["found"]]
            own, other = (
                statistics.median(r[f"{kind}_{key}"] for r in row["found"])
                for kind in ("committee", "design")
            )
            numbers = [statistics.median(found), min(found), max(found)]
            table.append(
                [name, words, f"{own:.4f}", f"{other:.4f}", *(f"{n:.2f}" for n in numbers)]
            )
    return [
        "## Query by committee beside a space-filling design",
        "",
        "|delta ln L| of both data sets, near, on 400 signals no run saw; 320 labels (240 fitted),",
        "2000 steps, 3 seeds. Gain: labels at which the design reaches the committee's error, from",
        "runs of 160, 320 and 640 labels (one power law), over 320; below one the committee loses.",
        "",
        *_table(header.split(","), table),
        "",
        "The design is a Sobol sequence, a stronger rival than random points. A power law says",
        "little where errors hardly fall with labels, as in 2018-31.",
    ]


def _toy(row: dict[str, Any]) -> list[str]:
    found = row["found"]
    exact, learned = found["exact"], found["learned"]
    near = [abs(a - b) for a, b in zip(exact, learned, strict=True) if a < 10]
    manifest = found["manifest"]
    total, _, labels, training = _labels(manifest)
    table = [
        ["this toy, exact", *(f"{t:.3f}" for t in exact)],
        ["this toy, learned", *(f"{t:.3f}" for t in learned)],
    ]
    return [
        "## A toy of the size of DNNLikelihood's",
        "",
        f"90 bins and 94 nuisances, of our own making ({found['regions']} signal regions, one per",
        "bin); t_mu of one signal shape that the networks were not told of, scaled to t = 7 on",
        f"Asimov data at mu = 1. {total} labels ({labels} s), training {training} s; largest",
        f"difference of t_mu where t < 10: **{max(near):.3f}**. Best mu: exact "
        f"{found['mu_hat'][0]:.3f}, learned {found['mu_hat'][1]:.3f}.",
        "",
        *_table(["t_mu at mu =", *(f"{mu:g}" for mu in found["mu"])], table),
        "",
        "Published for another toy of that size (arXiv:1911.03305): exact "
        f"{PUBLISHED['exact']:.3f}, network {PUBLISHED['network']:.3f}",
        f"at mu = 1, a difference of {PUBLISHED['exact'] - PUBLISHED['network']:.3f}, by a network "
        "of 2 x 5000 units that also knows the",
        "dependence on nuisances. The two are not the same task: ours learns the profile itself,",
        "for any signal. An exact call of this toy takes "
        f"{1e3 * found['times']['exact']:.1f} ms, a learned one "
        f"{1e3 * found['times']['learned_one']:.3f} ms.",
        "",
        "Errors on held-out signals:",
        "",
        *_table([*ERRORS, "coverage"], _error_rows("toy", manifest)),
    ]
