"""Which pairs of candidates to ask about: samplers by rank.

Source: Wu et al., "Harnessing Pairwise Ranking Prompting Through Sample-Efficient Ranking Distillation" (arXiv
2507.04820), for the idea and the names RR, RRSum and RRDiff. The formulas below are our reading of these names.
"""

import numpy as np

from kdistill.errors import ArgumentError

PAIR_SAMPLERS = ("uniform", "rr", "rr_sum", "rr_diff")


def pair_weights(sampler: str, count: int) -> np.ndarray:
    """Returns how much each pair of ranks is wanted, float64 [count, count], symmetric, 0 on the diagonal.

    With ranks r from 1 (the candidate that the student itself puts first):

        uniform  1        rr  1/r_i · 1/r_j        rr_sum  1/r_i + 1/r_j        rr_diff  |1/r_i - 1/r_j|

    Raises:
        ArgumentError: an unknown sampler, or fewer than two candidates.
    """
    if sampler not in PAIR_SAMPLERS:
        raise ArgumentError(f"pair sampler {sampler!r} is unknown; choose one of {', '.join(PAIR_SAMPLERS)}")
    if count < 2:
        raise ArgumentError(f"pairs need at least 2 candidates for a query; there are {count}")
    reciprocal = 1.0 / np.arange(1, count + 1)
    mine, other = reciprocal[:, None], reciprocal[None, :]
    weights = {
        "uniform": np.ones((count, count)),
        "rr": mine * other,
        "rr_sum": mine + other,
        "rr_diff": np.abs(mine - other),
    }[sampler]
    return weights * (1.0 - np.eye(count))


def sample_pairs(sampler: str, count: int, pairs: int, *, queries: int, seed: int = 0) -> np.ndarray:
    """Draws pairs of ranks for each query, without repetition, each draw in proportion to the weights of what is left.

    Which of the two comes first in the question is drawn too, since teachers may favour a place.

    Args:
        sampler: one of PAIR_SAMPLERS.
        count: candidates of a query.
        pairs: to draw for each query, 1 to count·(count-1)/2.
        queries: how many queries.
        seed: of the draws; one sampler's choice of fewer pairs is a prefix of its choice of more.

    Returns:
        int64 [queries, pairs, 2], ranks from 0 of the first and the second candidate.

    Raises:
        ArgumentError: an unknown sampler, or a number of pairs that does not exist.
    """
    first, second = np.triu_indices(count, 1)
    weights = pair_weights(sampler, count)[first, second]
    if not 1 <= pairs <= len(weights):
        raise ArgumentError(f"{pairs} pairs were to be drawn of the {len(weights)} that {count} candidates make")
    random = np.random.default_rng(seed)
    # The largest of log-weights plus Gumbel noise are draws without replacement (Efraimidis & Spirakis 2006).
    keys = np.log(weights) + random.gumbel(size=(queries, len(weights)))
    drawn = np.argsort(-keys, axis=1, kind="stable")[:, :pairs]
    swapped = random.random((queries, len(weights)))[:, :pairs] < 0.5
    chosen = np.stack([first[drawn], second[drawn]], axis=-1)
    return np.where(swapped[..., None], chosen[..., ::-1], chosen)
