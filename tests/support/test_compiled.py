"""Compiled programs that are kept for the next process."""

import os
import subprocess
import sys
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import sdelimit as sl
from sdelimit.cli.main import main
from sdelimit.ode.cacheable import diffeqsolve, without_callbacks
from sdelimit.support import compiled

SOLVE = """
import sys
import jax
from jax import monitoring
counts = {}
monitoring.register_event_listener(lambda event, **_: counts.update({event: counts.get(event, 0) + 1}))
import sdelimit as sl
assert jax.config.jax_compilation_cache_dir is None
print(sl.enable_cache(sys.argv[1]))
problem = sl.LinearRegression(sl.covariance.identity(20), sl.noise.Gaussian(0.5))
for rule in (sl.sgd(), sl.sign_sgd()):
    curve = sl.solve_ode(problem, rule, 0.5, 1.0)
    print(float(curve.risk[-1]).hex())
print(counts.get("/jax/compilation_cache/cache_hits", 0), counts.get("/jax/compilation_cache/cache_misses", 0))
"""


def in_process(*command, **changes):
    """A process without JAX's own settings for its cache."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("JAX_", "SDELIMIT_"))}
    options = {"env": environment | changes, "capture_output": True, "text": True, "timeout": 600}
    return subprocess.run([sys.executable, *command], **options)


@pytest.mark.long
def test_a_second_process_compiles_nothing(tmp_path):
    first, second = (in_process("-c", SOLVE, str(tmp_path)) for _ in range(2))
    assert first.returncode == 0, first.stderr
    folder, *risks, counts = first.stdout.split("\n")[:-1]
    assert folder.startswith(str(tmp_path)) and int(counts.split()[1]) > 10
    assert any(path.name.startswith("jit__integrate-") for path in Path(folder).iterdir())
    assert second.stdout.split("\n")[:-2] == [folder, *risks]
    assert second.stdout.split("\n")[-2].split()[1] == "0"  # not one program is missing: none has a callback


def test_solves_have_no_callbacks_and_diffrax_keeps_its_own():
    def solve(by, ts):
        saved = diffrax.SaveAt(ts=ts)
        term = diffrax.ODETerm(lambda t, y, args: -y)
        return by(term, diffrax.Tsit5(), 0.0, 1.0, None, 1.0, saveat=saved, throw=False,
                  stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-9)).ys  # fmt: skip

    good, wrong = jnp.array([0.0, 0.5, 1.0]), jnp.array([0.5, 0.2, 1.0])
    assert "callback" not in str(jax.make_jaxpr(lambda ts: solve(diffeqsolve, ts))(good))
    assert "callback" in str(jax.make_jaxpr(lambda ts: solve(diffrax.diffeqsolve, ts))(good))
    np.testing.assert_array_equal(solve(diffeqsolve, good), solve(diffrax.diffeqsolve, good))
    with pytest.raises(Exception, match="increasing or decreasing"):
        solve(diffrax.diffeqsolve, wrong)
    assert without_callbacks(np.sort) is np.sort  # what is made otherwise stays as it is


def test_programs_used_the_longest_ago_go_first(tmp_path):
    for age in range(10):
        path = tmp_path / f"program-{age}"
        path.write_bytes(bytes(100))
        os.utime(path, (1e9 - age, 1e9 - age))
    (tmp_path / "of another processor").mkdir()
    compiled.drop_oldest(tmp_path, 1000)
    assert len(list(tmp_path.iterdir())) == 11
    compiled.drop_oldest(tmp_path, 900)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"of another processor", *(f"program-{age}" for age in range(4))}


def test_where_the_folder_of_a_user_is(monkeypatch):
    monkeypatch.delenv("SDELIMIT_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert compiled._users_folder() == Path("/somewhere/sdelimit")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert compiled._users_folder() == Path("~/.cache/sdelimit")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert compiled._users_folder() == Path("~/Library/Caches/sdelimit")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "local")
    assert compiled._users_folder() == Path("local/sdelimit")
    monkeypatch.setenv("SDELIMIT_CACHE", "mine")
    assert compiled._users_folder() == Path("mine")


def test_off_is_off_unless_a_folder_is_named(monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    for text in ("off", " OFF "):
        monkeypatch.setenv("SDELIMIT_CACHE", text)
        assert sl.enable_cache() is None
    assert jax.config.jax_compilation_cache_dir == before


def test_a_folder_that_cannot_be_written_is_a_line_of_warning(tmp_path, monkeypatch):
    before, file = jax.config.jax_compilation_cache_dir, tmp_path / "file"
    file.write_text("in the way")
    with pytest.warns(UserWarning, match="compiled programs are not kept: .*cannot write to"):
        assert sl.enable_cache(file) is None
    monkeypatch.setenv("SDELIMIT_CACHE", str(file))
    monkeypatch.setattr(compiled, "is_enabled", lambda: False)
    done = CliRunner().invoke(main, ["rerun", str(tmp_path / "nowhere.npz")])
    lines = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
    assert len(lines) == 1 and "compiled programs are not kept" in lines[0]
    assert not CliRunner().invoke(main, ["rerun", "--no-cache", "nowhere.npz"]).stderr.startswith("warning:")
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.long
def test_a_damaged_folder_is_a_line_of_warning_and_heals(tmp_path):
    command = ["-m", "sdelimit", "ode", "--d", "20", "--t-max", "1", "--points", "3", "-o", "sgd", "-n", "none"]
    first = in_process(*command, SDELIMIT_CACHE=str(tmp_path))
    assert first.returncode == 0 and "warning: " not in first.stderr, first.stderr
    programs = [path for path in tmp_path.rglob("*-cache") if path.is_file()]
    assert programs
    for path in programs:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    second = in_process(*command, SDELIMIT_CACHE=str(tmp_path))
    assert second.returncode == 0 and second.stdout == first.stdout
    assert second.stderr.count("\n") == 1 and "damaged; it is compiled again" in second.stderr
    assert in_process(*command, SDELIMIT_CACHE=str(tmp_path)).stderr == ""
    assert in_process(*command, "--no-cache", SDELIMIT_CACHE=str(tmp_path / "other")).returncode == 0
    assert not (tmp_path / "other").exists()
