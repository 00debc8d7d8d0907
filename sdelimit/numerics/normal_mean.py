"""Means over a standard normal by Gauss and Hermite's points."""

import numpy as np
from jaxtyping import Float


def normal_quadrature(n: int) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Points x_k and weights w_k with sum_k w_k f(x_k) = E f(x), x ~ N(0, 1), for polynomials of degree below 2n."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    return x, w / w.sum()
