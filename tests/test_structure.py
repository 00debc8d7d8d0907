"""The house: few rooms, imports that point down its floors, and no circles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sdelimit

PACKAGE = Path(sdelimit.__file__).parent
FLOORS = [
    {"numerics", "support"},
    {"covariance", "noise", "schedules"},
    {"limits", "problem"},
    {"optimizers", "modes"},
    {"results"},
    {"ode", "sde", "simulation", "data", "report"},
    {"analysis"},
    {"experiments"},
    {"cli", "sdelimit", "__main__"},
]
"""The rooms of each floor, from the ground up; ``sdelimit`` is the package's own __init__."""
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}


def name_of(path):
    """The name under which a file is imported."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def room_of(module):
    return [*module.split("."), "sdelimit"][1]


def imports(module):
    """The modules of the package that one of them imports, at its top or later."""
    names = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sdelimit":
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in FILES else node.module for name in whole}
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "sdelimit"}
    return names - {module}


GRAPH = {module: imports(module) for module in FILES}


def test_the_package_has_at_most_twenty_rooms_and_files():
    entries = [path.name for path in PACKAGE.iterdir() if not path.name.startswith("__") and path.name != "py.typed"]
    assert len(entries) <= 20, sorted(entries)
    assert {room_of(module) for module in FILES} == set(FLOOR)


@pytest.mark.parametrize("room", sorted(FLOOR))
def test_no_room_imports_from_a_higher_floor(room):
    mine = [module for module in FILES if room_of(module) == room]
    assert mine
    upward = [(a, b) for a in mine for b in GRAPH[a] if FLOOR[room_of(b)] > FLOOR[room]]
    assert not upward


def test_imports_have_no_circles():
    """Neither between files nor between rooms: ``TopologicalSorter`` raises CycleError with the circle."""
    order = list(TopologicalSorter(GRAPH).static_order())
    assert len(order) == len(FILES) > 100
    rooms = {room: set() for room in FLOOR}
    for module, targets in GRAPH.items():
        rooms[room_of(module)] |= {room_of(target) for target in targets} - {room_of(module)}
    assert len(list(TopologicalSorter(rooms).static_order())) == len(FLOOR)
