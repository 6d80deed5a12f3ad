"""Settings of the space that the student embeds into."""

import dataclasses
from typing import Literal

from kdistill.settings.setting import setting


@dataclasses.dataclass(frozen=True)
class SpaceSettings:
    """Whose space it is, and which of the teacher's vectors are there already."""

    space: Literal["own", "teacher"] = setting(
        "own",
        "The space that the student embeds into: own, or teacher (its queries search the teacher's vectors; of a "
        "teacher with more dimensions than --embedding_dim these are cut by one orthogonal projection).",
    )
    gallery_vectors: str | None = setting(
        None,
        "Table of the teacher's vectors that are there already (.npz, .npy, .parquet, as for --teacher): of photos at "
        "hand they are answers at no question, of all others what --space=teacher ranks against and searches.",
    )
    pointwise_weight: float = setting(
        1.0,
        "teacher: weight of the distance between the student's vector and the teacher's, beside the ranking.",
        low=0,
        high=1e6,
    )
    query_turn: float = setting(
        0.25,
        "teacher: power by which queries are turned against the directions that all known vectors share, in the "
        "student's last layer; 0 leaves them as they were trained.",
        low=0,
        high=2,
    )
    own_weight: float = setting(
        0.0, "teacher: weight of the ranking among the student's own vectors, for a search of these.", low=0, high=1e6
    )
