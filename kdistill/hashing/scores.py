"""Retrieval quality of binary codes, with both answers to the question of ties."""

import numpy as np

from kdistill.errors import KdistillError
from kdistill.evaluation import measures
from kdistill.evaluation.scores import RetrievalScores
from kdistill.hashing.asymmetric import asymmetric_scores
from kdistill.hashing.hamming import check_codes, hamming_distances


def evaluate_codes(codes: np.ndarray, labels: np.ndarray, *, queries: np.ndarray | None = None) -> RetrievalScores:
    """Takes each code in turn as the query and all other rows as its gallery, ranked by Hamming distance.

    With `queries` the gallery is the same, and each row searches by its embedding (`asymmetric_scores`).

    Codes of 64 bits have 65 distances, so most rows stand in ties. `map` breaks them by the lower row, as every ranking
    of this library does; it then depends on the order of the gallery. `map_expected` is the mean over all orders of the
    tied rows (McSherry & Najork, "Computing Information Retrieval Performance Measures Efficiently in the Presence of
    Tied Scores", ECIR 2008) and depends on the codes alone.

    Args:
        codes: uint8 [n, K / 8].
        labels: int [n].
        queries: float [n, K], the embeddings of the same rows, to search by them; None to search by the codes.

    Returns:
        scores with `map`, `map_expected`, `recall_at_1` and `map_at_r`. Rows alone in their class are no queries.

    Raises:
        KdistillError: shapes do not fit, or no row has a positive.
    """
    check_codes(codes, codes)
    labels = np.asarray(labels)
    if len(labels) != len(codes):
        raise KdistillError(f"{len(codes)} codes were given with {len(labels)} labels")
    if queries is not None and len(queries) != len(codes):
        raise KdistillError(f"{len(codes)} codes were given with {len(queries)} queries")
    sums, counted = np.zeros(4), 0
    for query in range(len(codes)):
        others = np.delete(np.arange(len(codes)), query)
        right = labels[others] == labels[query]
        if not right.any():
            continue
        counted += 1
        if queries is None:
            distances = hamming_distances(codes[query], codes)[others]
        else:
            # Equal scores are equal codes, so that the places of the different scores serve as distances.
            _, distances = np.unique(-asymmetric_scores(queries[query], codes)[others], return_inverse=True)
        ranks = np.flatnonzero(right[np.argsort(distances, kind="stable")])
        sums += (
            measures.average_precision(ranks),
            expected_average_precision(np.bincount(distances), np.bincount(distances[right])),
            measures.recall_at(ranks, 1),
            measures.map_at_r(ranks),
        )
    if not counted:
        raise KdistillError("no query shares its label with another image, so there is nothing to evaluate")
    means = (sums / counted).tolist()
    return RetrievalScores(
        means[0], counted, dict(zip(("map_expected", "recall_at_1", "map_at_r"), means[1:], strict=True))
    )


def expected_average_precision(rows: np.ndarray, positives: np.ndarray) -> float:
    """Returns the mean, over all orders of tied rows, of the average precision.

    In a group of n tied rows with r positives, behind N rows with R positives, place t holds a positive with
    probability r / n, and then (t - 1)(r - 1) / (n - 1) of the t - 1 before it are expected to be positives too.

    Args:
        rows: int [D], how many rows stand in each group of ties, best group first; groups may be empty.
        positives: int, at most [D], how many of them are positives; at least one in all.
    """
    total, found, passed = 0.0, 0, 0
    for count, right in zip(rows[: len(positives)].tolist(), positives.tolist(), strict=True):
        if right:
            before = np.arange(count)
            inside = before * ((right - 1) / max(1, count - 1))
            total += right / count * float(np.sum((found + 1 + inside) / (passed + 1 + before)))
        found, passed = found + right, passed + count
    return total / found
