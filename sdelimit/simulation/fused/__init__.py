"""The fused path of ``simulate``: a GPU kernel that keeps a run on chip for many steps.

One program of the kernel holds delta and the optimizer state of a few runs in registers, hashes its own normals,
makes x from them and takes the steps from one recorded time to the next, so that nothing but the state at recorded
times, and one label-noise value a step, goes through memory. Random numbers are those of the plain path: a run is the
same on both, up to rounding. ``simulate(..., path="auto")`` takes it on a GPU wherever ``obstacle`` finds none;
``path="fused"`` also on CPU, where Pallas interprets the kernel, slowly, to check it.
"""

from sdelimit.simulation.fused.coverage import obstacle
from sdelimit.simulation.fused.path import chunk, start

__all__ = ["chunk", "obstacle", "start"]
