"""Students with statistics like those of trained ones: embeddings differ, normalisations matter."""

import keras
import numpy as np

from kdistill import students


def student_of(backbone, size=32, dim=12, seed=0, **options):
    """Returns a student whose normalisations carry the true statistics of random images, and those images."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    student = students.build(backbone, image_size=size, embedding_dim=dim, **options)
    coarse = rng.integers(0, 256, (12, 4, 4, 3))
    pixels = np.kron(coarse, np.ones((1, size // 4, size // 4, 1))).astype(np.uint8)
    norms = [layer for layer in student.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        channels = norm.get_weights()[0].shape[-1]
        norm.set_weights([rng.uniform(0.7, 1.4, channels), rng.normal(0.2, 0.4, channels), *norm.get_weights()[2:]])
        norm.momentum = 0.0  # so that one pass of training remembers the statistics of its batch
    student(pixels, training=True)
    for norm in norms:
        norm.momentum = 0.99
        assert norm.get_weights()[3].min() < 0.9, f"{norm.name} has learnt no statistics"
    return student, pixels


def shrunk(compacted, share, seed=0):
    """Mixes the channels of each compactor a little, closes about 1 - `share` of the columns, returns how many stay."""
    rng = np.random.default_rng(seed)
    kept = {}
    for layer in compacted.layers:
        if layer.name.endswith("_compactor"):
            kernel = np.asarray(layer.kernel) + rng.normal(0, 0.03, layer.kernel.shape)
            stays = rng.random(len(kernel)) < share
            stays[:4] = True
            layer.set_weights([(kernel * stays).astype(np.float32), stays.astype(np.float32)])
            kept[layer.name.removesuffix("_compactor")] = int(stays.sum())
    return kept


def bars():
    """Returns uint8 [72, 32, 32, 3], bars in six directions, and their directions int [72]."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 32)] * 2), -1)
    labels, images = np.arange(72) % 6, []
    for label in labels:
        bar = np.abs(np.cos(label * np.pi / 6) * grid[..., 0] + np.sin(label * np.pi / 6) * grid[..., 1]) < 0.3
        images.append(np.clip(bar[..., None] * 150 + rng.normal(50, 40, (32, 32, 3)), 0, 255).astype(np.uint8))
    return np.stack(images), labels
