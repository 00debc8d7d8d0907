"""What ``simulate`` is asked to run, checked and in a form that each of its paths can run."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sdelimit.optimizers.optimizer import Optimizer
from sdelimit.problem.linear_regression import LinearRegression


@dataclass(frozen=True, eq=False)
class Experiment:
    """Optimizers and, for each, learning rates eta(k/d) of the steps k, to be run on one stream of samples.

    Attributes:
        etas: for each optimizer (slots,) or (m, slots).
        units: for each optimizer the number by which its gradients are divided.
        steps: the steps before which the risk is recorded, increasing; ``slots`` is the last one plus one.
        chunk_steps: steps of one compiled call.
    """

    problem: LinearRegression
    optimizers: tuple[Optimizer, ...]
    etas: tuple[Float[np.ndarray, "*m slots"], ...]
    units: tuple[float, ...]
    steps: Int[np.ndarray, " n"]
    n_runs: int
    seed: int
    batch_size: int
    dtype: type
    sharpness: bool
    generator: str
    chunk_steps: int
    progress: bool | None

    @property
    def slots(self) -> int:
        return int(self.steps[-1]) + 1

    def inputs(self, start: int, length: int):
        """For ``length`` steps: their index, whether to record before them, and for each optimizer eta/d (length, m).

        Past the end, and in the last slot, the rate is zero: the state no longer moves.
        """
        index = np.arange(start, start + length)
        rates = []
        for eta in self.etas:
            rate = np.zeros((length, np.atleast_2d(eta).shape[0]), self.dtype)
            own = np.atleast_2d(eta)[:, start : min(start + length, self.slots - 1)].T / self.problem.d
            rate[: own.shape[0]] = own
            rates.append(rate)
        return index.astype(np.uint32), np.isin(index, self.steps), tuple(rates)
