"""Results that are computed once: a key by content, and a memory of bounded size.

Noise laws, rules and limits are keys by their content: two with the same parameters use the same tables.
"""

import functools
import hashlib
import inspect
import threading
from collections import OrderedDict

import jax
import numpy as np

from sdelimit.support.structure import may_be_called

SIZE = 256
"""Results that a memo holds at most. Tables of coefficients take from a kilobyte to a few megabytes each."""
SHORT = 32
"""Bytes up to which an array is its own digest."""
NUMBERS = (bool, int, float, complex, np.generic, np.ndarray, jax.Array)


def content_key(*objects) -> tuple:
    """A hashable key, equal for objects of the same classes and content.

    A noise law, a covariance, a limit, an optax transformation or a container of these is known by the structure of its
    pytree and its leaves: numbers and arrays by type, shape and bytes (long ones by SHA-256), all else, such as a
    rule that is a frozen dataclass, by its own ``==``. For functions that is identity, and the key holds them, so that
    no other takes their place.

    Raises TypeError for what has no content to compare: a traced array, or a leaf that cannot be hashed.
    """
    leaves, structure = jax.tree.flatten(objects)
    key = structure, tuple(map(_leaf_key, leaves))
    hash(key)
    return key


def _leaf_key(leaf):
    if not isinstance(leaf, NUMBERS):
        return type(leaf), leaf
    array = np.asarray(leaf)
    if array.dtype.hasobject:  # an integer beyond 64 bits, or an array that hash() will refuse
        return type(leaf), leaf
    data = array.tobytes()
    return array.dtype, array.shape, data if len(data) <= SHORT else hashlib.sha256(data).digest()


@may_be_called
class Memo:
    """The results of the last ``size`` different keys: the one not asked for the longest goes first.

    Where forgetting is work, more go at once: when there are too many, ``spare`` fewer than ``size`` are kept. Safe to
    use from several threads. A copy, or one read from a pickle, starts empty.
    """

    def __init__(self, size: int = SIZE, spare: int = 0):
        self.size, self.spare = size, spare
        self._results: OrderedDict = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key, compute):
        """The result of ``key``: ``compute()`` unless it is here."""
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
        result = compute()  # takes long, and may ask for other keys
        with self._lock:
            result = self._results.setdefault(key, result)  # of two threads that computed it the first
            self._results.move_to_end(key)
            full = len(self._results) > self.size
            excess = len(self._results) - (self.size - self.spare) if full else 0
            old = [self._results.popitem(last=False)[1] for _ in range(excess)]
        if old:
            self.dispose(old)
        return result

    def dispose(self, results: list):
        """Called with results that were forgotten."""

    def clear(self):
        """Forget all results."""
        with self._lock:
            self._results.clear()

    def __len__(self):
        return len(self._results)

    def __reduce__(self):
        return type(self), (self.size, self.spare)


def memoized(function=None, *, size: int = SIZE):
    """``function``, computed once for arguments of the same content: equal calls return the same object.

    Arguments count as they are bound, with defaults: ``adam()``, ``adam(0.9)`` and ``adam(b1=0.9)`` are one call.
    Calls that have no key, for which ``content_key`` raises a TypeError, reach ``function``, which checks them. The
    results are in ``.memo``, ``size`` of them at most.
    """
    if function is None:
        return functools.partial(memoized, size=size)
    memo, signature = Memo(size), inspect.signature(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            key = content_key(bound.arguments)
        except TypeError:
            return function(*args, **kwargs)
        return memo.get(key, lambda: function(*args, **kwargs))

    call.memo = memo
    return call
