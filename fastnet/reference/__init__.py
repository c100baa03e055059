"""The arithmetic again, slowly, to be read and to check the compiled kernels by: NumPy only, nothing of the package.

Every functional pair has its twin here, of the same name and signature. `vectorised` has them all in plain NumPy, and
`reference.conv2d` is `reference.vectorised.conv2d`; `loops` has those where one number at a time says something that
NumPy hides: windows, statistics, losses. In all of them `saved` is a tuple that only the twin's backward understands.
"""

from . import loops, vectorised
from .vectorised import *  # noqa: F403 (its __all__ is the list)

__all__ = ["loops", "vectorised"]
__all__ += vectorised.__all__
