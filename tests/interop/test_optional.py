"""Modules of jaxlik.interop import without the packages they serve, and change no setting."""

import pkgutil
import subprocess
import sys
import textwrap

import pytest

import jaxlik.interop
from jaxlik.errors import MissingPackageError
from jaxlik.interop.optional import require

OPTIONAL = ("iminuit", "blackjax", "emcee", "dynesty", "spey", "cabinetry", "plotly")

MODULES = sorted(m.name for m in pkgutil.iter_modules(jaxlik.interop.__path__))

BLOCKED = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def run(program):
    """Run a program in a fresh interpreter without the optional packages."""
    code = BLOCKED + textwrap.dedent(program)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


DERIVED = {"spey_backend": "spey", "spey_plugin": "spey"}
"""Modules of classes derived from another package's, and the extra: only that package needs them."""


def test_every_module_imports_without_them_and_changes_nothing():
    out = run(
        f"""
        import importlib
        from jaxlik.errors import MissingPackageError
        derived, missed = {DERIVED!r}, []
        for name in {MODULES!r}:
            try:
                importlib.import_module(f"jaxlik.interop.{{name}}")
            except MissingPackageError as error:
                assert name in derived, f"{{name}}: {{error}}"
                assert f"pip install 'jaxlik[{{derived[name]}}]'" in str(error), error
                missed.append(name)
        import jax
        from jax._src import xla_bridge
        assert not xla_bridge._backends, "a device was touched"
        assert not jax.config.read("jax_enable_x64")
        print({len(MODULES)} - len(missed))
        """
    )
    assert int(out) >= len(MODULES) - len(DERIVED)


def test_calls_name_the_extra():
    run(
        """
        import jaxlik
        jaxlik.enable_x64()
        import jax
        from jaxlik.errors import MissingPackageError
        from jaxlik.interop.blackjax_bridge import sample_nuts
        from jaxlik.interop.iminuit_bridge import minuit
        from jaxlik.interop.objective import objective_of_model
        from jaxlik.interop.samplers import dynesty_sampler, emcee_sampler
        from jaxlik.statmodels.truncated_gaussian import TruncatedGaussian

        objective = objective_of_model(
            TruncatedGaussian([1.0], [1.0]), [1.0], mu_bounds=(0.0, 5.0)
        )
        for package, call in {
            "iminuit": lambda: minuit(objective),
            "blackjax": lambda: sample_nuts(jax.random.key(0), objective),
            "emcee": lambda: emcee_sampler(objective),
            "dynesty": lambda: dynesty_sampler(objective),
        }.items():
            try:
                call()
            except MissingPackageError as error:
                text = str(error)
                assert package in text, text
                assert "pip install 'jaxlik[fitters]'" in text, text
            else:
                raise AssertionError(f"{package} was not missed")
        """
    )


def test_a_package_that_misses_another_says_so(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match=r"half_installed cannot be imported \(it needs"):
        require("half_installed", extra="fitters")
    assert require("json", extra="fitters").loads("1") == 1
