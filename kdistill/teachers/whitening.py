"""PCA whitening of teacher vectors, fitted on nothing but the vectors that were paid for."""

import dataclasses

import numpy as np

from kdistill.errors import ArgumentError, KdistillError


@dataclasses.dataclass(frozen=True)
class Whitening:
    """An affine map to decorrelated axes of unit variance (Jégou & Chum, ECCV 2012, section 3.2).

    Attributes:
        mean: float32 [Dt].
        projection: float32 [Dt, D]; columns by falling variance.
    """

    mean: np.ndarray
    projection: np.ndarray

    def transform(self, vectors: np.ndarray, *, normalize: bool = True) -> np.ndarray:
        """Returns float32 [n, D] from float [n, Dt]; with `normalize` each row has length 1 (or 0 at the mean)."""
        whitened = (np.asarray(vectors, np.float32) - self.mean) @ self.projection
        if normalize:
            whitened /= np.maximum(np.linalg.norm(whitened, axis=1, keepdims=True), np.float32(1e-12))
        return whitened


def fit_whitening(vectors: np.ndarray, *, dimension: int | None = None, shrinkage: float | None = None) -> Whitening:
    """Fits a whitening to n vectors.

    With few vectors the small variances are badly known and whitening blows their noise up; with no more vectors than
    dimensions it would put them at the corners of a simplex, every cosine -1/(n-1), which says nothing. Shrinkage moves
    each variance v towards their mean m, (1 - shrinkage) v + shrinkage m; by default as far as Ledoit & Wolf (2004)
    find best for these vectors, which becomes nothing as n grows. 1 only centres and rotates. Axes without any variance
    are dropped when nothing is shrunk.

    Args:
        vectors: float [n, Dt], the answers that were paid for.
        dimension: D, the axes to keep; None for all that the vectors determine.
        shrinkage: 0 to 1; None for that of `best_shrinkage`.

    Raises:
        ArgumentError: a shrinkage outside 0..1, more axes than the vectors determine, or, unshrunk, so many that the
            vectors would all become equally far from each other.
        KdistillError: fewer than two distinct vectors.
    """
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ArgumentError(f"the shrinkage of the whitening is {shrinkage}; it must lie in 0..1")
    centred = np.asarray(vectors, np.float64)
    mean = centred.mean(axis=0)
    centred = centred - mean
    chosen = best_shrinkage(centred) if shrinkage is None else shrinkage
    variances, axes = np.linalg.eigh(centred.T @ centred / max(1, len(centred) - 1))
    variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
    if variances[0] == 0:
        raise KdistillError("whitening needs at least two distinct teacher vectors")
    shrunk = (1 - chosen) * variances + chosen * variances.mean()
    determined = int((shrunk > 1e-9 * shrunk[0]).sum())
    kept = determined if dimension is None else dimension
    if not 1 <= kept <= determined:
        raise ArgumentError(
            f"whitening to {kept} dimensions was asked for, but {len(centred)} teacher vectors determine {determined}"
        )
    if shrinkage == 0 and kept >= len(centred) - 1:
        raise ArgumentError(
            f"whitening {len(centred)} vectors to {kept} dimensions without shrinkage makes all equally far from "
            "each other: leave the shrinkage to the library, or keep fewer dimensions"
        )
    # The sign of an axis is arbitrary: its largest component is made positive, so that refitting gives the same map.
    axes = axes[:, :kept] * np.sign(axes[np.abs(axes[:, :kept]).argmax(axis=0), np.arange(kept)])
    return Whitening(mean.astype(np.float32), (axes / np.sqrt(shrunk[:kept])).astype(np.float32))


def best_shrinkage(centred: np.ndarray) -> float:
    """Returns 0 to 1: how far a covariance is best moved towards a multiple of the identity.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (J. Multivariate Analysis
    88, 2004), lemma 3.4: min(b, d) / d, where d = |S - m I|^2 is how far S is from the target and b the mean squared
    error of S, estimated from the scatter of the single outer products.

    Args:
        centred: float64 [n, D], of mean 0.
    """
    n, dimension = centred.shape
    covariance = centred.T @ centred / n
    norm = (covariance**2).sum()
    distance = norm - np.trace(covariance) ** 2 / dimension
    error = (((centred**2).sum(axis=1) ** 2).sum() / n - norm) / n
    return float(min(max(error, 0.0), distance) / distance) if distance > 1e-12 * norm else 0.0
