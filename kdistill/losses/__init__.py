"""Losses by name: what trains a student from a teacher's vectors or, as references, from labels."""

from kdistill.losses.addons import AddonsLoss
from kdistill.losses.base import DistillationLoss
from kdistill.losses.contrastive import Contrastive, contrastive
from kdistill.losses.csd import CSD, csd
from kdistill.losses.darkrank import DarkRank, darkrank
from kdistill.losses.gram import RAML, Gram, gram, raml
from kdistill.losses.list_mle import ListMLE, list_mle
from kdistill.losses.pairwise_logistic import PairwiseLogistic, pairwise_logistic
from kdistill.losses.pkt import PKT, pkt
from kdistill.losses.registry import get, names
from kdistill.losses.regression import Regression, regression
from kdistill.losses.rkd import RKD, RKDDistance, rkd, rkd_angle, rkd_distance
from kdistill.losses.seed import SEED, seed
from kdistill.losses.similarity_preserving import SimilarityPreserving, similarity_preserving
from kdistill.losses.softmax_ranking import SoftmaxRanking, softmax_ranking
from kdistill.losses.triplet import TripletSemiHard, triplet_semihard
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
