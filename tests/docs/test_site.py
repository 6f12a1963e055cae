"""The site is built without a warning; cells are executed by the build itself, not here."""

import subprocess
import sys

import pytest
from doc_pages import ROOT


@pytest.mark.exhaustive
def test_site_is_built_without_warnings(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_nb")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-D", "nb_execution_mode=off", "docs", str(tmp_path / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    start = (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
    # Nothing is loaded from elsewhere.
    assert 'src="http' not in start
    assert "<link" not in start or 'rel="stylesheet" type="text/css" href="http' not in start
