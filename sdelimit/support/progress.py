"""Progress bars on standard error."""

from tqdm import tqdm


def progress_bar(show: bool | None, total: int, unit: str, **options) -> tqdm:
    """A bar of ``total`` steps called ``unit``: shown for True, not for False, and for None only on a terminal.

    ``options`` as for tqdm. To be used in a ``with``, and moved on by ``.update(n)``.
    """
    return tqdm(total=total, unit=unit, disable=None if show is None else not show, **options)
