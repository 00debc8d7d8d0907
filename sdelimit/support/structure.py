"""Objects of the package as plain structures and arrays: what files hold of a result, and what equality compares.

An object is taken apart as pickle does it, but a file holds JSON and arrays only. Reading one makes objects of classes
of this package, without calling these, and calls nothing but the functions in ``MAKERS``, which make optimizers.
"""

import copyreg
import importlib
from dataclasses import dataclass, field, fields, is_dataclass

import jax
import numpy as np

OURS = "sdelimit"
PLAIN = (type(None), bool, int, float, str)
CONTAINERS = {"tuple": tuple, "list": list, "set": set, "frozenset": frozenset}


MAKERS: dict = {}
"""By "module:name" the functions and classes that reading a structure may call; see ``may_be_called``."""
ROOMS_OF_FUNCTIONS = ("analysis", "limits", "modes", "noise", "numerics", "ode", "optimizers", "problem", "results")
"""Whose functions a structure may name: none of them imports, runs or writes what an argument says."""


def may_be_called(function):
    """``function``, a function or class, which reading a structure may call from now on."""
    MAKERS[name_of(function)] = function
    return function


class NotSaved:
    """Stands for what a file cannot hold: a function, or an object of another package. ``text`` says what it was.

    Calling it, or asking for what it had, raises an error that says so. It is equal to itself only.
    """

    def __init__(self, text: str):
        self.text = text

    def __call__(self, *args, **kwargs):
        raise ValueError(self._message())

    def __getattr__(self, name):
        raise AttributeError(self._message() if "text" in vars(self) else name)

    def _message(self):
        return (
            f"{self.text} was not saved with the result, which a file of numbers cannot hold: make the problem or the "
            "optimizer anew"
        )

    def __repr__(self):
        return f"<{self.text}, not saved>"


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
            and len(self.left_out) == len(other.left_out)
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
        if isinstance(value, NotSaved):
            self.found.left_out.append(value)
            return {"left out": value.text}
        if isinstance(value, type) or not (_is_ours(kind) or isinstance(value, ByContent)):
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
        name = name_of(value)
        if _may_be_named(value, name):
            return {"name": name}
        self.found.left_out.append(value)
        return {"left out": name.replace(":", ".")}

    def _object(self, value, place):
        if id(value) in self.known:
            return {"same": self.known[id(value)]}
        function, arguments, *rest = value.__reduce_ex__(4)
        state = (rest[0] if rest else None) or {}
        self.alive.append((value, function, arguments, state))
        if function is copyreg.__newobj__:
            kind, *arguments = arguments
            made = {"new": name_of(kind)}
        elif hasattr(function, "arguments"):  # a call with arguments by name
            made, arguments = {"call": name_of(function.function)}, function.arguments
        else:
            made = {"call": name_of(function)}
        if "call" in made and (state or made["call"] not in MAKERS):
            return self._foreign(value)
        self.known[id(value)] = len(self.known)
        if isinstance(arguments, dict):
            made["by name"] = [[name, self.tree(part, _join(place, name))] for name, part in arguments.items()]
        else:
            made["arguments"] = [self.tree(part, _join(place, i)) for i, part in enumerate(arguments)]
        if state:
            made["state"] = [[name, self.tree(part, _join(place, name))] for name, part in state.items()]
        return made


def _join(place, name) -> str:
    return f"{place}.{name}" if place else str(name)


def _is_ours(value) -> bool:
    module = getattr(value, "__module__", None) or ""
    return module.split(".")[0] == OURS


def name_of(value) -> str:
    """ "module:name" of a class or function; of another object that of its class."""
    owner = value if getattr(value, "__qualname__", None) else type(value)
    return f"{owner.__module__}:{owner.__qualname__}"


def _may_be_named(value, name: str) -> bool:
    """Whether a structure may refer to this class or function by its name: one of this package's modules, at its top.

    Of functions those in ``ROOMS_OF_FUNCTIONS`` only.
    """
    module, _, own = name.partition(":")
    room = [*module.split("."), ""][1]
    if not _is_ours(value) or "." in own or "<" in own:
        return False
    allowed = isinstance(value, type) or room in ROOMS_OF_FUNCTIONS
    return allowed and getattr(importlib.import_module(module), own, None) is value


def put_together(tree, arrays: dict[str, np.ndarray]):
    """The object of a structure; its arrays are read-only.

    Classes are not called: their objects get their parts as pickle gives them. Called are only ``MAKERS``.

    Raises ValueError for a name that a structure may not have, KeyError and others for what is missing.
    """
    for array in arrays.values():
        array.setflags(write=False)
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
        return self._made(kind, content, dict(more))

    def _made(self, kind, content, more):
        index = len(self.known)
        self.known.append(None)
        by_name = {str(name): self.value(part) for name, part in more.get("by name", ())}
        arguments = [self.value(part) for part in more.get("arguments", ())]
        if kind == "call":
            self.known[index] = _maker(content)(*arguments, **by_name)
            return self.known[index]
        if kind != "new":
            raise ValueError(f"it has a {kind!r}, which no structure has")
        made = self.known[index] = _class(content).__new__(_class(content), *arguments)
        state = {str(name): self.value(part) for name, part in more.get("state", ())}
        if state:
            vars(made).update(state)
        _require_whole(made)
        return made


def _require_whole(made):
    """ValueError if an object of a dataclass lacks a part that it has in this version."""
    if is_dataclass(made):
        lacking = [part.name for part in fields(made) if not hasattr(made, part.name)]
        if lacking:
            raise ValueError(f"its {type(made).__name__} has no {lacking[0]}, which it has in this version")


def _maker(name: str):
    _module(name)  # registers what may be called in it
    if name not in MAKERS:
        raise ValueError(f"it calls {name}, which no structure may call")
    return MAKERS[name]


def _class(name: str) -> type:
    found = _look_up(name)
    if not isinstance(found, type):
        raise ValueError(f"it names {name}, which is no class")
    return found


def _look_up(name: str):
    """The class or function of this package that is called "module:name", if a structure may name it."""
    found = getattr(_module(name), name.partition(":")[2], None)
    if found is None:
        raise ValueError(f"it names {name}, which this version of {OURS} has not")
    if not _may_be_named(found, name):
        raise ValueError(f"it names {name}, which no structure may name")
    return found


def _module(name: str):
    """The module of "module:name"; ValueError if it is not of this package, or not there."""
    module = name.partition(":")[0]
    if module.split(".")[0] != OURS:
        raise ValueError(f"it names {name}, which is not of {OURS}")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"it names {name}, which this version of {OURS} has not") from error


class ByContent:
    """Objects are equal if they are of one class and hold equal numbers; functions are equal to themselves only."""

    def __eq__(self, other):
        if self is other or type(self) is not type(other):
            return self is other
        return take_apart(self) == take_apart(other)

    def __hash__(self):
        return hash(type(self).__qualname__)
