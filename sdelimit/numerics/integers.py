"""Arithmetic of whole numbers."""


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up: the number of groups of at most ``b`` that hold ``a`` things."""
    return -(-a // b)
