"""The networks of the table, each as a student whose batch normalisation knows the photos."""

import dataclasses
import importlib.util
import tempfile
from pathlib import Path

import keras
import numpy as np

from kdistill import students
from kdistill.errors import ArgumentError
from kdistill.students import initialise_projection, pooled_features

DIMENSION = 64


@dataclasses.dataclass(frozen=True)
class Network:
    """A row of the table.

    Attributes:
        name: what it is called.
        backbone: for `students.build`, "" where a file is the network, or SMALL_VIT.
        alpha: width multiplier.
        file: its weights, or the network itself, in the folder of weights; without it the weights are random.
    """

    name: str
    backbone: str
    alpha: float = 1.0
    file: str = ""


SMALL_VIT = "small ViT of KerasHub"
_VIT = {"patch_size": 16, "num_layers": 12, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768}
"""ViT-Ti/16 of Touvron et al., "Training data-efficient image transformers" (ICML 2021)."""

NETWORKS = (
    Network("MobileNetV2 0.35", "mobilenet_v2", 0.35, "mobilenet_v2_0.35_imagenet_notop.weights.h5"),
    Network("MobileNetV2 1.0", "mobilenet_v2", 1.0, "mobilenet_v2_1.00_imagenet_notop.weights.h5"),
    Network("MobileNetV3 small", "MobileNetV3Small"),
    Network("MobileNetV3 large", "MobileNetV3Large"),
    Network("EfficientNet-Lite0", "", file="efficientnet_lite0_imagenet_pooled.keras"),
    Network("EfficientNetV2-B0", "EfficientNetV2B0"),
    Network("NASNetMobile", "NASNetMobile"),
    Network("ConvNeXt-Tiny", "ConvNeXtTiny"),
    Network("ResNet50V2", "ResNet50V2"),
    Network("ViT-Ti/16", SMALL_VIT),
)
SMOKE = (Network("small_cnn", "small_cnn"),)


def student_of(network: Network, size: int, weights_dir: Path | None, pixels: np.ndarray) -> tuple[keras.Model, str]:
    """Returns the network as a student, and where its weights came from ("random" where none could be had).

    A random network gets the statistics of its batch normalisation, and any network of ours its projection, from the
    photos: embeddings then differ between photos, without which a comparison of files would prove nothing.

    Args:
        network: of the table.
        size: side of its photos in pixels.
        weights_dir: where files of weights lie.
        pixels: uint8 [n, size, size, 3].

    Raises:
        FileNotFoundError: the network is itself a file, which is not there.
        ArgumentError: KerasHub is not installed.
    """
    file = None if weights_dir is None or not network.file else weights_dir / network.file
    there = file is not None and file.is_file()
    keras.utils.set_random_seed(0)
    if not network.backbone:
        if not there:
            raise FileNotFoundError(network.file)
        student = students.build(str(file), image_size=size, embedding_dim=DIMENSION)
    elif network.backbone == SMALL_VIT:
        student = _small_vit(size)
    else:
        weights = str(file) if there else None
        student = students.build(
            network.backbone, alpha=network.alpha, image_size=size, embedding_dim=DIMENSION, weights=weights
        )
    if not there:
        _fit_statistics(student, pixels)
    features = pooled_features(student).predict(pixels, batch_size=32, verbose=0)
    initialise_projection(student, features)
    return student, network.file if there else "random"


def _small_vit(size: int) -> keras.Model:
    """Returns a student of KerasHub's vision transformer, by way of a preset in a folder, as users bring one."""
    if importlib.util.find_spec("keras_hub") is None:
        raise ArgumentError("KerasHub is not installed (python -m pip install 'kdistill[kerashub]')")
    import keras_hub

    with tempfile.TemporaryDirectory() as folder:
        keras_hub.models.ViTBackbone(image_shape=(size, size, 3), **_VIT).save_to_preset(folder)
        keras_hub.layers.ViTImageConverter(scale=1 / 127.5, offset=-1.0).save_to_preset(folder)
        return students.build(f"kerashub:{folder}", image_size=size, embedding_dim=DIMENSION)


def _fit_statistics(student: keras.Model, pixels: np.ndarray) -> None:
    """Sets each batch normalisation's statistics to those of the photos, in one pass in training mode."""
    norms = [layer for layer in student.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    student(pixels[:64], training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
