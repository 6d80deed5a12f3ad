"""Which images to ask about: strategies that look at images only, never at labels or teacher answers."""

import numpy as np

from kdistill.errors import ArgumentError, KdistillError

STRATEGIES = ("random", "k-center", "k-means++", "density")

_NEIGHBOURS = 20  # neighbours that density is measured over, as in TypiClust
_CLUSTER_DIMENSIONS = 128  # that clusters are found in, where features have more
_BLOCK = 4096  # rows that are compared at a time


def select(
    strategy: str, count: int, *, n: int | None = None, features: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Chooses `count` of n images; equal arguments, equal choice.

    Args:
        strategy: one of STRATEGIES.
            random: uniformly, without repetition; the control.
            k-center: farthest first (Gonzalez 1985): each next image is the one farthest from all chosen so far.
            k-means++: clusters (k-means++ seeding, mini-batch k-means), from each the image nearest to its centre.
            density: the same clusters, from each the image in the densest place (TypiClust, Hacohen et al.,
                ICML 2022): the smallest mean distance to its 20 nearest neighbours in the cluster.
        count: images to choose, 1 to n.
        n: images to choose from; None for the number of features.
        features: float32 [n, D], for all but "random": the student's own embeddings, say.
        seed: of whatever is random.

    Returns:
        int64 [count], distinct, in the order of choice: random and k-center choices of a smaller count are prefixes
        of those of a larger one; clusters come by falling size.

    Raises:
        ArgumentError: unknown strategy, count out of range, features missing.
        KdistillError: features of another length, or not finite.
    """
    if strategy not in STRATEGIES:
        raise ArgumentError(f"unknown selection {strategy!r}; known: {', '.join(STRATEGIES)}")
    if n is None:
        if features is None:
            raise ArgumentError("the number of images to choose from is not given")
        n = len(features)
    if not 1 <= count <= n:
        raise ArgumentError(f"{count} images were to be chosen from {n}")
    random = np.random.default_rng(seed)
    if strategy == "random":
        return random.permutation(n)[:count].astype(np.int64)
    if features is None:
        raise ArgumentError(f"the selection {strategy!r} needs features of the images")
    features = np.ascontiguousarray(features, np.float32)
    if features.ndim != 2 or len(features) != n:
        raise KdistillError(f"{n} images came with features of shape {list(features.shape)}")
    if not np.isfinite(features).all():
        raise KdistillError("the features to select by are not finite")
    if strategy == "k-center":
        return _farthest_first(features, count, int(random.integers(n)))
    return _cluster_representatives(features, count, seed, densest=strategy == "density")


def _farthest_first(features: np.ndarray, count: int, first: int) -> np.ndarray:
    """Returns int64 [count].

    The distance of an image to the chosen set only falls as the set grows, so an old value is an upper bound:
    only images whose bound could be the maximum are compared with the centres that they have not seen yet, many at
    a time. The choice is that of the plain algorithm, which would read all features once for each centre.
    """
    squares = np.einsum("nd,nd->n", features, features)
    bound = np.full(len(features), np.inf, np.float32)  # squared distance to the centres seen so far
    seen = np.zeros(len(features), np.int64)
    chosen = np.empty(count, np.int64)
    chosen[0] = first
    bound[first] = -np.inf
    for size in range(1, count):
        while True:
            farthest = int(bound.argmax())
            if seen[farthest] == size:
                break
            if size == 1:
                stale = np.flatnonzero(seen < size)
            else:
                top = np.argpartition(bound, -min(_BLOCK // 8, len(bound)))[-min(_BLOCK // 8, len(bound)) :]
                stale = top[seen[top] < size]
            for start in range(0, len(stale), _BLOCK):
                rows = stale[start : start + _BLOCK]
                centres = chosen[int(seen[rows].min()) : size]
                products = features[rows] @ features[centres].T
                distances = squares[rows, None] + squares[centres] - 2 * products
                bound[rows] = np.minimum(bound[rows], np.maximum(distances, 0).min(axis=1))
                seen[rows] = size
        chosen[size] = farthest
        bound[farthest] = -np.inf
    return chosen


def _cluster_representatives(features: np.ndarray, count: int, seed: int, *, densest: bool) -> np.ndarray:
    """Returns int64 [count]: one image of each cluster, the largest cluster first."""
    from sklearn.cluster import MiniBatchKMeans  # here, so that asking does not wait for its import

    projected = features
    if features.shape[1] > _CLUSTER_DIMENSIONS:
        # Random projection keeps distances (Johnson & Lindenstrauss 1984), which is all that clustering looks at.
        shape = (features.shape[1], _CLUSTER_DIMENSIONS)
        projected = features @ np.random.default_rng(seed).standard_normal(shape, np.float32)
    clustering = MiniBatchKMeans(
        n_clusters=count,
        batch_size=_BLOCK,
        max_iter=10,
        n_init=1,
        init_size=max(_BLOCK, 3 * count),
        # scikit-learn takes seeds of 32 bits.
        random_state=seed if seed < 2**32 else int(np.random.default_rng(seed).integers(2**32)),
    )
    labels = clustering.fit_predict(projected)
    order = np.argsort(labels, kind="stable")
    clusters = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    clusters.sort(key=lambda members: (-len(members), members[0]))
    chosen = []
    for members in clusters:
        rows = features[members]
        score = _mean_neighbour_distance(rows) if densest else np.linalg.norm(rows - rows.mean(axis=0), axis=1)
        chosen.append(int(members[score.argmin()]))
    # Fewer clusters than asked for, where images repeat: the rest is drawn from what is left.
    left = np.setdiff1d(np.arange(len(features)), chosen)
    chosen += np.random.default_rng(seed).permutation(left)[: count - len(chosen)].tolist()
    return np.asarray(chosen, np.int64)


def _mean_neighbour_distance(rows: np.ndarray) -> np.ndarray:
    """Returns float32 [m]: of each row, the mean distance to its nearest others, 20 at most."""
    neighbours = min(_NEIGHBOURS, len(rows) - 1)
    if neighbours == 0:
        return np.zeros(1, np.float32)
    squares = np.einsum("nd,nd->n", rows, rows)
    means = np.empty(len(rows), np.float32)
    step = max(1, (1 << 24) // len(rows))  # so many rows at a time that their distances take 64 MiB
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        distances = np.sqrt(np.maximum(squares[block, None] + squares - 2 * rows[block] @ rows.T, 0))
        distances[np.arange(len(distances)), np.arange(start, start + len(distances))] = np.inf
        means[block] = np.partition(distances, neighbours - 1, axis=1)[:, :neighbours].mean(axis=1)
    return means
