"""Results as files, and as tables of other packages."""

import json
import warnings

import numpy as np

from sdelimit.support.files import FileError, as_path, read_npz, reading, replacing
from sdelimit.support.html import as_html
from sdelimit.support.structure import OURS, ByContent, name_of, put_together, take_apart
from sdelimit.support.versions import version_info

FORMAT = 1
"""Of files; to be raised when those of earlier versions can no longer be read."""
STRUCTURE, SETTINGS = "structure", "settings"
"""The arrays of a file that hold JSON: how the others belong together, and what they are of."""


class Tabled:
    """A result whose numbers can be taken as tables: ``to_dataframe()`` and ``to_xarray()``."""

    def to_dataframe(self):
        """The numbers as a pandas ``DataFrame`` in long form: one row for each time, run and learning rate.

        Needs pandas (``pip install "sdelimit[tables]"``). ``.attrs`` says what they are of.
        """
        import pandas

        variables = self._variables()
        dims, shape = _largest(variables)
        indices = dict(zip(dims, np.indices(shape, sparse=True), strict=True))
        columns = {}
        for name, (own, values) in variables.items():
            if set(own) <= set(dims):
                columns[name] = np.broadcast_to(_aligned(values, own, dims), shape).ravel()
        for dim in dims:
            columns.setdefault(dim, np.broadcast_to(indices[dim], shape).ravel())
        order = [*(dim for dim in dims), *(name for name in columns if name not in dims)]
        frame = pandas.DataFrame({name: columns[name] for name in order})
        frame.attrs = self._attributes()
        return frame

    def to_xarray(self):
        """The numbers as an xarray ``Dataset`` with the dimensions ``t``, ``run``, ``rate`` and ``mode``.

        Needs xarray (``pip install "sdelimit[tables]"``). ``.attrs`` says what they are of.
        """
        import xarray

        variables = self._variables()
        dims = {dim for own, _ in variables.values() for dim in own}
        coordinates = {name: value for name, value in variables.items() if name in dims}
        others = {name: value for name, value in variables.items() if name not in dims}
        return xarray.Dataset(others, coordinates, self._attributes())

    def _variables(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """The numbers by name, each with the names of its dimensions."""
        raise NotImplementedError

    def _attributes(self) -> dict[str, str]:
        """Texts that say what the numbers are of."""
        return {"summary": repr(self)}


class Stored(ByContent, Tabled):
    """A result: equal to another by content, saved to a file, and turned into tables.

    ``save(path)`` and ``sl.load(path)`` keep it all; ``to_dataframe()`` and ``to_xarray()`` are its numbers.
    """

    def _repr_html_(self) -> str:
        """What Jupyter shows: a table of what it is, and a small figure where there is one."""
        return as_html(self._attributes(), self._figure())

    def _figure(self):
        """A figure for Jupyter, or None."""
        return None

    def save(self, path):
        """Write the result, with the problem and the optimizer it is of, to an .npz file for ``sl.load``.

        The arrays are there under their names (``numpy.load(path)["risk"]``), ``settings`` is a JSON text with the
        versions that made them. Nothing is pickled: functions of one's own (in ``from_optax``, ``SingleIndex``,
        ``noise.Density``) are left out with a warning, and what is loaded refuses to use them.

        The file appears under its name when it is complete. Raises TypeError or ValueError that names ``path``.
        """
        path = as_path("path", path)
        if path.suffix != ".npz":
            raise ValueError(f"path must end in .npz, got {path}")
        found = take_apart(self)
        _warn_of_what_is_left_out(self, found)
        settings = {"format": FORMAT, "what": type(self).__name__, "summary": repr(self), **version_info()}
        texts = {STRUCTURE: json.dumps(found.tree), SETTINGS: json.dumps(settings)}
        try:
            with replacing(path) as file:
                np.savez_compressed(file, **{name: np.array(text) for name, text in texts.items()}, **found.arrays)
        except OSError as error:
            raise ValueError(f"path: cannot write to {path}: {error.strerror}") from error


def _largest(variables):
    """The dimensions, and their sizes, of the tables: those of the variables that are not along modes."""
    sizes = {}
    for own, values in sorted(variables.values(), key=lambda variable: -len(variable[0])):
        if "mode" not in own:
            sizes |= dict(zip(own, np.shape(values), strict=True))
    return tuple(sizes), tuple(sizes.values())


def _aligned(values, own, dims):
    """``values`` with an axis for each of ``dims``."""
    values = np.asarray(values)
    order = sorted(range(len(own)), key=lambda axis: dims.index(own[axis]))
    sizes = {own[axis]: values.shape[axis] for axis in order}
    return values.transpose(order).reshape([sizes.get(dim, 1) for dim in dims])


def _warn_of_what_is_left_out(result, found):
    """TypeError for a problem of a class of one's own, which would be lost whole; a warning for lost functions."""
    kinds = [entry.split(":")[0].split(".")[0] for entry in _classes(found.tree)]
    if any(kind != OURS for kind in kinds):
        raise TypeError(
            "path: a file cannot hold the result of a problem whose class is not of this package; pickle it"
        )
    left = list(dict.fromkeys(getattr(one, "text", None) or name_of(one).partition(":")[2] for one in found.left_out))
    if left:
        warnings.warn(
            f"save: functions are not saved, and what is loaded refuses to use them: {', '.join(left)}", stacklevel=3
        )


def _classes(tree):
    """The names of all classes whose objects a tree has."""
    if isinstance(tree, dict):
        if "new" in tree:
            yield tree["new"]
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _classes(part)


def load(path) -> Stored:
    """A result that ``save`` has written: a curve, runs, a report, effects and so on, equal to what was saved.

    It is equal unless functions of one's own were left out (see ``save``). Nothing in the file is executed.

    Raises TypeError or ValueError that names ``path`` if it cannot be read, is damaged, or holds no such result.

    >>> import sdelimit as sl
    >>> curve = sl.solve_ode(sl.LinearRegression(sl.covariance.identity(50)), sl.sign_sgd(), lr=0.5, t_max=1.0)
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     curve.save(pathlib.Path(folder) / "curve.npz")
    ...     sl.load(pathlib.Path(folder) / "curve.npz") == curve
    True
    """
    path = as_path("path", path)
    with reading("path", path, "holds no result that this version reads"):
        arrays = read_npz(path)
        if STRUCTURE not in arrays:
            raise FileError(f"path: {path} holds no result: `.save` of a result writes one", path, "no result")
        settings = json.loads(str(arrays.pop(SETTINGS)[()]))
        if settings["format"] != FORMAT:
            raise ValueError(f"its format is {settings['format']!r}, of sdelimit {settings['versions']['sdelimit']}")
        result = put_together(json.loads(str(arrays.pop(STRUCTURE)[()])), arrays)
        if not isinstance(result, Stored):
            raise ValueError(f"it is a {type(result).__name__}")
        repr(result)
    return result
