"""The losses by name: what each needs and which options it takes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kdistill.errors import ArgumentError
from kdistill.facts.options import Option, Value

SIMILARITIES = ("cosine", "dot")
DARKRANK_FORMS = ("hard", "soft")
DARKRANK_MAX_SOFT_LENGTH = 6
"""The soft form walks through all orders of the list: 720 for six rows."""
ADDONS_PREFIX = "Addons>"
"""Names that start so belong to tensorflow-addons, losses and optimizers alike."""
ORDERS = "list_mle_of_orders"
"""The loss of a student that learns from orders instead of vectors; it cannot be chosen otherwise."""


@dataclasses.dataclass(frozen=True)
class LossFacts:
    """What is known about a loss without building it.

    Attributes:
        joint: ranks over the joint space: mixtures and the bank take part.
        banks: past rows of a bank take part, but no mixtures; False for joint losses, which have the bank anyway.
        needs_labels: learns from class labels int [B] instead of the teacher's vectors.
        needs_equal_dims: the student needs the teacher's dimension, or a projection to it.
        options: of its `__init__`, in their order.
    """

    joint: bool = False
    banks: bool = False
    needs_labels: bool = False
    needs_equal_dims: bool = False
    options: tuple[Option, ...] = ()


_TEACHER_TEMPERATURE = Option("teacher_temperature", 0.05, above=0)
_STUDENT_TEMPERATURE = Option("student_temperature", 0.05, above=0)
_SIMILARITY = Option("similarity", "cosine", choices=SIMILARITIES)
_NORMALISE = Option("normalise", True)

LOSSES: Mapping[str, LossFacts] = {
    "softmax_ranking": LossFacts(joint=True, options=(_TEACHER_TEMPERATURE, _STUDENT_TEMPERATURE, _SIMILARITY)),
    "list_mle": LossFacts(joint=True, options=(Option("top_k", 10, least=1), _STUDENT_TEMPERATURE, _SIMILARITY)),
    "pairwise_logistic": LossFacts(
        joint=True, options=(_STUDENT_TEMPERATURE, Option("offsets", 8, least=1, most=30), _SIMILARITY)
    ),
    "rkd_distance": LossFacts(joint=True, options=(_NORMALISE,)),
    "gram": LossFacts(joint=True, options=(_SIMILARITY,)),
    "regression": LossFacts(needs_equal_dims=True, options=(_NORMALISE,)),
    "rkd": LossFacts(
        options=(
            Option("distance_weight", 1.0, least=0),
            Option("angle_weight", 2.0, least=0),
            Option("max_rows", 64, least=3),
        )
    ),
    "pkt": LossFacts(),
    "similarity_preserving": LossFacts(),
    "darkrank": LossFacts(
        banks=True,
        options=(
            Option("alpha", 3.0, above=0),
            Option("beta", 3.0, least=1),
            Option("top_k", 4, least=2),
            Option("form", "hard", choices=DARKRANK_FORMS),
        ),
    ),
    "csd": LossFacts(
        banks=True,
        needs_equal_dims=True,
        options=(
            Option("top_k", 32, least=2),
            Option("teacher_temperature", 0.01, above=0),
            Option("student_temperature", 1.0, above=0),
        ),
    ),
    "seed": LossFacts(
        banks=True,
        needs_equal_dims=True,
        options=(Option("teacher_temperature", 0.01, above=0), Option("student_temperature", 0.2, above=0)),
    ),
    "raml": LossFacts(
        needs_equal_dims=True,
        options=(Option("cross_weight", 1.0, least=0), Option("self_weight", 1.0, least=0)),
    ),
    "contrastive": LossFacts(banks=True, needs_labels=True, options=(Option("margin", 0.7, above=0),)),
    "triplet_semihard": LossFacts(banks=True, needs_labels=True, options=(Option("margin", 0.2, above=0),)),
}
"""The losses that can be chosen: those of the joint space first, supervised references last."""

_OF_ORDERS = LossFacts(options=(Option("student_temperature", 0.1, above=0),))


def facts_of(name: str) -> LossFacts:
    """Returns what is known about a loss, `ORDERS` among them.

    Raises:
        ArgumentError: an unknown name. What tensorflow-addons has is known only where that package imports.
    """
    if name == ORDERS:
        return _OF_ORDERS
    if name not in LOSSES:
        raise ArgumentError(f"loss {name!r} is unknown; choose one of {', '.join(LOSSES)}, or {ADDONS_PREFIX}...")
    return LOSSES[name]


def checked_options(name: str, options: Mapping[str, Any]) -> dict[str, Value]:
    """Returns all options of a loss as plain values, those that are not given at their defaults.

    Raises:
        ArgumentError: an unknown loss, an option that it does not have, or one that is of another kind or out of range.
    """
    known = {option.name: option for option in facts_of(name).options}
    unknown = [given for given in options if given not in known]
    if unknown:
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        raise ArgumentError(f"loss {name!r} does not take these options: {', '.join(map(repr, unknown))}; {takes}")
    try:
        values = {key: option.checked(options.get(key, option.default)) for key, option in known.items()}
    except ArgumentError as error:
        raise ArgumentError(f"loss {name!r}: {error}") from None
    if name == "darkrank" and values["form"] == "soft" and int(values["top_k"]) > DARKRANK_MAX_SOFT_LENGTH:
        raise ArgumentError(
            f"loss 'darkrank': lists have at most {DARKRANK_MAX_SOFT_LENGTH} rows when soft; "
            f"top_k {values['top_k']} was given"
        )
    return values
