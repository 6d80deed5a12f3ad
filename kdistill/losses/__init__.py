"""Losses by name: what trains a student from a teacher's vectors or, as references, from labels."""

from kdistill.losses.base import DistillationLoss
from kdistill.losses.contrastive import Contrastive, contrastive
from kdistill.losses.registry import get, names
from kdistill.losses.regression import Regression, regression
from kdistill.losses.softmax_ranking import SoftmaxRanking, softmax_ranking

__all__ = [
    "Contrastive",
    "DistillationLoss",
    "Regression",
    "SoftmaxRanking",
    "contrastive",
    "get",
    "names",
    "regression",
    "softmax_ranking",
]
