"""What importing the package does, and its docstrings."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_import_loads_nothing_that_takes_time():
    """Names are looked up in ``__init__.pyi``, and what they need is imported when they are."""
    code = """
import sys, sdelimit as sl
print([name for name in ("jax", "scipy", "optax", "diffrax", "matplotlib") if name in sys.modules])
sl.solve_ode
print([name for name in ("scipy.stats", "scipy.signal", "matplotlib", "sklearn", "pandas") if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["[]", "[]"]


def test_import_has_no_side_effects():
    """No x64 flag, no device, no matplotlib backend or style, no pyplot."""
    code = """
import sys, matplotlib
def style():
    return {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != "backend"}
before = style()
import sdelimit
from sdelimit import *
import sdelimit.report.plot
import jax
from jax._src import xla_bridge
assert not jax.config.jax_enable_x64
assert not xla_bridge._backends, "a device was initialized"
assert "matplotlib.pyplot" not in sys.modules
assert style() == before and matplotlib.get_backend(auto_select=False) is None
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.docs
def test_examples_in_docstrings_run():
    import sdelimit

    modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(sdelimit.__path__, "sdelimit.")]
    results = [doctest.testmod(module) for module in modules]
    assert sum(r.attempted for r in results) >= 10
    assert sum(r.failed for r in results) == 0


def test_every_public_object_has_a_docstring():
    import sdelimit as sl

    public = [getattr(room, n) for room in (sl, sl.covariance, sl.noise, sl.schedules, sl.data) for n in room.__all__]
    missing = [obj for obj in public if not (obj.__doc__ or "").strip()]
    assert not missing


def test_package_data_names_every_file_that_is_no_module():
    """Else a wheel lacks it: the stub that lazy imports read, and py.typed."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folder = ROOT / "sdelimit"
    packed = {path for pattern in tools["package-data"]["sdelimit"] for path in folder.glob(pattern)}
    files = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert packed == files == {folder / "py.typed", folder / "__init__.pyi"}


def test_citation_has_the_version_of_the_package():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"\nversion: {project['version']}\n" in text
    assert all(f"  - name: {author['name']}\n" in text for author in project["authors"])
