"""The documentation and the README: what they show runs, and what they link is there."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import sdelimit

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.M | re.S)
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if BLOCK.search(path.read_text(encoding="utf-8")))

SMALL = "--d 40 --t-max 0.5 --points 6 --runs 4 --paths 4"
"""What the README's comparisons are cut down to; the docs' own are small."""
COMMANDS = {
    "sdelimit": f'if [ "$1" = compare ] && [ "$2" != --help ]; then set -- "$@" $SMALL; fi\n'
    f'exec "{sys.executable}" -c "from sdelimit.cli import main; main()" "$@"',
    "pip": f'"{sys.executable}" "$(dirname "$0")/extras.py" "$@"',
    "pytest": "exit 0",
}
"""Stand-ins: sdelimit from this checkout; an installation of which only the extras are checked; no tests in tests."""


@pytest.mark.docs
@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = shell(tmp_path, small=page == README)
    names = {}
    for language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(code, str(page), "exec"), names)
        else:
            subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True, env=environment)
    plt.close("all")
    if page == README:
        assert names["report"].max_relative_error < 0.05
        assert (tmp_path / "signsgd.png").exists()
        assert names["slope"] != 0


EXTRAS = r"""import re, sys
named = set(re.findall(r"\[(.*?)\]", " ".join(sys.argv)))
assert named <= {}, named
"""


def shell(tmp_path, small):
    """An environment in which the commands of a page are those of ``COMMANDS``."""
    folder = tmp_path / ".bin"
    folder.mkdir()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (folder / "extras.py").write_text(EXTRAS.format(set(extras)))
    for name, text in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    given = {"PYTHONPATH": str(Path(sdelimit.__file__).parents[1]), "MPLBACKEND": "agg"}
    given["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"  # compiles faster
    return {**os.environ, **given, "PATH": path, "SMALL": SMALL if small else ""}


def extension(name):
    """A module of docs/_ext."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sections_that_docstrings_cite_are_on_the_theory_page():
    page = (ROOT / "docs/theory.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^\(theory-(\d+)\)=\n## \1\. ", page, re.M))
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(sdelimit.__file__).parent.rglob("*.py"))
    cited = [set(re.findall(r"\d+", text)) for text in extension("api_text").SECTIONS.findall(sources)]
    assert len(cited) > 40
    assert set().union(*cited) <= sections


def test_every_equation_is_numbered_and_linked_to_objects_in_the_reference():
    page = (ROOT / "docs/theory.md").read_text(encoding="utf-8")
    equations = re.findall(r"^\$\$ \(([\w-]+)\)\n\n<!-- used by: (.+) -->$", page, re.M)
    assert 2 * len(equations) == page.count("$$") and len(equations) > 40
    reference = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md"))
    shown = set(re.findall(r"\.\. auto\w+:: ([\w.]+)$", reference, re.M))
    for label, users in equations:
        for name in users.split(", "):
            owner = name if f"sdelimit.{name}" in shown else name.rpartition(".")[0]
            assert f"sdelimit.{owner}" in shown, (label, name)


def test_every_public_object_is_in_the_reference():
    reference = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md"))
    rooms = ["", "covariance.", "noise.", "schedules.", "data."]
    for room in rooms:
        module = importlib.import_module(f"sdelimit.{room}".rstrip("."))
        for name in module.__all__:
            if f"{name}." not in rooms:
                assert re.search(rf":: sdelimit\.{room}{name}$", reference, re.M), f"{room}{name}"


DOCSTRING = """|u|, theory: sections 6 and 11, arXiv:1412.6980:

    R = 1/2 |w|^2 * x_

in ``|code|``.

Args:
    x: theory section 2.

        not a formula"""
MARKUP = r"""\|u\|, theory: sections :ref:`6 <theory-6>` and :ref:`11 <theory-11>`, `arXiv:1412.6980 <URL/1412.6980>`__:

::

    R = 1/2 |w|^2 * x_

in ``|code|``.

Args:
    x: theory section :ref:`2 <theory-2>`.

        not a formula""".replace("URL", "https://arxiv.org/abs")


def test_docstrings_become_markup_with_formulas_as_written_and_links():
    assert "\n".join(extension("api_text").rewrite(DOCSTRING.split("\n"))) == MARKUP


def test_gallery_and_notebook_page_show_all_that_there_is():
    gallery = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    shown = {kind: set(re.findall(rf"\(\.\./figures/(\w+)\.{kind}\)", gallery)) for kind in ("png", "py")}
    assert shown["png"] == {path.stem for path in (ROOT / "figures").glob("*.png")}
    assert shown["py"] == shown["png"] - {"comparison"}  # which the command line draws
    listed = re.findall(r"\(\.\./notebooks/(\w+)\.ipynb\)", (ROOT / "docs/notebooks.md").read_text(encoding="utf-8"))
    assert listed == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
