"""Every command line in README and docs is accepted by its command, and every command runs."""

import argparse
import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT, blocks, pages

from jaxlik.fit.__main__ import COMMANDS, main

INLINE = re.compile(r"`(?P<line>python -m [^`]+)`")
SHELL = {"bash", "sh", "shell", "console"}
CELL = "{code-cell}"

NUMBERS = {"N": "3", "S": "1", "MU": "1.5"}
"""Words that stand for a number on the pages."""


def command_lines() -> list[tuple[str, list[str]]]:
    """(page, words) of every command line in a shell block, a cell, or an indented block."""
    found = []
    for block in blocks():
        text = block.text.replace("\\\n", " ")
        if block.kind in SHELL or (block.kind == CELL and "%%bash" in text):
            lines = text.splitlines()
        elif block.kind == CELL:
            lines = [line[1:] for line in text.splitlines() if line.startswith("!")]
        else:
            continue
        found += [(block.page, line) for line in lines]
    for path in pages():
        # Markdown's other kind of block.
        indented = re.findall(r"^ {4}(python -m .*)$", path.read_text(encoding="utf-8"), re.M)
        found += [(str(path.relative_to(ROOT)), line) for line in indented]
    words = [(page, piece) for page, line in found for piece in pieces(line)]
    return [(page, one) for page, one in words if one]


def pieces(line: str) -> list[list[str]]:
    """Words after ``python -m`` of every command of a line; comments and redirections left out."""
    split = shlex.split(line.partition(" > ")[0], comments=True)
    groups: list[list[str]] = [[]]
    for word in split:
        if word in ("&&", "||", ";", "|"):
            groups.append([])
        else:
            groups[-1].append(word)
    found = [group[group.index("-m") + 1 :] for group in groups if "-m" in group]
    # The program that the wheel installs.
    return found + [["jaxlik.fit", *group[1:]] for group in groups if group[:1] == ["jaxlik"]]


def own(words: list[str]) -> bool:
    """Whether a command is one of this repository."""
    return words[0].split(".")[0] in ("jaxlik", "surrogates", "benchmarks", "walkers")


LINES = [(page, words) for page, words in command_lines() if own(words)]


def identifier(case: tuple[str, list[str]]) -> str:
    page, words = case
    return f"{page}: {' '.join(words)}"


def filled(words: list[str], run: Path) -> list[str]:
    """The words with placeholders replaced by what they stand for."""
    kept = []
    for word in words:
        if word != "...":
            kept.append(NUMBERS.get(word, word))
        elif kept[-1].startswith("--"):
            kept.append("embedded")
    for place, word in enumerate(kept[:-1]):
        if word in ("--resume", "--config"):
            kept[place + 1] = str(run if word == "--resume" else run / "config.toml")
    return kept


@pytest.fixture(scope="module")
def existing_run(tmp_path_factory) -> Path:
    """A run directory without a search."""
    from jaxlik.fit.config import FitConfig, config_text
    from jaxlik.fit.store import create_run

    folder = tmp_path_factory.mktemp("runs") / "run"
    run = create_run(FitConfig(output=folder), {"arguments": []})
    (run.path / "state").touch()
    (run.path / "config.toml").write_text(config_text(FitConfig()))
    return run.path


def test_there_are_command_lines_of_every_kind():
    modules = {words[0] for _, words in LINES}
    assert {"jaxlik.fit", "surrogates"} <= modules
    given = [words[1:] for _, words in LINES if words[0] == "jaxlik.fit"]
    named = {words[0] if words and not words[0].startswith("-") else "build" for words in given}
    assert set(COMMANDS) - named == set(), "commands without an example on any page"


@pytest.mark.parametrize("case", LINES, ids=identifier)
def test_documented_command_line_is_accepted(case, existing_run, monkeypatch, capsys):
    page, words = case
    accept(filled(words, existing_run), monkeypatch, f"{page}: {' '.join(words)}")


def accept(words: list[str], monkeypatch, what: str) -> None:
    """Let the command's own parser see the words; fails where it objects."""
    module, given = words[0], words[1:]
    try:
        if module in ("jaxlik.fit", "walkers"):
            parse_fit(given)
        elif module == "surrogates":
            parse_surrogates(given)
        else:
            parse_program(module, given, monkeypatch)
    except SystemExit as error:
        if error.code not in (0, None):
            pytest.fail(f"{what}: not accepted")


def parse_fit(given: list[str]) -> None:
    if given[:1] in (["--help"], ["-h"], ["--version"]):
        return
    name = given.pop(0) if given and not given[0].startswith("-") else "build"
    assert name in COMMANDS, f"no command {name}"
    importlib.import_module(f"jaxlik.fit.commands.{name.replace('-', '_')}").parse(given)


def parse_surrogates(given: list[str]) -> None:
    import tyro

    from surrogates.__main__ import COMMANDS as LEARNING

    if given[:1] in (["--help"], ["-h"]):
        return
    name = given.pop(0)
    assert name in LEARNING, f"no command {name}"
    tyro.cli(LEARNING[name], args=given)


class _ParsedError(Exception):
    """The parser of a program was content."""


def parse_program(module: str, given: list[str], monkeypatch) -> None:
    """Run a program up to the point where it has parsed its arguments."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        original(self, args, namespace)
        raise _ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(sys, "argv", [module, *given])
    program = importlib.import_module(module)
    with pytest.raises(_ParsedError):
        program.main()


FRAGMENTS = sorted(
    {
        (str(path.relative_to(ROOT)), match["line"])
        for path in pages()
        for match in INLINE.finditer(path.read_text(encoding="utf-8"))
        if own(match["line"].split()[2:]) and "|" not in match["line"]
    }
)


@pytest.mark.parametrize("case", FRAGMENTS, ids=lambda case: f"{case[0]}: {case[1]}")
def test_command_named_in_a_sentence_exists_with_its_options(case):
    _, line = case
    words = [word for word in shlex.split(line)[2:] if word != "..."]
    module, given = words[0], words[1:]
    if module in ("jaxlik.fit", "walkers"):
        name = given[0] if given and not given[0].startswith("-") else "build"
        assert name in COMMANDS or name.isupper(), f"no command {name}"
        known = set() if name.isupper() else help_flags("jaxlik", name)
    elif module == "surrogates":
        from surrogates.__main__ import COMMANDS as LEARNING

        name = given[0] if given else "train"
        assert name in LEARNING or name.isupper(), f"no command {name}"
        known = set() if name.isupper() else help_flags("surrogates", name)
    else:
        place = Path(ROOT, *module.split("."))
        source = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
        assert source.is_file(), f"no program {module}"
        known = set(re.findall(r'"(--[\w-]+)"', source.read_text(encoding="utf-8")))
    flags = {word.partition("=")[0] for word in given if word.startswith("--")} - {"--help"}
    assert flags <= known, f"unknown options {sorted(flags - known)}"


def help_flags(program: str, name: str) -> set[str]:
    """All flags in the help of a command."""
    import contextlib
    import io

    text = io.StringIO()
    if program == "jaxlik":
        run = main
    else:
        from surrogates.__main__ import main as run
    with contextlib.redirect_stdout(text):
        run([name, "--help"])
    return set(re.findall(r"--[a-z][\w.-]*", text.getvalue()))


def test_tables_of_options_are_those_of_the_help(monkeypatch):
    from command_options import options_of

    monkeypatch.setenv("COLUMNS", "200")
    page = (ROOT / "docs" / "howto" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\{command-options\} (\S+)", page)) == set(COMMANDS)
    for name in COMMANDS:
        shown = {
            flag
            for option in options_of(name)
            for flag in re.findall(r"--[a-z][\w.-]*", option.flag)
        }
        assert shown == help_flags("jaxlik", name) - {"--help"}, name
        assert all(option.text for option in options_of(name)), name


WORKSPACE = {
    "channels": [
        {
            "name": "SR",
            "samples": [
                {"name": "background", "data": [50.0, 20.0], "modifiers": [
                    {"name": "tilt", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}]},
                {"name": "signal", "data": [1.0, 8.0], "modifiers": [
                    {"name": "mu", "type": "normfactor", "data": None}]},
            ],
        }
    ],
    "observations": [{"name": "SR", "data": [55.0, 31.0]}],
    "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    "version": "1.0.0",
}  # fmt: skip

MODEL = """BLOCK MASS
 1000021 1.5E+03
 1000022 2.0E+02
 25 1.25E+02
DECAY 1000021 1.0E+00
 1.0 3 1 -1 1000022
DECAY 1000022 0.0E+00
XSECTION 1.30E+04 2212 2212 2 1000021 1000021
 0 2 0 0 0 0 1.4E-02 NLL
"""

SEARCH = "--walkers 8 --steps 4 --block 2 --leads 0 --gradient-every 0 --gradient-steps 0"
CHAINS = "--chains 4 --draws 8 --block 4 --warmup 1 --leads 0 --particles 0"
PSEUDO = (
    "--databases 2 --real 1 --hypotheses 0 --search.walkers 8 --search.steps 2 --search.block 2 "
    "--search.leads 1 --search.gradient-every 0 --search.gradient-steps 0"
)

SMALL = {
    "workspace": ("workspace workspace.json --output figures", {"fit", "cls", "upper_limit"}),
    "census": ("census --top 3 --output census", {"regions"}),
    "snapshot": ("snapshot embedded --verify", {"analyses", "sha256"}),
    "point": ("point model.slha", {"predictions", "r_max"}),
    "build": (f"build {SEARCH} --output run", {"best"}),
    "sample": (f"sample {CHAINS} --output chains", {"contents"}),
    "calibrate": (f"calibrate {PSEUDO} --output calibration", {"results", "real", "K"}),
    "report": ("report census", set()),
    "completion": ("completion bash", set()),
}
"""Every command on small input, and what its document must hold."""

QUICK = {"workspace", "census", "snapshot", "report", "completion"}
"""Those that take less than ten seconds."""


def small_runs() -> list:
    marks = {name: () if name in QUICK else (pytest.mark.slow,) for name in SMALL}
    return [pytest.param(name, marks=marks[name]) for name in SMALL]


def test_every_command_has_a_small_run():
    assert set(SMALL) == set(COMMANDS)


@pytest.mark.parametrize("name", small_runs())
def test_command_runs_on_small_input(name, no_global_settings, capsys):
    folder = no_global_settings
    (folder / "workspace.json").write_text(json.dumps(WORKSPACE))
    (folder / "model.slha").write_text(MODEL)
    line, wanted = SMALL[name]
    if name == "completion":
        assert main(line.split()) == 0
        assert "--walkers" in capsys.readouterr().out
        return
    if name == "report":
        assert main(["census", "--output", "census", "--quiet"]) == 0
        (folder / "census" / "report.html").unlink()
        assert main(["report", "census", "--quiet"]) == 0
        assert (folder / "census" / "report.html").read_text().lower().startswith("<!doctype html>")
        return
    code = main([*line.split(), "--json", "document.json", "--quiet"])
    document = json.loads((folder / "document.json").read_text())
    # A search of four steps may end without a model, which is an answer, with code 1.
    assert code == 0 or (name == "build" and not document["best"])
    assert document["schema"].startswith("jaxlik/")
    assert wanted <= set(document), sorted(document)


PYTEST = sorted(
    {
        (str(path.relative_to(ROOT)), place)
        for path in pages()
        for place in re.findall(r"pytest [^`\n]*?(tests/[\w/.]+)", path.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("case", PYTEST, ids=lambda case: f"{case[0]}: {case[1]}")
def test_documented_tests_exist(case):
    assert (ROOT / case[1]).exists()
