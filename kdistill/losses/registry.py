"""From a name on the command line to a loss."""

from typing import Any

import keras

from kdistill.errors import ArgumentError
from kdistill.losses.addons import AddonsLoss
from kdistill.losses.base import DistillationLoss
from kdistill.losses.contrastive import Contrastive
from kdistill.losses.csd import CSD
from kdistill.losses.darkrank import DarkRank
from kdistill.losses.gram import RAML, Gram
from kdistill.losses.list_mle import ListMLE
from kdistill.losses.pairwise_logistic import PairwiseLogistic
from kdistill.losses.pkt import PKT
from kdistill.losses.regression import Regression
from kdistill.losses.rkd import RKD, RKDDistance
from kdistill.losses.similarity_preserving import SimilarityPreserving
from kdistill.losses.softmax_ranking import SoftmaxRanking
from kdistill.losses.triplet import TripletSemiHard
from kdistill.training import addons

_LOSSES: dict[str, type[DistillationLoss]] = {
    "softmax_ranking": SoftmaxRanking,
    "list_mle": ListMLE,
    "pairwise_logistic": PairwiseLogistic,
    "rkd_distance": RKDDistance,
    "gram": Gram,
    "regression": Regression,
    "rkd": RKD,
    "pkt": PKT,
    "similarity_preserving": SimilarityPreserving,
    "darkrank": DarkRank,
    "csd": CSD,
    "raml": RAML,
    "contrastive": Contrastive,
    "triplet_semihard": TripletSemiHard,
}


def names() -> tuple[str, ...]:
    """Returns the names of our losses: those of the joint space first, supervised references last."""
    return tuple(_LOSSES)


def get(name: str, **options: Any) -> keras.losses.Loss:
    """Returns the loss of that name.

    Args:
        name: one of `names()`, or "Addons>..." where tensorflow-addons imports.
        **options: of the loss.

    Raises:
        ArgumentError: an unknown name, or an option that the loss does not have or that is out of range.
    """
    if name.startswith(addons.PREFIX):
        return AddonsLoss(name, options)
    if name not in _LOSSES:
        raise ArgumentError(f"loss {name!r} is unknown; choose one of {', '.join(_LOSSES)}, or Addons>...")
    try:
        return _LOSSES[name](**options)
    except TypeError as error:
        raise ArgumentError(f"loss {name!r} does not take these options: {error}") from error
