"""The documentation as a site: Sphinx and MyST-NB, built without a network.

    python -m sphinx -W --keep-going -b html docs docs/_build/html

Pages with code cells are executed; one that raises is an error, and so is every warning.
Results are kept by content, so that an unchanged page is not executed again.
"""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS / "_extensions"))

import jaxlik  # noqa: E402
from jaxlik.compilation import compile_short  # noqa: E402
from jaxlik.database.compile import cache_folder  # noqa: E402

project = "jaxlik"
author = "The jaxlik developers"
copyright = "the jaxlik developers, GPL-3.0-or-later"
version = release = jaxlik.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
    "command_options",
    "docstrings",
    "layers",
    "mathml",
    "modules",
]
exclude_patterns = ["_build", "jupyter_execute", "**/.ipynb_checkpoints"]
root_doc = "index"
nitpicky = False
suppress_warnings = [
    # Annotations in quotes name a class without its module; two classes may share the name.
    "ref.python",
    # Only where nothing is executed (-D nb_execution_mode=off) is there no kernel to ask.
    "myst-nb.lexer",
]

# Pages ---------------------------------------------------------------------------------------
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
# Addresses are written out in tables and sentences.
myst_linkify_fuzzy_links = False
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "unsrt"
bibtex_reference_style = "author_year"

# Cells ---------------------------------------------------------------------------------------
nb_execution_mode = "cache"
nb_execution_cache_path = str(DOCS / "_build" / ".jupyter_cache")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_in_temp = True
nb_merge_streams = True
# Progress bars and what compilers say on a busy machine.
nb_output_stderr = "remove"
nb_render_image_options = {"alt": "Figure made by the cell above"}

# Kernels inherit these: the same Python for `!python`, one device, programs kept on disk.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.02")
compile_short()
os.environ.setdefault("COLUMNS", "96")
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
# Progress bars would like widgets; `!` forks, which JAX warns of.
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found,ignore:os.fork() was called"

# Reference -----------------------------------------------------------------------------------
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "show-inheritance": False,
    "ignore-module-all": True,
}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
add_module_names = False
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_include_init_with_doc = False
toc_object_entries_show_parents = "hide"
# Links where the name is known, plain code where it is not.
default_role = "py:obj"

# Theme ---------------------------------------------------------------------------------------
html_theme = "furo"
html_title = "jaxlik"
html_static_path = ["_static"]
html_css_files = ["jaxlik.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "sidebar_hide_name": False,
    "light_css_variables": {
        "color-brand-primary": "#0b5c8f",
        "color-brand-content": "#0b5c8f",
        "color-brand-visited": "#5b4b8a",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7cc4f0",
        "color-brand-content": "#7cc4f0",
        "color-brand-visited": "#b9a7f0",
    },
}
