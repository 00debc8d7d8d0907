"""diffrax's solver as a program that JAX's persistent cache takes.

Inside ``jit``, ``diffrax.diffeqsolve`` checks that the times to save at are increasing and lie in the horizon by a
callback to the host, and programs with callbacks are not cached: each process would compile them again for seconds.
Times of this package were checked on the host before (``support.arguments.time_grid``), and what else goes wrong is in
the result (``throw=False``).
"""

import types
from collections.abc import Callable

import diffrax


def without_callbacks(solve: Callable) -> Callable:
    """A copy of ``diffrax.diffeqsolve`` that checks nothing at run time; diffrax's own function stays as it is.

    Where a version of diffrax is made otherwise it is the function itself, which is right, and only is not cached.
    """
    inner = getattr(solve, "__wrapped__", None)
    checks = getattr(inner, "__globals__", {}).get("eqxi")
    if not isinstance(inner, types.FunctionType) or not hasattr(checks, "error_if"):
        return solve
    unchecked = types.SimpleNamespace(**{**vars(checks), "error_if": lambda x, *_, **__: x})
    names = {**inner.__globals__, "eqxi": unchecked}
    copy = types.FunctionType(inner.__code__, names, inner.__name__, inner.__defaults__, inner.__closure__)
    copy.__kwdefaults__ = inner.__kwdefaults__
    return copy


diffeqsolve = without_callbacks(diffrax.diffeqsolve)
