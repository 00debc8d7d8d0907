"""Square roots of positive semidefinite matrices."""

import numpy as np
from jaxtyping import Float


def semidefinite_root(matrix: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """F with F F' = ``matrix``: Cholesky's, or where rounding or a null space forbids it that of the eigenvectors.

    Negative eigenvalues, which a semidefinite matrix has by rounding only, count as zero.
    """
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        return vectors * np.sqrt(np.maximum(values, 0.0))
