"""Preferences that cannot all be right: ties, contradictions and cycles, counted and settled before training."""

import dataclasses

import numpy as np

from kdistill.preferences.pairs import Preferences


@dataclasses.dataclass(frozen=True)
class Settled:
    """Preferences of which, for each query, none contradicts the others.

    Attributes:
        preferences: what is left to learn from: one answer a pair, its smaller position first.
        answers: answers that came in.
        both_ways: pairs that were asked in both orders.
        contradictions: of these, the pairs where each order preferred another image.
        ties: pairs with a probability of 0.5, contradictions among them.
        cyclic_queries: queries whose preferences ran in a circle.
        dropped: preferences left out so that no circle remains.
    """

    preferences: Preferences
    answers: int
    both_ways: int
    contradictions: int
    ties: int
    cyclic_queries: int
    dropped: int

    def counts(self) -> dict[str, int]:
        """Returns the numbers by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[1:]}


def settle(preferences: Preferences, *, tie_margin: float = 0.0) -> Settled:
    """Makes one consistent set of the answers. All of it is our reading.

    A pair that was asked both ways gets the mean of the two, p = (p_ab + 1 - p_ba) / 2; where each order preferred
    another image, the pair becomes a tie. A probability within `tie_margin` of 0.5 becomes 0.5: a tie stays, since it
    says that two images are equally good. What is left is a directed graph for each query; preferences that point
    backwards in the order of Eades, Lin and Smyth (1993) are left out, which are none where there is no circle.

    Args:
        preferences: answers, each question (query, first, second) once.
        tie_margin: 0 to 0.5.
    """
    swapped = preferences.first > preferences.second
    first = np.where(swapped, preferences.second, preferences.first)
    second = np.where(swapped, preferences.first, preferences.second)
    given = preferences.probability.astype(np.float64)
    probability = np.where(swapped, 1.0 - given, given)
    images = 1 + max((int(column.max()) for column in (first, second) if len(column)), default=0)
    numbers = (preferences.queries * images + first) * images + second
    numbers, pair_of, asked = np.unique(numbers, return_inverse=True, return_counts=True)
    pairs = np.stack([numbers // images**2, numbers // images % images, numbers % images], axis=1)
    mean = np.bincount(pair_of, probability, minlength=len(pairs)) / asked
    sign = np.where(np.abs(probability - 0.5) <= tie_margin, 0.0, np.sign(probability - 0.5))
    high, low = np.full(len(pairs), -1.0), np.full(len(pairs), 1.0)
    np.maximum.at(high, pair_of, sign)
    np.minimum.at(low, pair_of, sign)
    contradicted = (high > 0) & (low < 0)
    tied = contradicted | (np.abs(mean - 0.5) <= tie_margin)
    mean[tied] = 0.5

    kept = np.ones(len(pairs), bool)
    cyclic = 0
    for rows in _rows_of_queries(pairs[:, 0]):
        backward = rows[_backward(pairs[rows, 1], pairs[rows, 2], mean[rows] - 0.5)]
        kept[backward] = False
        cyclic += bool(len(backward))
    queries, first, second = pairs[kept].T
    settled = Preferences(
        queries,
        first,
        second,
        mean[kept].astype(np.float32),
        preferences.skipped,
        preferences.unasked,
        preferences.spent,
    )
    return Settled(
        settled,
        answers=len(given),
        both_ways=int((asked > 1).sum()),
        contradictions=int(contradicted.sum()),
        ties=int(tied.sum()),
        cyclic_queries=cyclic,
        dropped=int((~kept).sum()),
    )


def _rows_of_queries(queries: np.ndarray) -> list[np.ndarray]:
    """Returns the rows of each query; `queries` is sorted."""
    return np.split(np.arange(len(queries)), np.flatnonzero(np.diff(queries)) + 1) if len(queries) else []


def _backward(first: np.ndarray, second: np.ndarray, lead: np.ndarray) -> np.ndarray:
    """Returns bool [m]: preferences that point backwards in an order of the images that leaves few of them.

    Args:
        first, second: int [m], the images of each pair.
        lead: float [m], above 0 where the first is preferred, 0 for a tie.
    """
    images, nodes = np.unique(np.concatenate([first, second]), return_inverse=True)
    left, right = nodes.reshape(2, -1)
    strength = np.zeros((len(images), len(images)))  # of winner (row) over loser (column)
    strength[np.where(lead > 0, left, right), np.where(lead > 0, right, left)] = np.abs(lead)
    place = _feedback_order(strength)
    return lead * (place[right] - place[left]) < 0


def _feedback_order(strength: np.ndarray) -> np.ndarray:
    """Returns int64 [n], the place of each node: the heuristic of Eades, Lin and Smyth for weighted edges [n, n].

    Nodes that beat nobody go to the end, nodes that nobody beats to the front, and where there is neither, the node
    with the greatest excess of wins goes to the front. So a graph without circles gets a topological order.
    """
    edges = strength > 0
    wins, losses = edges.sum(axis=1), edges.sum(axis=0)
    excess = strength.sum(axis=1) - strength.sum(axis=0)
    alive = np.ones(len(strength), bool)
    place = np.empty(len(strength), np.int64)
    front, back = 0, len(strength) - 1
    while front <= back:
        sinks = np.flatnonzero(alive & (wins == 0))
        sources = np.flatnonzero(alive & (losses == 0))
        if len(sinks):
            node = int(sinks[-1])
            place[node], back = back, back - 1
        else:
            node = int(sources[0]) if len(sources) else int(np.where(alive, excess, -np.inf).argmax())
            place[node], front = front, front + 1
        alive[node] = False
        wins, losses = wins - edges[:, node], losses - edges[node]
        excess = excess - strength[:, node] + strength[node]
    return place
