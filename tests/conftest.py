"""Fixtures shared by all tests: double precision, and the reference data."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).resolve().parents[1]


def reference_folder() -> Path | None:
    """Folder with databases and golden results: ``JAXLIK_REFERENCE`` or ``../shared``."""
    given = os.environ.get("JAXLIK_REFERENCE")
    folder = Path(given) if given else ROOT.parent / "shared"
    return folder if (folder / "golden").is_dir() else None


@pytest.fixture(scope="session")
def reference() -> Path:
    """The reference folder; skips with a reason where it is absent, fails in CI."""
    folder = reference_folder()
    if folder is None:
        message = (
            "reference data not found: set JAXLIK_REFERENCE to a folder with data/ and golden/"
        )
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
