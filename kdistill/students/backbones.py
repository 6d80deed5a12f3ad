"""Backbones by name: from scaled pixels to a feature map, random, with published weights or those of a file."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from kdistill.errors import ArgumentError, KdistillError, first_line
from kdistill.facts.applications import CAFFE
from kdistill.facts.students import IMAGENET, facts_of
from kdistill.runtimes.keras_models.keras_files import check_weights_file
from kdistill.students.pixels import turn_first_kernel


def features_of(backbone: str, scaled: Any, alpha: float, weights: str | None) -> Any:
    """Returns the feature map [B, h, w, C] of a backbone, its layers in the graph of `scaled`.

    The network is built into the student's own graph, flat, so that converters and pruning see every layer.

    Args:
        backbone: a name that `kdistill.facts.students` knows.
        scaled: symbolic pixels [B, H, W, 3] on the network's own scale, red first.
        alpha: the width multiplier, checked by those facts.
        weights: "imagenet", a `.weights.h5` file of the backbone without its top, or None for a random start.

    Raises:
        ArgumentError: a network without published weights for this size.
        KdistillError: a weights file that is missing or belongs to another network.
    """
    if backbone == "small_cnn":
        return _small_cnn(scaled, alpha)
    applications = {
        "mobilenet_v1": lambda **options: keras.applications.MobileNet(alpha=alpha, **options),
        "mobilenet_v2": lambda **options: keras.applications.MobileNetV2(alpha=alpha, **options),
        "mobilenet_v3_small": lambda **options: keras.applications.MobileNetV3Small(
            alpha=alpha, include_preprocessing=False, **options
        ),
        "resnet50_v2": keras.applications.ResNet50V2,
    }
    create = applications[backbone] if backbone in applications else getattr(keras.applications, backbone)
    if weights == IMAGENET:
        try:
            network = create(include_top=False, weights=IMAGENET, input_tensor=scaled)
        except ValueError as error:  # NASNet has such weights for one size alone
            raise ArgumentError(f"{backbone} has no imagenet weights for this size: {first_line(error)}") from error
    else:
        network = create(include_top=False, weights=None, input_tensor=scaled)
        if weights is not None:
            network.set_weights(_weights_from_file(create, tuple(scaled.shape[1:]), backbone, weights))
    if weights is not None and facts_of(backbone).scaling == CAFFE:
        turn_first_kernel(network, backbone)
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
        reason = first_line(error)
        raise KdistillError(f"student weights {path!r} do not fit {backbone} of this width: {reason}") from error
    return list(source.get_weights())


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
