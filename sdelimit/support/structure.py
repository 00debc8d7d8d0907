"""Objects of the package as plain structures and arrays: what files hold of a result, and what equality compares.

An object is taken apart as pickle does it, but a file holds JSON and arrays only. Reading one makes objects of classes
of this package and calls nothing but them and the functions that make optimizers.
"""

import copyreg
import importlib
from dataclasses import dataclass, field

import jax
import numpy as np

OURS = "sdelimit"
PLAIN = (type(None), bool, int, float, str)
CONTAINERS = {"tuple": tuple, "list": list, "set": set, "frozenset": frozenset}


class NotSaved:
    """Stands for what a file cannot hold: a function, or an object of another package. ``text`` says what it was.

    Calling it raises ValueError.
    """

    def __init__(self, text: str):
        self.text = text

    def __call__(self, *args, **kwargs):
        raise ValueError(
            f"{self.text} was not saved with the result, which a file of numbers cannot hold: make the problem or the "
            "optimizer anew"
        )

    def __repr__(self):
        return f"<{self.text}, not saved>"

    def __eq__(self, other):
        return isinstance(other, NotSaved) and other.text == self.text

    def __hash__(self):
        return hash(self.text)


@dataclass
class Structure:
    """An object taken apart.

    Attributes:
        tree: nested lists and dictionaries of texts and numbers, fit for JSON.
        arrays: what the tree refers to by name: the places of arrays in the object, as "problem.theta0".
        left_out: the functions and other objects that a file cannot hold, in the order of the tree.
    """

    tree: object = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: list = field(default_factory=list)

    def __eq__(self, other):
        if not isinstance(other, Structure):
            return NotImplemented
        return (
            repr(self.tree) == repr(other.tree)  # by which NaN equals NaN
            and all(a is b or a == b for a, b in zip(self.left_out, other.left_out, strict=True))
            and all(_same(self.arrays[name], other.arrays[name]) for name in self.arrays)
        )


def _same(a, b) -> bool:
    numbers = a.dtype.kind in "fc" and b.dtype.kind in "fc"
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=numbers)


def take_apart(value) -> Structure:
    """``value`` as a structure. Objects that are there twice are there once."""
    found = Structure()
    found.tree = _Taking(found).tree(value, "")
    return found


class _Taking:
    def __init__(self, found: Structure):
        self.found = found
        self.known: dict[int, int] = {}
        self.alive: list = []  # what has an id in ``known`` must not be freed meanwhile

    def tree(self, value, place):
        kind = type(value)
        if kind in PLAIN:
            return value
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            return self._array(value, place)
        for name, container in CONTAINERS.items():
            if kind is container:
                parts = sorted(value, key=repr) if name.endswith("set") else value
                return {name: [self.tree(part, _join(place, i)) for i, part in enumerate(parts)]}
        if kind is dict:
            names = (key if type(key) is str else i for i, key in enumerate(value))
            pairs = zip(names, value.items(), strict=True)
            return {"dict": [[self.tree(k, place), self.tree(v, _join(place, name))] for name, (k, v) in pairs]}
        if isinstance(value, type) or not _is_ours(kind):
            return self._foreign(value)
        return self._object(value, place)

    def _array(self, value, place):
        array = np.asarray(value)
        if array.dtype.hasobject:
            return self._foreign(value)
        name = place or "value"
        while name in self.found.arrays:
            name += "'"
        self.found.arrays[name] = array
        return {"number" if isinstance(value, np.generic) else "array": name}

    def _foreign(self, value):
        """A class or function of this package by its name, all else as what is left out."""
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
        if _is_ours(value) and "<" not in name and _look_up(f"{module}:{name}") is value:
            return {"name": f"{module}:{name}"}
        self.found.left_out.append(value)
        kind = type(value)
        return {"left out": f"{module}.{name}" if name else f"{kind.__module__}.{kind.__qualname__}"}

    def _object(self, value, place):
        if isinstance(value, NotSaved):
            return {"left out": value.text}
        if id(value) in self.known:
            return {"same": self.known[id(value)]}
        self.known[id(value)] = len(self.known)
        self.alive.append(value)
        function, arguments, *rest = value.__reduce_ex__(4)
        self.alive.append((function, arguments, rest))
        if function is copyreg.__newobj__:
            made = {"new": f"{arguments[0].__module__}:{arguments[0].__qualname__}"}
            arguments = arguments[1:]
        else:
            made = {"call": self.tree(function, place)}
        made["arguments"] = [self.tree(part, _join(place, i)) for i, part in enumerate(arguments)]
        if rest and rest[0]:
            made["state"] = [[name, self.tree(part, _join(place, name))] for name, part in rest[0].items()]
        return made


def _join(place, name) -> str:
    return f"{place}.{name}" if place else str(name)


def _is_ours(value) -> bool:
    module = getattr(value, "__module__", None) or ""
    return module.split(".")[0] == OURS


def put_together(tree, arrays: dict[str, np.ndarray]):
    """The object of a structure. ValueError for a name that is not of this package, KeyError for what is missing."""
    return _PuttingTogether(arrays).value(tree)


class _PuttingTogether:
    def __init__(self, arrays):
        self.arrays, self.known = arrays, []

    def value(self, tree):
        if type(tree) in PLAIN:
            return tree
        ((kind, content), *more) = tree.items()
        if kind in CONTAINERS:
            return CONTAINERS[kind](map(self.value, content))
        if kind == "dict":
            return {self.value(key): self.value(value) for key, value in content}
        if kind in ("array", "number"):
            return self.arrays[content][()] if kind == "number" else self.arrays[content]
        if kind == "name":
            return _look_up(content)
        if kind == "left out":
            return NotSaved(str(content))
        if kind == "same":
            return self.known[content]
        return self._object(kind, content, dict(more))

    def _object(self, kind, content, more):
        index = len(self.known)
        self.known.append(None)
        function = _look_up(content) if kind == "new" else self.value(content)
        arguments = [self.value(part) for part in more["arguments"]]
        if kind == "new":
            made = self.known[index] = _class(function).__new__(function, *arguments)
        elif getattr(function, "makes_optimizers", False):
            made = self.known[index] = function(*arguments)
        else:
            made = self.known[index] = _class(function)(*arguments)
        state = {str(name): self.value(part) for name, part in more.get("state", ())}
        if state:
            vars(made).update(state)
        return made


def _class(value) -> type:
    if not isinstance(value, type):
        raise ValueError(f"it calls {value!r}, which is no class")
    return value


def _look_up(name: str):
    """The class or function of this package that is called "module:name"."""
    module, _, path = name.partition(":")
    if module.split(".")[0] != OURS:
        raise ValueError(f"it names {name}, which is not of {OURS}")
    try:
        found = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"it names {name}, which this version of {OURS} has not") from error
    if not _is_ours(found):
        raise ValueError(f"it names {name}, which is not of {OURS}")
    return found


class ByContent:
    """Objects are equal if they are of one class and hold equal numbers; functions are equal to themselves only."""

    def __eq__(self, other):
        if self is other or type(self) is not type(other):
            return self is other
        return take_apart(self) == take_apart(other)

    def __hash__(self):
        return hash(type(self).__qualname__)
