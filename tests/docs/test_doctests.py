"""Examples in docstrings give what they say."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

MODULES = (
    "jaxlik.calibration.global_p",
    "jaxlik.calibration.overlaps",
    "jaxlik.calibration.significance",
    "jaxlik.combination.overlap",
    "jaxlik.combination.selection",
    "jaxlik.database.counting_workspace",
    "jaxlik.database.workspace",
    "jaxlik.inference.asymptotics",
    "jaxlik.inference.limits",
    "jaxlik.inference.mle",
    "jaxlik.inference.profile",
    "jaxlik.inference.score",
    "jaxlik.inference.test_statistics",
    "jaxlik.physics.model",
    "jaxlik.physics.spectrum_file",
    "jaxlik.statmodels.bank",
    "jaxlik.statmodels.base",
    "jaxlik.statmodels.build",
    "jaxlik.statmodels.poisson",
    "jaxlik.statmodels.truncated_gaussian",
    "jaxlik.units",
)
"""Modules with examples; each must have one."""

NAMES = {"jax": jax, "jnp": jnp, "np": np}
"""What examples may use without an import; precision is double, as programs ask for."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    found = doctest.DocTestFinder(recurse=True).find(module, extraglobs=NAMES)
    report: list[str] = []
    for one in found:
        runner.run(one, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
    assert runner.tries > 0, f"{name} has no examples"
