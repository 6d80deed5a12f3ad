"""The embedded black box of the quickstart: a CNN trained on its own labelled half of the digits."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kdistill.data.digits import teacher_digits
from kdistill.files.whole import whole_file

EMBEDDING_DIM = 256
_EPOCHS = 6


def train_digits_teacher(path: Path, seed: int = 0) -> None:
    """Trains the teacher in about half a minute and saves its embedding part to `path` (`.keras`).

    A classifier of all ten digits, 3 x 3 convolutions, without its last layer: uint8 [B, 32, 32, 3] to float32
    [B, 256], L2-normalised. The student never sees its labels, its images or its inside.
    """
    # One that was deleted is made again as it was: answers in a ledger belong to a teacher's very weights.
    tf.config.experimental.enable_op_determinism()
    images = teacher_digits(seed)
    pixels = np.stack([image.pixels() for image in images])
    keras.utils.set_random_seed(seed)
    image = keras.Input(pixels.shape[1:], dtype="uint8", name="image")
    features = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    for filters in (32, 64, 128, 256):
        features = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(features)
        features = keras.layers.BatchNormalization(momentum=0.9)(features)
        features = keras.layers.ReLU()(features)
        features = keras.layers.MaxPooling2D(2)(features)
    pooled = keras.layers.Dense(EMBEDDING_DIM, use_bias=False)(keras.layers.GlobalAveragePooling2D()(features))
    embedding = keras.layers.UnitNormalization(name="embedding")(pooled)
    # Scaled cosines: the classes then form clusters by angle, which is what a search compares.
    logits = keras.layers.Dense(10)(keras.layers.Rescaling(16.0)(embedding))
    classifier = keras.Model(image, logits)
    classifier.compile(
        keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    classifier.fit(pixels, images.labels, batch_size=32, epochs=_EPOCHS, verbose=0)
    with whole_file(path) as temporary:
        keras.Model(image, embedding, name="digits_teacher").save(temporary)
