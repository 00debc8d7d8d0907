"""Optimizers that know the call that made them: what a prompt shows, and what a pickle holds."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from sdelimit.numerics.memo import memoized
from sdelimit.support.structure import may_be_called


@dataclass(frozen=True)
class Call:
    """A call of a function of the package, with its arguments by name, defaults included.

    ``str`` is the call as it would be typed: without defaults, but with those that are numbers other than 0.
    """

    function: Callable
    arguments: dict

    def __call__(self):
        return self.function(**self.arguments)

    def __str__(self):
        texts = [text for name in self.arguments if (text := self._text(name))]
        return f"{self.function.__name__}({', '.join(texts)})"

    def _text(self, name) -> str:
        value, default = self.arguments[name], inspect.signature(self.function).parameters[name].default
        number = isinstance(default, float) and default != 0
        return f"{name}={value!r}" if number or not _is(value, default) else ""


def _is(value, default) -> bool:
    return value is default or (isinstance(value, bool | int | float | str) and value == default)


def named(function):
    """``function`` that returns an ``Optimizer``, memoized, whose results know the first call that made them."""
    made, signature = memoized(function), inspect.signature(function)

    @functools.wraps(made)
    def call(*args, **kwargs):
        optimizer = made(*args, **kwargs)
        if optimizer.call is None:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            object.__setattr__(optimizer, "call", Call(call, dict(bound.arguments)))
        return optimizer

    return may_be_called(call)
