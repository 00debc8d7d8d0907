"""A folder that keeps the curves of every size that is done."""

import contextlib
import json

import numpy as np

from sdelimit.analysis.scaling.size_curve import SizeCurve
from sdelimit.simulation.checkpoint import identity_of
from sdelimit.support.files import FileError, folder_lock, read_npz, reading, replacing, writable_folder

ARRAYS = ("steps", "rates", "losses")


class NoFolder:
    """Everything is computed."""

    def get(self, problem, optimizer, rates, settings, compute) -> SizeCurve:
        """``compute()``."""
        return compute()


class Folder:
    """Files ``size-D.npz``, each with what identifies its computation."""

    def __init__(self, path):
        self.path = path

    def get(self, problem, optimizer, rates, settings, compute) -> SizeCurve:
        """The curves of a size from its file, or ``compute()``, which is then written.

        FileError if the file is damaged or belongs to another computation: another problem, rule or setting.
        """
        path = self.path / f"size-{problem.d}.npz"
        batch_size = settings.pop("batch_size")
        identity = identity_of(problem, (optimizer,), batch_size, rates=rates, **settings)
        if path.exists():
            return _read(path, identity, problem.d)
        curve = compute()
        record = {
            "identity": identity, "cost": curve.cost, "irreducible": curve.irreducible, "warnings": curve.warnings
        }  # fmt: skip
        with replacing(path) as file:
            np.savez(file, record=np.array(json.dumps(record)), **{name: getattr(curve, name) for name in ARRAYS})
        return curve


def _read(path, identity, d) -> SizeCurve:
    advice = "delete it, or choose another folder"
    with reading("out", path, advice=advice):
        arrays = read_npz(path)
        record = json.loads(str(arrays.pop("record")))
        found = record["identity"]
        curve = SizeCurve(
            d, float(record["cost"]), *(arrays[name] for name in ARRAYS), float(record["irreducible"]),
            tuple(map(str, record["warnings"])),
        )  # fmt: skip
        if curve.losses.shape != (curve.rates.size, curve.steps.size) or not np.all(curve.steps > 0):
            raise ValueError(f"its losses have the shape {curve.losses.shape}")
    different = sorted(name for name in found.keys() | identity.keys() if found.get(name) != identity.get(name))
    if different:
        problem = f"belongs to another computation, with another {', '.join(different)}; {advice}"
        raise FileError(f"out: {path} {problem}", path, problem)
    return curve


@contextlib.contextmanager
def opened(out):
    """The store of the folder ``out``, locked; without one for None."""
    if out is None:
        yield NoFolder()
        return
    folder = writable_folder("out", out)
    with folder_lock("out", folder):
        yield Folder(folder)
