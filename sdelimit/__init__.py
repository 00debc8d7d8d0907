"""sdelimit: exact high-dimensional risk curves of stochastic optimizers on linear regression.

What it offers is listed in ``__init__.pyi``, and imported when it is first asked for.
"""

from importlib.metadata import version

import lazy_loader

__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("sdelimit")


def __dir__():
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
