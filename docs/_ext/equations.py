"""Equations of the theory page and the functions that compute them, linked both ways.

The page says after an equation who uses it, ``<!-- used by: solve_ode, solve_sde -->`` (names in ``sdelimit``); readers
see links to these, and the reference of each function lists its equations. TeX that cannot be read is a warning.
"""

import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

PAGE = "theory"
EQUATION = re.compile(
    r"^\$\$\n(?P<tex>.+?)\n\$\$ \((?P<label>[\w-]+)\)\n+(?:<!-- used by: (?P<users>[^>]+) -->)?", re.M | re.S
)
USED_BY = re.compile(r"<!-- used by: ([^>]+) -->")
logger = logging.getLogger(__name__)


def users_of_equations(text: str) -> dict[str, list[str]]:
    """label -> full names of the objects that use the equation."""
    found = {}
    for match in EQUATION.finditer(text):
        names = (match["users"] or "").split(",")
        found[match["label"]] = [f"sdelimit.{name.strip()}" for name in names if name.strip()]
    return found


def show_users(app, docname, source):
    """Comments as links."""
    if docname == PAGE:
        source[0] = USED_BY.sub(lambda match: _links(match[1].split(",")), source[0])


def _links(names):
    return (
        "```{container} used-by\nUsed by " + ", ".join(f"{{obj}}`sdelimit.{name.strip()}`" for name in names) + "\n```"
    )


def list_equations(app, what, name, obj, options, lines):
    """The equations of an object, at the end of its docstring."""
    text = (Path(app.srcdir) / f"{PAGE}.md").read_text(encoding="utf-8")
    labels = [label for label, users in users_of_equations(text).items() if name in users]
    if labels:
        lines += ["", "Theory: " + ", ".join(f":eq:`{label}`" for label in labels), ""]


def check_tex(app, doctree):
    """A warning for mathematics that a TeX parser does not accept."""
    for node in doctree.findall(lambda n: isinstance(n, (nodes.math, nodes.math_block))):
        try:
            tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block))
        except MathError as error:
            logger.warning("cannot read the formula %s: %s", node.astext(), error, location=node)


def setup(app):
    app.connect("source-read", show_users)
    app.connect("autodoc-process-docstring", list_equations, priority=900)
    app.connect("doctree-read", check_tex)
    return {"parallel_read_safe": True}
