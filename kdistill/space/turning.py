"""What a student's queries are turned by before they search the teacher's gallery: against what all vectors share.

A map that is learned from few answers says little about a photo that it has not seen, and where it is not sure it
answers with what all of the teacher's vectors have in common: their mean, and the few directions in which they vary
most. Cosines with such a query are highest for the rows that lie there, whatever the photo shows (hubs: Radovanovic et
al., JMLR 2010). The gallery is as it is, but a query may be anything: weighing each direction by what the known vectors
have of it in all takes that back. Such a weighing is known as whitening (Jégou & Chum, ECCV 2012), of both sides; here
it is a matrix on the query's side alone, a part of the student's last layer. Ours.
"""

import keras
import numpy as np

from kdistill.errors import KdistillError

_SHARE = 0.3
"""Of the mean variance, added to that of each direction: what few vectors say of the small ones is noise."""
_BLOCK = 8192


def query_turn(known: np.ndarray, power: float) -> np.ndarray:
    """Returns float32 [D, D], (S / m + share · I)^(-power), S the second moment of the known vectors, m its mean.

    Args:
        known: float [K, D], rows of unit length.
        power: 0 for the identity; at 0.5 the known vectors have about as much of each direction as of every other.

    Raises:
        KdistillError: not one vector.
    """
    if not len(known):
        raise KdistillError("how queries are turned is found from known vectors, and there is none")
    moment = np.zeros((known.shape[1], known.shape[1]))
    for first in range(0, len(known), _BLOCK):
        rows = np.asarray(known[first : first + _BLOCK], np.float64)
        moment += rows.T @ rows
    values, axes = np.linalg.eigh(moment / len(known))
    weights = (np.maximum(values, 0) / values.mean() + _SHARE) ** -power
    return np.asarray((axes * weights) @ axes.T, np.float32)


def turn_queries(student: keras.Model, turn: np.ndarray) -> None:
    """Multiplies a student's last layer by a matrix [D, D]; it embeds as before, each vector times the matrix."""
    projection = student.get_layer("projection")
    (kernel,) = projection.get_weights()
    projection.set_weights([kernel @ turn])
