"""From a name on the command line to a loss."""

from typing import Any

import keras

from kdistill.errors import ArgumentError
from kdistill.facts.losses import ADDONS_PREFIX, LOSSES, checked_options
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
from kdistill.losses.seed import SEED
from kdistill.losses.similarity_preserving import SimilarityPreserving
from kdistill.losses.softmax_ranking import SoftmaxRanking
from kdistill.losses.triplet import TripletSemiHard

_CLASSES: tuple[type[DistillationLoss], ...] = (
    SoftmaxRanking,
    ListMLE,
    PairwiseLogistic,
    RKDDistance,
    Gram,
    Regression,
    RKD,
    PKT,
    SimilarityPreserving,
    DarkRank,
    CSD,
    SEED,
    RAML,
    Contrastive,
    TripletSemiHard,
)
_LOSSES: dict[str, Any] = {kind.known_as: kind for kind in _CLASSES}


def names() -> tuple[str, ...]:
    """Returns the names of our losses: those of the joint space first, supervised references last."""
    return tuple(LOSSES)


def get(name: str, **options: Any) -> keras.losses.Loss:
    """Returns the loss of that name.

    Args:
        name: one of `names()`, or "Addons>..." where tensorflow-addons imports.
        **options: of the loss.

    Raises:
        ArgumentError: an unknown name, or an option that the loss does not have or that is out of range.
    """
    if name.startswith(ADDONS_PREFIX):
        return AddonsLoss(name, options)
    values = checked_options(name, options)
    if name not in _LOSSES:
        raise ArgumentError(f"loss {name!r} learns from orders alone and is not chosen by name")
    return _LOSSES[name](**values)
