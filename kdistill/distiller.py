"""The old place of `kdistill.training.distiller`, kept for one release."""

import warnings

from kdistill.training.distiller import Distiller

__all__ = ["Distiller"]

warnings.warn(
    "kdistill.distiller is now kdistill.training.distiller; the old name goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
