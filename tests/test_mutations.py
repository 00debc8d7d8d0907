"""The developer tool that breaks constants on purpose (tools/mutate.py)."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
mutate = pytest.importorskip("mutate")
sys.path.pop(0)


def test_every_mutation_fits_the_package_and_names_tests_that_exist():
    names = [m.name for m in mutate.MUTATIONS]
    assert len(set(names)) == len(names)
    for m in mutate.MUTATIONS:
        changed = mutate.mutated((ROOT / m.file).read_text(), m)
        compile(changed, m.file, "exec")
        assert m.tests
        for test in m.tests:
            path, _, name = test.partition("::")
            assert re.search(
                rf"^def {name.split('[')[0]}\(" if name else "", (ROOT / path).read_text(), re.MULTILINE
            ), test


@pytest.fixture
def project(tmp_path):
    """A package with one constant and a test that sees it to 3%."""
    (tmp_path / "sdelimit").mkdir()
    (tmp_path / "sdelimit" / "__init__.py").write_text("PI = 3.14\n")
    (tmp_path / "tests").mkdir()
    lines = "from sdelimit import PI", "def test_pi():", "    assert abs(PI - 3.14159) < 0.1"
    (tmp_path / "tests" / "test_pi.py").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize(
    ("new", "test", "verdict"),
    [
        ("PI = 3.3", "tests/test_pi.py", ("killed", "tests/test_pi.py::test_pi")),
        ("PI = 3.15", "tests/test_pi.py", ("survived", "")),
        ("PI = ", "tests/test_pi.py", ("error", "pytest ended with status 2")),
    ],
)
def test_a_mutation_is_killed_only_by_a_test_that_fails(project, new, test, verdict):
    before = sorted(project.rglob("*"))
    found = mutate.try_out(
        mutate.Mutation("pi", "sdelimit/__init__.py", "PI = 3.14", new, (test,)), str(project), project
    )
    assert found.verdict == verdict[0] and found.detail.startswith(verdict[1])
    assert sorted(project.rglob("*")) == before
    assert (project / "sdelimit" / "__init__.py").read_text() == "PI = 3.14\n"


def test_names_are_chosen_by_their_beginnings_and_ambiguous_texts_refused():
    assert {m.name for m in mutate.selected(["phi-", "sde-noise"])} > {"phi-2-over-pi", "sde-noise"}
    assert mutate.selected([]) == list(mutate.MUTATIONS)
    with pytest.raises(ValueError, match="no mutation is called chi"):
        mutate.selected(["chi"])
    twice = mutate.Mutation("a", "f.py", "1", "2", ())
    with pytest.raises(ValueError, match="occurs 2 times"):
        mutate.mutated("1 + 1", twice)


def test_a_survivor_makes_the_exit_status_one(monkeypatch, capsys):
    verdicts = {"phi-root": mutate.Outcome("killed", "test_a"), "phi-argument": mutate.Outcome("survived", "")}
    monkeypatch.setattr(mutate, "try_out", lambda m, compiled: verdicts[m.name])
    monkeypatch.setattr(mutate, "check_baseline", lambda chosen, compiled: mutate.Outcome("survived", ""))
    assert mutate.main(["phi-root"]) == 0
    assert mutate.main(["phi-root", "phi-argument", "--jobs", "2"]) == 1
    assert re.search(r"phi-argument +survived", capsys.readouterr().out)
    monkeypatch.setattr(mutate, "check_baseline", lambda chosen, compiled: mutate.Outcome("killed", "test_b"))
    assert mutate.main(["phi-root"]) == 1 and "fail without a mutation: test_b" in capsys.readouterr().out
    assert mutate.main(["--list", "phi-root"]) == 0 and "sqrt(2.1 * R)" in capsys.readouterr().out
