"""What a student starts from: another student's weights, or the pool's principal directions."""

from collections.abc import Sequence

import keras
import numpy as np

from kdistill.errors import KdistillError, first_line
from kdistill.runtimes.keras_models.keras_files import load_keras_file


def initialise_projection(student: keras.Model, features: np.ndarray) -> None:
    """Sets the projection to the leading principal directions of the pool's pooled features.

    It costs no query and no label, and keeps most of what the backbone knows: a random projection would throw part of
    it away before the first step. Without centring, since a projection has no bias.

    Args:
        student: a student with a projection.
        features: float32 [n, C], L2-normalised pooled features of unlabelled images. When fewer directions than Ds
            are spanned, the rest keeps its random start.
    """
    projection = student.get_layer("projection")
    kernel = np.array(projection.get_weights()[0])
    # Double precision: the smallest directions of highly correlated features are noise in float32.
    _, _, directions = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    count = min(kernel.shape[1], len(directions))
    kernel[:, :count] = directions[:count].T
    projection.set_weights([kernel])


def start_as(student: keras.Model, path: str, trusted: Sequence[str] = ()) -> None:
    """Copies the weights of a distilled student, layer by layer; layers that it does not have keep their start.

    Args:
        student: the one that starts.
        path: a `.keras` file.
        trusted: packages besides Keras whose classes it may be made of.

    Raises:
        KdistillError: the file cannot be read or belongs to another network.
    """
    try:
        source = {layer.name: layer.get_weights() for layer in load_keras_file(path, trusted).layers}
    except Exception as error:
        reason = first_line(error)
        raise KdistillError(f"student weights {path!r} are no readable student: {reason}") from error
    for layer in student.layers:
        own, given = (
            [weight.shape for weight in weights] for weights in (layer.get_weights(), source.get(layer.name) or [])
        )
        if own and layer.name != "hash" and own != given:
            raise KdistillError(f"student weights {path!r} are of another network: the layer {layer.name!r} differs")
        if own and own == given:
            layer.set_weights(source[layer.name])
