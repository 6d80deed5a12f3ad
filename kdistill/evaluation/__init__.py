"""Retrieval evaluation: exact, in bounded memory, without sorting the gallery."""

from kdistill.evaluation.blockwise.stacked import StackedRows
from kdistill.evaluation.embedding import Embedded, embed_images
from kdistill.evaluation.labelled import evaluate_leave_one_out, evaluate_query_gallery
from kdistill.evaluation.neighbours import nearest_neighbours
from kdistill.evaluation.revisited import evaluate_revisited
from kdistill.evaluation.scores import RetrievalScores

__all__ = [
    "Embedded",
    "RetrievalScores",
    "StackedRows",
    "embed_images",
    "evaluate_leave_one_out",
    "evaluate_query_gallery",
    "evaluate_revisited",
    "nearest_neighbours",
]
