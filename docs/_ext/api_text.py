"""Docstrings, which are plain text, as reStructuredText: formulas stay as written, theory and papers become links."""

import re

SECTIONS = re.compile(r"theory:?(?:\s+of)?\s+sections?\s+\d+(?:(?:-|,\s+|,?\s+and\s+)\d+)*")
ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
LITERAL = re.compile(r"(``.*?``)", re.S)
INDENT = "    "


def rewrite(lines: list[str]) -> list[str]:
    """A docstring's lines, marked up."""
    text = "\n".join(_mark_formulas(lines))
    blocks = re.split(r"(::\n\n(?:[ ]{4}.*(?:\n|$)|\n)+|^[ ]*>>> (?:.+(?:\n|$))+)", text, flags=re.M)
    return "".join(block if i % 2 else _prose(block) for i, block in enumerate(blocks)).split("\n")


def _mark_formulas(lines):
    """``::`` before each indented block that follows a paragraph: it is a formula."""
    out, previous, after_blank = [], "", False
    for line in lines:
        starts = line.startswith(INDENT) and after_blank and previous and not previous.startswith(" ")
        if starts and not previous.endswith("::"):
            out += ["::", ""]
        out.append(line)
        after_blank = not line.strip()
        previous = line if line.strip() else previous
    return out


def _prose(text):
    return "".join(part if i % 2 else _links(_escaped(part)) for i, part in enumerate(LITERAL.split(text)))


def _escaped(text):
    """Bars and trailing underscores mean nothing but themselves."""
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", text.replace("|", r"\|"))


def _links(text):
    def section(match):
        return re.sub(r"\d+", lambda n: f":ref:`{n[0]} <theory-{n[0]}>`", match[0])

    text = SECTIONS.sub(section, text)
    return ARXIV.sub(r"`arXiv:\1 <https://arxiv.org/abs/\1>`__", text)


def process(app, what, name, obj, options, lines):
    """Before napoleon reads the sections."""
    lines[:] = rewrite(lines)


def unlink_attributes(app, doctree):
    """Names in lists of attributes are no links: ``optimizer`` would be that of whichever class has one."""
    from sphinx import addnodes

    for link in list(doctree.findall(addnodes.pending_xref)):
        if link["reftype"] in ("class", "obj") and link.get("refspecific") and link["reftarget"].islower():
            link.replace_self(link.children)


def setup(app):
    app.connect("doctree-read", unlink_attributes)
    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True}
