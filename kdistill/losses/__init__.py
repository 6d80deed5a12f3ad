"""Losses by name: what trains a student from a teacher's vectors or, as references, from labels."""

from kdistill.losses.addons import AddonsLoss
from kdistill.losses.base import DistillationLoss
from kdistill.losses.list_mle import ListMLE, list_mle
from kdistill.losses.pairwise_logistic import PairwiseLogistic, pairwise_logistic
from kdistill.losses.published.contrastive import Contrastive, contrastive
from kdistill.losses.published.csd import CSD, csd
from kdistill.losses.published.darkrank import DarkRank, darkrank
from kdistill.losses.published.gram import RAML, Gram, gram, raml
from kdistill.losses.published.pkt import PKT, pkt
from kdistill.losses.published.regression import Regression, regression
from kdistill.losses.published.rkd import RKD, RKDDistance, rkd, rkd_angle, rkd_distance
from kdistill.losses.published.seed import SEED, seed
from kdistill.losses.published.similarity_preserving import SimilarityPreserving, similarity_preserving
from kdistill.losses.published.triplet import TripletSemiHard, triplet_semihard
from kdistill.losses.registry import get, names
from kdistill.losses.softmax_ranking import SoftmaxRanking, softmax_ranking
from kdistill.losses.two_spaces import TwoSpaces, joined_answers

__all__ = [
    "CSD",
    "PKT",
    "RAML",
    "RKD",
    "SEED",
    "AddonsLoss",
    "Contrastive",
    "DarkRank",
    "DistillationLoss",
    "Gram",
    "ListMLE",
    "PairwiseLogistic",
    "RKDDistance",
    "Regression",
    "SimilarityPreserving",
    "SoftmaxRanking",
    "TripletSemiHard",
    "TwoSpaces",
    "contrastive",
    "csd",
    "darkrank",
    "get",
    "gram",
    "joined_answers",
    "list_mle",
    "names",
    "pairwise_logistic",
    "pkt",
    "raml",
    "regression",
    "rkd",
    "rkd_angle",
    "rkd_distance",
    "seed",
    "similarity_preserving",
    "softmax_ranking",
    "triplet_semihard",
]
