"""Callbacks for `fit` and `train`: retrieval quality while training, a record of it, checkpoints to resume from."""

from kdistill.training.callbacks.best import BestWeights
from kdistill.training.callbacks.checkpoint import ResumableCheckpoint
from kdistill.training.callbacks.evaluation import RetrievalEvaluation
from kdistill.training.callbacks.history import HistoryFile, read_history
from kdistill.training.callbacks.nan import StopOnNaN
from kdistill.training.callbacks.states import CallbackStates
from kdistill.training.callbacks.steps import FirstStep, StepCallback

__all__ = [
    "BestWeights",
    "CallbackStates",
    "FirstStep",
    "HistoryFile",
    "ResumableCheckpoint",
    "RetrievalEvaluation",
    "StepCallback",
    "StopOnNaN",
    "read_history",
]
