"""Exit codes, messages and standard output of the command line."""

import json
import subprocess
import sys

import pytest

from jaxlik.fit.__main__ import COMMANDS, main
from jaxlik.fit.examples import EXAMPLES


@pytest.fixture(autouse=True)
def _no_global_settings(monkeypatch, tmp_path):
    from jaxlik.fit import runtime

    monkeypatch.setattr(runtime, "prepare", lambda **options: None)
    monkeypatch.chdir(tmp_path)


def test_help_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert name in text


WITH_RESULTS = [name for name in COMMANDS if name not in ("completion", "report")]


@pytest.mark.parametrize("command", WITH_RESULTS)
def test_help_of_a_command_lists_its_options_and_examples(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--json", "--quiet", "--verbose"):
        assert option in text
    for given, _ in EXAMPLES[command]:
        assert f"python -m jaxlik.fit {command} {given}".strip() in " ".join(text.split())


def test_a_mistyped_command_is_corrected(capsys):
    assert main(["calibarte"]) == 2
    assert "did you mean 'calibrate'?" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert name in text
    assert "walkers" in text


def test_bash_completes_an_option(tmp_path):
    script = subprocess.run(
        [sys.executable, "-m", "jaxlik.fit", "completion", "bash"], capture_output=True, text=True
    ).stdout
    (tmp_path / "complete").write_text(script)
    asked = "source complete; COMP_WORDS=(jaxlik census --da); COMP_CWORD=2; "
    asked += "$(complete -p jaxlik | sed 's/.*-F \\([^ ]*\\).*/\\1/') jaxlik --da census; "
    asked += 'echo "${COMPREPLY[@]}"'
    found = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, cwd=tmp_path)
    assert found.stdout.split() == ["--database"], found.stderr


def test_version_names_packages_and_device(capsys):
    assert main(["--version"]) == 0
    text = capsys.readouterr().out
    for name in ("jaxlik", "jaxlib", "numpyro", "numpy", "distributed", "device", "cpu", "cache"):
        assert name in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["bild"],
        ["--mode", "fast"],
        ["build", "--steps", "many"],
        ["build", "--no-such-option"],
        ["snapshot"],
    ],
    ids=" ".join,
)
def test_wrong_usage_gives_two(arguments, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "--steps", "-5"], "steps is -5, wanted at least 1"),
        (["--database", "nowhere"], "nowhere: no such file or folder"),
        (["--config", "none.toml"], "cannot be read"),
        (["--resume", "none"], "no such run directory"),
        (["--threshold", "0"], "threshold is 0"),
        (["snapshot", "nowhere"], "nowhere: no such file or folder"),
        (["--output", "."], "not an empty folder"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_input_gives_one_and_a_message(arguments, message, capsys, tmp_path):
    (tmp_path / "something").touch()
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: " in captured.err
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_a_file_that_is_no_database_is_refused(tmp_path, capsys):
    (tmp_path / "fake.npz").write_bytes(b"not a zip")
    assert main(["snapshot", "fake.npz"]) == 1
    assert "not a jaxlik snapshot" in capsys.readouterr().err


def test_snapshot_lists_what_is_in_it(capsys, tmp_path):
    assert main(["snapshot", "embedded", "--verify", "--json", "list.json"]) == 0
    text = capsys.readouterr().out
    assert "efficiency maps" in text
    assert "verified" in text
    document = json.loads((tmp_path / "list.json").read_text())
    assert document["schema"] == "jaxlik/snapshot/1"
    assert document["num_results"] == sum(group["results"] for group in document["groups"])
    assert document["num_maps"] == sum(group["maps"] for group in document["groups"])
    assert len(document["analyses"]) == document["num_results"]


def test_snapshot_json_stands_alone_on_standard_output(capsys):
    assert main(["snapshot", "embedded", "--json", "-", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["schema"] == "jaxlik/snapshot/1"
    assert captured.err == ""


def test_a_snapshot_is_copied_whole(tmp_path, capsys):
    from jaxlik.database.snapshot import open_snapshot

    assert main(["snapshot", "embedded", "--output", "copy/small.npz", "--quiet"]) == 0
    copy = open_snapshot(tmp_path / "copy" / "small.npz")
    copy.verify()
    assert main(["snapshot", "embedded", "--output", "copy/small.npz"]) == 1
    assert "exists" in capsys.readouterr().err


def test_an_unwritable_json_file_is_an_error(capsys):
    assert main(["snapshot", "embedded", "--json", "no/such/folder.json", "--quiet"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_the_program_starts_as_a_module():
    """In a process of its own: no warning about doubly imported modules, ASCII terminals."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "jaxlik.fit", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
    )
    assert done.returncode == 2
    assert "there is no command 'nonsense'" in done.stderr
