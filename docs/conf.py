"""The documentation: sphinx-build -W docs OUT. Its pages need no network, their mathematics included."""

import importlib.metadata
import importlib.resources
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "sdelimit"
author = "The sdelimit developers"
copyright = author
release = version = importlib.metadata.version("sdelimit")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "api_text",
    "benchmark_results",
    "equations",
]
exclude_patterns = ["_ext"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

smartquotes = False

html_theme = "furo"
html_title = f"sdelimit {release}"
html_static_path = ["_static"]
html_css_files = ["sdelimit.css"]
html_show_sphinx = False
copybutton_prompt_text = ">>> "

# MathJax comes from a Python package and is copied next to the pages; SVG output needs no fonts.
mathjax_path = "mathjax/tex-svg.js"
math_eqref_format = "eq. {number}"  # reads well in parentheses, too
mathjax3_config = {"svg": {"fontCache": "global"}, "options": {"enableMenu": False}}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False


def copy_mathjax(app, exception):
    """The one file of MathJax that the pages load."""
    if exception is None and app.builder.format == "html":
        source = importlib.resources.files("mathjax") / "static/mathjax/es5/tex-svg.js"
        target = Path(app.outdir) / "_static" / mathjax_path
        target.parent.mkdir(parents=True, exist_ok=True)
        with importlib.resources.as_file(source) as file:
            shutil.copyfile(file, target)


def setup(app):
    app.connect("build-finished", copy_mathjax)
