"""The wheel and the sdist hold all there is, and work from where they are installed."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

QUIET_IMPORT = """
import sys, time
start = time.perf_counter()
import jaxlik
seconds = time.perf_counter() - start
assert "jax" not in sys.modules and "numpy" not in sys.modules, "importing jaxlik loads JAX"
import jax
from jax._src import xla_bridge
before = dict(jax.config.values)
import importlib, pkgutil
for package in ("jaxlik", "walkers", "surrogates"):
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(module.__path__, package + "."):
        if found.name.split(".")[-1] not in ("__main__", "spey_plugin"):
            importlib.import_module(found.name)
after = dict(jax.config.values)
assert before == after, {n: (before[n], after[n]) for n in before if before[n] != after.get(n)}
assert not xla_bridge._backends, "importing a module of jaxlik touches a device"
print(f"seconds={seconds}")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with wheel and sdist, made from a copy without what is ignored."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The wheel, without dependencies, in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    (wheel,) = built.glob("*.whl")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, wheel],
        check=True,
        capture_output=True,
    )
    return folder


def run(words, folder, cwd):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=cwd, env=environment
    )


def source_files(*suffixes):
    """Files of the three packages with these suffixes."""
    names = [
        path.relative_to(ROOT).as_posix()
        for package in ("jaxlik", "walkers", "surrogates")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    return {name for name in names if name.endswith(suffixes)}


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_all_data(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = source_files(".py", ".npz", ".json", ".typed", ".css", ".js", ".html", ".toml")
    assert wanted <= names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if "dist-info" not in top} == {"jaxlik", "walkers", "surrogates"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_sdist_can_be_built_and_tested_from(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", "tests/conftest.py"):
        assert name in names
    assert not any(name.startswith(".ci") for name in names)


@pytest.mark.slow
def test_the_installed_wheel_runs(installed, tmp_path):
    found = run(["-c", "import jaxlik; print(jaxlik.__file__)"], installed, tmp_path)
    assert found.stdout.strip().startswith(str(installed)), found.stderr
    found = run(["-m", "jaxlik.fit", "census", "--json", "-", "--quiet"], installed, tmp_path)
    assert found.returncode == 0, found.stderr
    assert '"jaxlik/census/1"' in found.stdout


def test_imports_are_cheap_and_change_nothing(tmp_path):
    found = run(["-W", "ignore", "-c", QUIET_IMPORT], ROOT, tmp_path)
    assert found.returncode == 0, found.stderr
    assert "seconds=" in found.stdout


def test_public_names_are_there():
    import jaxlik

    for name in jaxlik.__all__:
        assert getattr(jaxlik, name) is not None
        assert name in dir(jaxlik)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jaxlik.nothing
