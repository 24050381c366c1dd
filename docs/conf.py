"""Sphinx's configuration. Every page's code runs while the page is built."""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
# The pages show what the benchmarks' harness measures and simulates.
sys.path.insert(1, str(HERE.parent))
# The pages' kernels are processes of their own; they take their regions and data from here.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE / "_examples"), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# What a page shows must not depend on who builds it. dask writes its defaults there.
os.environ["DASK_LOCALITY__PROGRESS"] = "false"
os.environ["DASK_CONFIG"] = str(HERE / "_build" / "dask")

project = "xr-locality"
author = "xr-locality developers"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name
release = version = installed_version("xr-locality")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "commandline",
    "settings",
]
exclude_patterns = ["_build", "_examples", "_ext", "**/.ipynb_checkpoints"]
templates_path = ["_templates"]

# -- Pages, and the code in them ------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
# Tables, too, in what cells make.
nb_render_markdown_format = "myst"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "show"

# -- Reference ------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say it in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the templates list them
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 80

nitpicky = True
# The builds need no network, so nothing of other projects can be linked to.
nitpick_ignore_regex = [
    ("py:.*", r"(dask|dask_gateway|distributed|matplotlib|numpy|xarray)(\..*)?"),
    # Python's own, named as bases.
    ("py:(class|exc)", r"\w*(Error|ExceptionGroup|Exception|UserWarning)"),
]

# -- Looks ----------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "xr-locality"
html_static_path = ["_static"]
html_css_files = ["xr-locality.css"]
html_show_sourcelink = False
html_sidebars = {"tutorials/*": []}  # one page needs no navigation of its own
html_theme_options = {
    "logo": {"text": "xr-locality"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
