"""The grammar of short texts, ``name:argument,argument,key=value``, and whether they fit a function.

Arguments are numbers, True/False, [lists] of them, words without quotes, and calls of other functions:
``ar1(300,0.5)``.
"""

import ast
import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

from sdelimit.support import arguments as check


class Call(NamedTuple):
    """A name with its arguments, of which some may be a ``Call``."""

    name: str
    args: tuple
    kwargs: dict


def read(what: str, text: str) -> Call:
    """The parts of a text. ValueError naming ``what`` if it cannot be read."""
    name, _, arguments = text.partition(":")
    try:
        tree = ast.parse(f"f({arguments})", mode="eval").body
        if not isinstance(tree, ast.Call):
            raise ValueError("not a list of arguments")
        return _call(tree)._replace(name=name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{what}: cannot read the arguments of {text!r}; write name:1.5,key=2") from error


def _call(tree):
    if not isinstance(tree.func, ast.Name) or any(k.arg is None for k in tree.keywords):
        raise ValueError("not a list of arguments")
    return Call(tree.func.id, tuple(map(_value, tree.args)), {k.arg: _value(k.value) for k in tree.keywords})


def _value(node):
    if isinstance(node, ast.Name):
        return node.id
    return _call(node) if isinstance(node, ast.Call) else ast.literal_eval(node)


def plain(name: str) -> str:
    """A name without what spellings differ in: 'signSGD', 'SignSGD', 'sign-sgd' and 'sign_sgd' are 'signsgd'."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def known_name(what: str, name: str, options: dict[str, Callable]) -> str:
    """The key of ``options`` that ``name`` means in any spelling; the name of a class counts as that of its key.

    ValueError naming ``what``, with the nearest key, if there is none.
    """
    spellings = {plain(getattr(make, "__name__", "")): key for key, make in options.items()}
    spellings |= {plain(key): key for key in options}
    if plain(name) not in spellings:
        close = check.nearest(name.lower(), options)
        raise ValueError(f"{what}: unknown value {name!r}{close}; choose from {sorted(options)}")
    return spellings[plain(name)]


NO_DEFAULT = inspect.Parameter.empty
SEVERAL = inspect.Parameter.VAR_POSITIONAL


def parameters(make: Callable, given=()) -> dict[str, inspect.Parameter]:
    """What a text may say of a function: its parameters but those ``given`` elsewhere or fixed by a ``partial``."""
    fixed = getattr(make, "keywords", {})
    found = inspect.signature(make).parameters
    return {name: parameter for name, parameter in found.items() if name not in (*given, *fixed)}


def bind(what: str, text: str, call: Call, own: dict[str, inspect.Parameter], example: str) -> tuple[tuple, dict]:
    """(arguments, keyword arguments) for the parameters ``own``.

    ValueError that says which are missing, too many, unknown or given twice, with an ``example`` of the right text.
    """
    if any(parameter.kind is SEVERAL for parameter in own.values()):
        if call.kwargs:
            raise ValueError(f"{what}: {text!r} takes no {next(iter(call.kwargs))!r}; for example {example}")
        return call.args, {}
    names = list(own)
    if len(call.args) > len(names):
        takes = f"at most {len(names)} argument(s), {', '.join(names)}," if names else "no arguments,"
        raise ValueError(f"{what}: {text!r} takes {takes} and has {len(call.args)}; for example {example}")
    values = dict(zip(names, call.args, strict=False))
    for name in call.kwargs:
        if name in values:
            raise ValueError(f"{what}: {text!r} has the argument {name!r} twice; for example {example}")
        if name not in own:
            takes = f"takes {', '.join(names)}" if names else "takes no arguments"
            raise ValueError(f"{what}: {text!r} has no argument {name!r}{check.nearest(name, names)}: it {takes}")
    values |= call.kwargs
    missing = [name for name, parameter in own.items() if parameter.default is NO_DEFAULT and name not in values]
    if missing:
        raise ValueError(f"{what}: {text!r} needs {' and '.join(missing)}; for example {example}")
    return (), values
