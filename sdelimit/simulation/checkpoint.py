"""Long simulations that survive their process: state and results so far, saved at chunk boundaries.

A checkpoint is an .npz file: the state of every rule as it was, the recorded values so far, the next step, and what
identifies the run. Restored arrays equal the saved ones bit for bit, and samples depend on the seed and the step
only, so a resumed run is the uninterrupted one.
"""

import contextlib
import dataclasses
import hashlib
import json
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sdelimit.numerics.jit import is_number
from sdelimit.support import arguments as check
from sdelimit.support.files import (
    FileError,
    as_path,
    lock,
    read_npz,
    reading,
    remove_leftover,
    replacing,
    writable_folder,
)
from sdelimit.support.versions import numeric_versions

SHARE = 0.05
"""Largest fraction of the time that saving may take; the next save waits so long."""
FORMAT = "sdelimit checkpoint 2"
ADDRESS = re.compile(r"0x[0-9a-f]+")
"""Of a function, which changes from process to process."""


class NoCheckpoint:
    """Nothing is saved."""

    def locked(self):
        """A context in which no other process goes on with the same run."""
        return contextlib.nullcontext()

    def resume(self, state, collected):
        """(first step, state, recorded values): where a run starts."""
        return 0, state, collected

    def keep(self, step, state, collected, last):
        """Save what is needed to go on at ``step``."""


class Checkpoint(NoCheckpoint):
    """A checkpoint file and what identifies the run that it belongs to, a dictionary of texts."""

    def __init__(self, path, identity):
        self.path, self.identity = as_path("checkpoint", path), identity
        self.next_save = 0.0

    @contextlib.contextmanager
    def locked(self):
        writable_folder("checkpoint", self.path.parent)
        with contextlib.ExitStack() as stack:
            with reading("checkpoint", self.path, damage=()):
                stack.enter_context(lock("checkpoint", self.path, self.path.with_name(f".{self.path.name}.lock")))
            yield

    def resume(self, state, collected):
        """Where the file left off; the start if there is none. ValueError if it belongs to another run."""
        leaves, structure = jax.tree.flatten(state)
        writable_folder("checkpoint", self.path.parent, 2 * sum(leaf.nbytes for leaf in leaves))
        with reading("checkpoint", self.path):
            remove_leftover(self.path)
            if not self.path.exists():
                return 0, state, collected
        with reading("checkpoint", self.path, "exists and is not a checkpoint of simulate", "choose another path"):
            file = read_npz(self.path)
            if str(file["format"]) != FORMAT:
                raise ValueError("another kind of file")
            identity = json.loads(str(file["identity"]))
            if not isinstance(identity, dict):
                raise ValueError(f"its identity is {check.describe(identity)}")
            self._require_same(identity)
            if str(file.pop("digest")) != _content(file):
                raise ValueError("its content is not what was saved")
            if any(file[f"state_{i}"].shape != leaf.shape for i, leaf in enumerate(leaves)):
                raise self._another_run("belongs to a run on another number of devices")
            saved, step = [file[f"state_{i}"] for i in range(len(leaves))], int(file["step"])
            values = [[[file[f"risk_{i}_{j}"] for j in range(int(n))]] for i, n in enumerate(file["measured"])]
        restored = [_place_like(value, leaf) for value, leaf in zip(saved, leaves, strict=True)]
        return step, jax.tree.unflatten(structure, restored), values

    def keep(self, step, state, collected, last):
        """Save, unless the last save was too short ago; the last step is always saved."""
        started = time.monotonic()
        if started < self.next_save and not last:
            return
        joined = [[np.concatenate(parts) for parts in zip(*chunks, strict=True)] for chunks in collected]
        arrays = {f"state_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        arrays |= {f"risk_{i}_{j}": value for i, values in enumerate(joined) for j, value in enumerate(values)}
        with replacing(self.path) as file:
            arrays |= {
                "format": np.array(FORMAT),
                "identity": np.array(json.dumps(self.identity)),
                "step": np.asarray(np.int64(step)),
                "measured": np.array([len(values) for values in joined]),
            }
            np.savez(file, digest=np.array(_content(arrays)), **arrays)
        self.next_save = time.monotonic() + (time.monotonic() - started) / SHARE

    def _require_same(self, saved):
        different = sorted(k for k in saved.keys() | self.identity.keys() if saved.get(k) != self.identity.get(k))
        if different:
            there, here = ({k: text for k, text in d.items() if k in different} for d in (saved, self.identity))
            raise self._another_run(
                f"belongs to another run: {', '.join(different)} differ ({there} there, {here} here); delete it or "
                "choose another path"
            )

    def _another_run(self, problem):
        return FileError(f"checkpoint: {self.path} {problem}", self.path, problem)


def checkpoint_of(path, problem, optimizers, batch_size, **settings) -> NoCheckpoint:
    """The checkpoint at ``path`` of a run on ``problem`` with ``settings``; one that does nothing for None."""
    if path is None:
        return NoCheckpoint()
    return Checkpoint(path, identity_of(problem, optimizers, batch_size, **settings))


def identity_of(problem, optimizers, batch_size, **settings) -> dict[str, str]:
    """What must be equal for two computations to be one, as short texts: problem, rules, settings and versions."""
    fields = [f.name for f in dataclasses.fields(problem) if f.name not in ("_cache", "seed")]
    identity = {f"problem.{name}": _digest(getattr(problem, name)) for name in fields}
    if "loss" in fields:
        identity["problem.loss"] += f" {_operations_of_loss(problem)}"
    identity |= {f"optimizer[{i}]": _describe(rule, problem, batch_size) for i, rule in enumerate(optimizers)}
    settings["batch_size"] = batch_size
    identity |= {name: str(v) if isinstance(v, (int, str)) else _digest(v) for name, v in settings.items()}
    return identity | numeric_versions()


def _content(arrays) -> str:
    """SHA-256 of named arrays, in any order."""
    code = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        code.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return code.hexdigest()


def _place_like(value, leaf):
    """On the devices where ``leaf`` is; not tied to a single one, which would compile anew."""
    return jax.device_put(value, leaf.sharding if len(leaf.devices()) > 1 else None)


def _digest(tree) -> str:
    """Classes, numbers and texts of a tree of arrays and dataclasses, as a short text."""
    code = hashlib.sha256()
    _feed(code, tree)
    return code.hexdigest()[:16]


def _feed(code, value):
    code.update(f"<{type(value).__qualname__}>".encode())
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        value = [part for item in sorted(value.items()) for part in item]
    if isinstance(value, (list, tuple)):
        code.update(f"{len(value)}:".encode())
        for part in value:
            _feed(code, part)
    elif is_number(value) or isinstance(value, (int, str)):
        array = np.asarray(value)
        code.update(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
    elif callable(value):  # a density, say: its numbers are in the tables made of it
        code.update(getattr(value, "__qualname__", "").encode())


def _describe(optimizer, problem, batch_size) -> str:
    """A rule by its name, its numbers and the operations of its update on ``problem``."""
    text = ADDRESS.sub("", f"{optimizer.name} {sorted(optimizer.hyperparameters.items())}")
    transform = optimizer.rule(problem, batch_size)
    vector, update = jnp.zeros(problem.stacked(problem.theta0).size, jnp.float32), transform.update
    given = [vector, transform.init(vector), vector]
    if isinstance(transform, optax.GradientTransformationExtraArgs):  # what the simulator gives such rules
        given.append(jax.random.key_data(jax.random.key(0)))

        def update(gradient, state, theta, words):
            key = jax.random.wrap_key_data(words)
            return transform.update(gradient, state, theta, loss_fn=lambda at: jnp.mean(at**2), key=key)

    return f"{text} {_operations(update, *given)}"


def _operations_of_loss(problem) -> str:
    """The gradient of the problem's loss by its operations: of a user's own function there is nothing else to compare.

    Of a sample's v = u - u*, u* and what is drawn for its label.
    """
    loss, score = problem.loss, jnp.zeros((1, *problem.theta0.shape[1:]), jnp.float32)
    draw = loss.draws(problem.noise).sample(jax.random.key(0), (1,))
    return _operations(lambda v, u_star, draw: loss.slope(v, u_star, loss.label(draw, u_star)), score, score, draw)


def _operations(function, *given) -> str:
    """The operations of a JAX function and its constants, as a short text."""
    operations = jax.make_jaxpr(function)(*given)
    code = ADDRESS.sub("", str(operations.jaxpr)) + "".join(map(_digest, operations.consts))
    return hashlib.sha256(code.encode()).hexdigest()[:16]
