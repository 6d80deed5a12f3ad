"""Distil a black-box image-retrieval model into a small one that searches on the device.

Importing the package after Keras registers its layers, losses and trainer, so that saved models load. Without Keras
it stays light: asking a teacher or reading a ledger needs no TensorFlow.
"""

import sys

if "keras" in sys.modules:
    import kdistill.layers
    import kdistill.losses
    import kdistill.training.distiller  # noqa: F401
