"""Students: a backbone, a pooling, a projection, an L2-normalised embedding, as one plain Functional model."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from kdistill.errors import ArgumentError, KdistillError
from kdistill.layers.gem import GeM
from kdistill.layers.hash_head import HashHead
from kdistill.runtimes.keras_files import check_weights_file, load_keras_file
from kdistill.students.rebuilding import at_batch, at_size, embedding_dim, image_size, in_float32

__all__ = [
    "BACKBONES",
    "POOLINGS",
    "at_batch",
    "at_size",
    "build",
    "embedding_dim",
    "image_size",
    "in_float32",
    "initialise_projection",
    "pooled_features",
]

BACKBONES = ("small_cnn", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "resnet50_v2")
POOLINGS = ("avg", "gem")


def build(
    backbone: str = "mobilenet_v2",
    *,
    alpha: float = 1.0,
    image_size: int = 96,
    embedding_dim: int | None = 128,
    pooling: str = "avg",
    weights: str | None = None,
    batch_size: int | None = None,
    hash_bits: int | None = None,
) -> keras.Model:
    """Builds a student whose exported form needs nothing around it: pixels in, embedding out.

    The input `image` is uint8 [batch, image_size, image_size, 3] RGB; rescaling to [-1, 1] is inside. The output
    `embedding` is float32 [batch, Ds] with L2 norm 1.

    Args:
        backbone: one of BACKBONES.
        alpha: width multiplier (ignored by resnet50_v2).
        image_size: side of the square input in pixels, a multiple of 8 for small_cnn and of 32 for the others.
        embedding_dim: Ds; None leaves out the projection, so that the pooled features are the embedding.
        pooling: "avg", or "gem" (generalised mean, Radenovic et al. 2018, with a learned exponent).
        weights: a `.weights.h5` file of the backbone without its top, "imagenet" (downloaded by Keras), a `.keras` file
            of a distilled student (every layer of the same name starts as there), or None for a random start.
        batch_size: a fixed batch (1 for the edge), or None.
        hash_bits: K, for a `HashHead` behind the projection (or the pooled features): Ds is K then, and the signs of
            the embedding are the binary code. None for none.

    Raises:
        ArgumentError: an unknown backbone or pooling, or a size that the backbone cannot take.
        KdistillError: a weights file that is missing or belongs to another network.
    """
    if keras.backend.image_data_format() != "channels_last":
        raise ArgumentError(
            f"Keras's image_data_format is {keras.backend.image_data_format()!r}; students take 'channels_last'"
        )
    if pooling not in POOLINGS:
        raise ArgumentError(f"pooling {pooling!r} is unknown; choose one of {', '.join(POOLINGS)}")
    stride = 8 if backbone == "small_cnn" else 32
    if image_size < stride or image_size % stride:
        raise ArgumentError(f"image size {image_size} does not suit {backbone}: it takes multiples of {stride}")
    if embedding_dim is not None and embedding_dim < 2:
        raise ArgumentError(f"an embedding of {embedding_dim} dimensions was asked for; it takes at least 2")
    image = keras.Input((image_size, image_size, 3), batch_size=batch_size, dtype="uint8", name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(image)
    distilled = weights is not None and weights.endswith(".keras")
    features = _features(backbone, scaled, alpha, None if distilled else weights)
    pool = keras.layers.GlobalAveragePooling2D(name="pool") if pooling == "avg" else GeM(name="pool")
    pooled = pool(features)
    if embedding_dim is not None:
        pooled = keras.layers.Dense(embedding_dim, use_bias=False, name="projection")(pooled)
    if hash_bits is not None:
        pooled = HashHead(hash_bits, name="hash")(pooled)
    # The norm is taken in float32 whatever the policy: the square of a float16 overflows at 256.
    embedding = keras.layers.UnitNormalization(name="embedding", dtype="float32")(pooled)
    student = keras.Model(image, embedding, name=f"student_{backbone}")
    if distilled:
        _start_as(student, str(weights))
    return student


def pooled_features(student: keras.Model) -> keras.Model:
    """Returns the part of the student up to its pooling, L2-normalised: the embedding before any distillation.

    It shares its weights with the student.
    """
    pooled = student.get_layer("pool").output
    return keras.Model(student.input, keras.layers.UnitNormalization(dtype="float32")(pooled), name="pooled_features")


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


def _features(backbone: str, scaled: Any, alpha: float, weights: str | None) -> Any:
    if backbone == "small_cnn":
        if weights is not None:
            raise ArgumentError("small_cnn has no published weights; leave the student's weights empty")
        return _small_cnn(scaled, alpha)
    applications = {
        "mobilenet_v1": lambda **options: keras.applications.MobileNet(alpha=alpha, **options),
        "mobilenet_v2": lambda **options: keras.applications.MobileNetV2(alpha=alpha, **options),
        "mobilenet_v3_small": lambda **options: keras.applications.MobileNetV3Small(
            alpha=alpha, include_preprocessing=False, **options
        ),
        "resnet50_v2": keras.applications.ResNet50V2,
    }
    if backbone not in applications:
        raise ArgumentError(f"backbone {backbone!r} is unknown; choose one of {', '.join(BACKBONES)}")
    create = applications[backbone]
    if weights == "imagenet":
        return create(include_top=False, weights="imagenet", input_tensor=scaled).output
    # The network is built into the student's own graph, flat, so that converters and pruning see every layer.
    network = create(include_top=False, weights=None, input_tensor=scaled)
    if weights is not None:
        network.set_weights(_weights_from_file(create, tuple(scaled.shape[1:]), backbone, weights))
    return network.output


def _weights_from_file(create: Any, shape: tuple[int, ...], backbone: str, path: str) -> list[np.ndarray]:
    if not Path(path).is_file():
        raise KdistillError(f"student weights {path!r} do not exist; give a .weights.h5 file or imagenet")
    # Loaded into a network of its own: names inside the file are those of the backbone alone.
    source = create(include_top=False, weights=None, input_shape=shape)
    try:
        check_weights_file(path)
        source.load_weights(path)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise KdistillError(f"student weights {path!r} do not fit {backbone} of this width: {reason}") from error
    return list(source.get_weights())


def _start_as(student: keras.Model, path: str) -> None:
    """Copies the weights of a distilled student, layer by layer; layers that it does not have keep their start."""
    try:
        source = {layer.name: layer.get_weights() for layer in load_keras_file(path).layers}
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise KdistillError(f"student weights {path!r} are no readable student: {reason}") from error
    for layer in student.layers:
        own, given = (
            [weight.shape for weight in weights] for weights in (layer.get_weights(), source.get(layer.name) or [])
        )
        if own and layer.name != "hash" and own != given:
            raise KdistillError(f"student weights {path!r} are of another network: the layer {layer.name!r} differs")
        if own and own == given:
            layer.set_weights(source[layer.name])


def _small_cnn(scaled: Any, alpha: float) -> Any:
    """Three strided convolutions: enough for scanned digits, small enough for a test."""
    features = scaled
    for stage, channels in enumerate((16, 32, 64)):
        filters = max(4, round(channels * alpha))
        features = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"conv_{stage}")(
            features
        )
        features = keras.layers.BatchNormalization(momentum=0.9, name=f"norm_{stage}")(features)
        features = keras.layers.ReLU(name=f"relu_{stage}")(features)
    return features
