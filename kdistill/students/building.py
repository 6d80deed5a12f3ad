"""Building a student: a backbone, a pooling, a projection, an L2-normalised embedding."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdistill.errors import ArgumentError
from kdistill.facts.brought import is_brought, packages_of
from kdistill.facts.students import POOLINGS, check_pooling, check_size, check_width, facts_of
from kdistill.layers.gem import GeM
from kdistill.layers.hash_head import HashHead
from kdistill.students.backbones import features_of
from kdistill.students.brought import open_brought
from kdistill.students.pixels import scale_of, scale_pixels
from kdistill.students.weights import start_as


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
    scaling: str = "auto",
    trusted: Sequence[str] = (),
    prefix: str = "",
) -> keras.Model:
    """Builds a student whose exported form needs nothing around it: pixels in, embedding out.

    The input `image` is uint8 [batch, image_size, image_size, 3] RGB; the scaling that the backbone takes is inside.
    The output `embedding` is float32 [batch, Ds] with L2 norm 1.

    Args:
        backbone: one of `kdistill.facts.students.BACKBONES`, a network of `keras.applications` by its name there, or
            one that a user brings, see `kdistill.students.brought.open_brought`.
        alpha: width multiplier; 1 for resnet50_v2, which has one width, and with "imagenet" one that has such weights.
        image_size: side of the square input in pixels: any from 8 on for small_cnn, from 32, 71 or 75 on for those
            of `keras.applications`.
        embedding_dim: Ds; None leaves out the projection, so that the pooled features are the embedding.
        pooling: "avg", or "gem" (generalised mean, Radenovic et al. 2018, with a learned exponent) of a map; "avg" or
            "cls" (the first one) of tokens. A network that gives a vector takes "avg", which leaves it as it is.
        weights: a `.weights.h5` file of the backbone without its top, "imagenet" (downloaded by Keras), a `.keras` file
            of a distilled student (every layer of the same name starts as there), or None for a random start.
        batch_size: a fixed batch (1 for the edge), or None.
        hash_bits: K, for a `HashHead` behind the projection (or the pooled features): Ds is K then, and the signs of
            the embedding are the binary code. None for none.
        scaling: of the pixels of a network that a user brings, see `open_brought`.
        trusted: packages besides Keras whose classes such a network, or a student in `weights`, may be made of.
        prefix: of the settings that errors about such a network name: "" for a student, "assistant_".

    Raises:
        ArgumentError: an unknown backbone or pooling, or a size, width or weights that the backbone does not have.
        KdistillError: a weights file that is missing or belongs to another network; a network that cannot be opened.
    """
    if keras.backend.image_data_format() != "channels_last":
        given = keras.backend.image_data_format()
        raise ArgumentError(f"Keras's image_data_format is {given!r}; students are built for 'channels_last'")
    if pooling not in POOLINGS:
        raise ArgumentError(f"pooling {pooling!r} is unknown; choose one of {', '.join(POOLINGS)}")
    weights = weights or None
    check_size(backbone, image_size)
    check_width(backbone, alpha, weights)
    check_pooling(backbone, pooling)
    if embedding_dim is not None and embedding_dim < 2:
        raise ArgumentError(f"an embedding of {embedding_dim} dimensions was asked for; it takes at least 2")
    image = keras.Input((image_size, image_size, 3), batch_size=batch_size, dtype="uint8", name="image")
    distilled = weights is not None and weights.endswith(".keras")
    if is_brought(backbone):
        features = _features_of_brought(backbone, image, scaling, trusted, prefix)
    else:
        scaled = scale_pixels(scale_of(facts_of(backbone).scaling), image)
        features = features_of(backbone, scaled, alpha, None if distilled else weights)
    pooled = _pooled(features, pooling, backbone)
    if embedding_dim is not None:
        pooled = keras.layers.Dense(embedding_dim, use_bias=False, name="projection")(pooled)
    if hash_bits is not None:
        pooled = HashHead(hash_bits, name="hash")(pooled)
    # The norm is taken in float32 whatever the policy: the square of a float16 overflows at 256.
    embedding = keras.layers.UnitNormalization(name="embedding", dtype="float32")(pooled)
    student = keras.Model(image, embedding, name="student" if is_brought(backbone) else f"student_{backbone}")
    if distilled:
        start_as(student, str(weights), (*trusted, *packages_of(backbone)))
    return student


def pooled_features(student: keras.Model) -> keras.Model:
    """Returns the part of the student up to its pooling, L2-normalised: the embedding before any distillation.

    It shares its weights with the student.
    """
    pooled = student.get_layer("pool").output
    return keras.Model(student.input, keras.layers.UnitNormalization(dtype="float32")(pooled), name="pooled_features")


def _features_of_brought(backbone: str, image: Any, scaling: str, trusted: Sequence[str], prefix: str) -> Any:
    brought = open_brought(backbone, int(image.shape[1]), scaling, trusted, prefix)
    if tf.as_dtype(brought.network.inputs[0].dtype).is_integer:
        return brought.network(image)
    return brought.network(scale_pixels(brought.scale, image))


def _pooled(features: Any, pooling: str, backbone: str) -> Any:
    """Returns one vector an image, from a layer called "pool"."""
    rank = len(features.shape)
    if rank == 4 and pooling != "cls":
        pool = keras.layers.GlobalAveragePooling2D(name="pool") if pooling == "avg" else GeM(name="pool")
        return pool(features)
    if rank == 3 and pooling == "avg":
        return keras.layers.GlobalAveragePooling1D(name="pool")(features)
    if rank == 3 and pooling == "cls" and features.shape[1] is not None:
        first = keras.layers.Cropping1D((0, int(features.shape[1]) - 1), name="first_token")(features)
        return keras.layers.Flatten(name="pool")(first)
    if rank == 2 and pooling == "avg":
        return keras.layers.Activation("linear", name="pool")(features)
    given = {2: "a vector, which takes avg", 3: "tokens, which take avg or cls", 4: "a map, which takes avg or gem"}
    raise ArgumentError(f"pooling {pooling!r} does not suit {backbone}: it gives {given[rank]}")
