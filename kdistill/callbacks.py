"""The old place of `kdistill.training.callbacks`, kept for one release."""

import warnings

from kdistill.training.callbacks import (
    HistoryFile,
    ResumableCheckpoint,
    RetrievalEvaluation,
    StopOnNaN,
    read_history,
)

__all__ = ["HistoryFile", "ResumableCheckpoint", "RetrievalEvaluation", "StopOnNaN", "read_history"]

warnings.warn(
    "kdistill.callbacks is now kdistill.training.callbacks; the old name goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
